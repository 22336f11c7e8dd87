"""Ranks that share out a model's parameters must run the same passes: how many, agreed before the first of them.

ZeRO-3 and FSDP2 gather the parameters of a layer from all ranks whenever the layer runs, forwards and backwards. A rank with
fewer latents runs fewer passes, and the others would wait for it for ever. So before a forward call the ranks take the
largest number of passes that any of them needs, in one small reduction, and those that need fewer fill up with idle ones
(see `latent_trainer.rollout.sequential`). A single process, DDP, ZeRO-1 and ZeRO-2 keep whole parameters and agree on
nothing; but ZeRO-1 and ZeRO-2 must have a gradient for the same weights on every rank, those of the feedback included.
"""

from collections.abc import Callable

import torch
from torch import distributed, nn

from latent_trainer.compat import deepspeed_config
from latent_trainer.rollout.cache import read_thought
from latent_trainer.rollout.sequential import count_passes, with_unread
from latent_trainer.sharding import is_sharded


def agree(model, parts: list[torch.Tensor], cache=None) -> list[tuple[int, int] | None]:
    """Return for each part of a forward call the passes its rollout has to run at least; None where ranks need not agree.

    Args:
        model: a `LatentForCausalLM`.
        parts: token ids (B, T) of every call of ``model.run`` that the forward call makes.
        cache: the cache the first part continues.
    """
    if not is_sharded(model):
        return [None] * len(parts)
    thought, closed = read_thought(cache)
    masks = [model.thought_columns(ids, closed if part == 0 else None)[0] for part, ids in enumerate(parts)]
    own = [count_passes(mask, model.config.backprop, part == 0 and thought is not None) for part, mask in enumerate(masks)]
    most = torch.tensor(own, device=parts[0].device)  # (parts, 2)
    distributed.all_reduce(most, distributed.ReduceOp.MAX)
    return [tuple(numbers) for numbers in most.tolist()]


def with_feedback(feedback: nn.Module, latent_after: Callable, hidden: torch.Tensor) -> torch.Tensor:
    """Return ``hidden`` (B, T, H) unchanged; under DeepSpeed the feedback's weights get a gradient, if only of zeros.

    ZeRO-1 and ZeRO-2 reduce the weights that have a gradient on a rank, in the order in which they get it; a rank whose rows
    have no latents would leave those of the feedback out, and the others would wait for it or add up what does not match.

    Args:
        feedback: the feedback.
        latent_after: maps a hidden state (1, H) to a latent.
        hidden: the last hidden states of a rollout.
    """
    if deepspeed_config() is None or not torch.is_grad_enabled():
        return hidden
    if not any(parameter.requires_grad for parameter in feedback.parameters()):
        return hidden
    return with_unread(hidden, latent_after(hidden[:1, -1]))
