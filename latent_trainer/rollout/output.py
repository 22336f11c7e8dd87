"""What a rollout leaves behind, joined from the outputs of its passes."""

import itertools
from dataclasses import dataclass, field

import torch
from torch import nn
from transformers import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast

from latent_trainer.errors import InputError


@dataclass
class RolloutOutput:
    """What a rollout leaves behind.

    Args:
        hidden: (B, T, H) last hidden states after the final norm; those of ``unread`` columns mean nothing.
        latents: (B, T, H) input embeddings with every latent filled in.
        hidden_states: per layer (B, T, H), embedding output first; None unless asked for.
        cache: the cache with P + T columns, or None where a single pass needed none.
        continued: the decoder's output over each continuation.
        attentions: per layer (B, heads, T, P + T); None unless asked for.
    """

    hidden: torch.Tensor
    latents: torch.Tensor
    hidden_states: tuple[torch.Tensor, ...] | None
    cache: Cache | None
    continued: list[BaseModelOutputWithPast] = field(default_factory=list)
    attentions: tuple[torch.Tensor, ...] | None = None


def join(pieces: list[torch.Tensor]) -> torch.Tensor:
    """Return pieces (B, n, ..) of adjoining columns as one (B, T, ..)."""
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, 1)


def join_outputs(outputs: list, hidden_states: bool, attentions: bool) -> BaseModelOutputWithPast:
    """Return the decoder's outputs over adjoining columns as one, with these fields where they were asked for."""
    layers = zip(*(output.hidden_states for output in outputs), strict=True) if hidden_states else ()
    return BaseModelOutputWithPast(
        last_hidden_state=join([output.last_hidden_state for output in outputs]),
        hidden_states=tuple(join(list(layer)) for layer in layers) or None,
        attentions=_join_attentions(outputs) if attentions else None,
    )


def split_output(output, widths: list[int]) -> list[BaseModelOutputWithPast]:
    """Return a decoder's output in parts of so many columns."""
    layers = [layer.split(widths, 1) for layer in output.hidden_states or ()]
    return [
        BaseModelOutputWithPast(last_hidden_state=part, hidden_states=tuple(layer[at] for layer in layers) or None)
        for at, part in enumerate(output.last_hidden_state.split(widths, 1))
    ]


def _join_attentions(outputs: list) -> tuple[torch.Tensor, ...]:
    """Return every layer's attention (B, heads, T, P + T) from that of passes (B, heads, n, P + end), zeros after their end.

    Raises:
        InputError: a layer that has forgotten columns by a later pass.
    """
    joined = []
    for layer in zip(*(output.attentions for output in outputs), strict=True):
        widths = [attention.shape[-1] for attention in layer]
        added = [after - before for before, after in itertools.pairwise(widths)]
        fixed = set(widths) == {widths[0]}  # a cache of fixed size
        if not fixed and added != [attention.shape[2] for attention in layer[1:]]:
            raise InputError("output_attentions=True: a layer with a window has no attention over columns it has forgotten")
        joined.append(torch.cat([nn.functional.pad(one, (0, widths[-1] - one.shape[-1])) for one in layer], 2))
    return tuple(joined)
