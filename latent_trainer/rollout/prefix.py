"""The first pass of a rollout that refines a block of columns: over what stands before it, and over the block itself."""

import torch
from transformers import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast

from latent_trainer.rollout.cache import branch
from latent_trainer.rollout.output import split_output
from latent_trainer.rollout.passes import Passes


def read_prefix(
    passes: Passes, embeds: torch.Tensor, first: int, stop: int, cache: Cache | None, thought: torch.Tensor | None
) -> tuple[list[BaseModelOutputWithPast], torch.Tensor | None, torch.Tensor, Cache]:
    """Read the columns before ``stop``, of which those from ``first`` on are a block that is to be read again.

    A fresh cache reads prefix and block in one pass and forgets the block; a cache that was handed in may be of fixed size,
    so there the block is read on a branch.

    Args:
        passes: of the rollout.
        embeds: (B, T, H).
        first, stop: columns of the block, n = stop - first.
        cache: what was handed in, or None.
        thought: (B, H) hidden state of the last column in ``cache``.

    Returns:
        Outputs over the columns before ``first``, the hidden state (B, H) before the block, the block's (B, n, H), and the
        cache, which ends where the block begins.
    """
    if cache is None:
        output, cache = passes.first(embeds[:, :stop], passes.new_cache(), keep=first)
        prefix, block = split_output(output, [first, stop - first])
        return [prefix], prefix.last_hidden_state[:, -1], block.last_hidden_state, cache
    outputs = []
    if first > 0:
        outputs = [passes.one(embeds[:, :first], 0, cache)]
        thought = outputs[0].last_hidden_state[:, -1]
    return outputs, thought, passes.one(embeds[:, first:stop], first, branch(cache)).last_hidden_state, cache
