"""What the columns of a rollout may attend to, worked out once for all its passes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from transformers import Cache

from latent_trainer.compat import get_attention, has_state
from latent_trainer.errors import InputError
from latent_trainer.rollout.cache import fitted_mask, starts_empty

LOOKING_BACK = {"full_attention", "sliding_attention"}
BY_LENGTH = {"dynamic", "longrope"}  # rotary frequencies


@dataclass
class Continuation:
    """A way to go on after a prompt, without latents, that the first pass of a rollout reads beside its own columns.

    It sees the prompt, which is in the rollout's first columns, and itself; no column of the rollout sees it.

    Args:
        embeds: (B, n, H) input embeddings.
        attention_mask: (B, Tp + n), 1 for real columns of the prompt and of its own.
    """

    embeds: torch.Tensor
    attention_mask: torch.Tensor

    @property
    def prompt_width(self) -> int:
        """Tp."""
        return self.attention_mask.shape[1] - self.embeds.shape[1]


def takes_ready_mask(decoder: Callable, columns: float) -> bool:
    """Whether a decoder takes a mask (B, 1, queries, keys), and none of its layers looks back less than ``columns``.

    Models with position biases, flash attention and layers that forget make something else of the padding mask. Rotary
    frequencies that depend on the furthest position of a call would change with what is read beside.
    """
    if not getattr(decoder, "_supports_attention_backend", False) or has_state(decoder):
        return False
    config = decoder.config.get_text_config()
    if get_attention(config) not in ("eager", "sdpa"):
        return False
    if _rope_types(getattr(config, "rope_parameters", None) or {}) & BY_LENGTH:
        return False
    window = getattr(config, "sliding_window", None)
    return set(getattr(config, "layer_types", None) or ()) <= LOOKING_BACK and (window is None or columns <= window)


def _rope_types(parameters: dict) -> set[str]:
    """Return the kinds of rotary frequencies in a configuration, which may have some for every kind of layer."""
    inner = [value for value in parameters.values() if isinstance(value, dict)]
    return {parameters.get("rope_type")}.union(*(_rope_types(value) for value in inner))


class Masks:
    """The masks of a rollout's passes over T columns, after P columns in a cache.

    Left to build its mask itself, a model looks at the padding in every pass, and on a GPU each time waits for the answer.

    Args:
        decoder: the base model without its head.
        attention_mask: (B, P + T), 1 for real columns; None means all are. Or ready, (B, 1, T, P + T).
        embeds: (B, T, H); says which data type a mask has.
        cache: the cache of the P columns.
        continuations: read beside the first pass, by a decoder that takes ready masks.
        several: whether there are several passes; a single one leaves its mask to the model.
        own_cache: whether the decoder's cache holds more than keys and values; such a decoder makes its masks itself.

    Raises:
        ValueError: continuations without a mask (B, T), after other columns, or for a decoder that takes no ready mask.
    """

    def __init__(
        self,
        decoder: Callable,
        attention_mask: torch.Tensor | None,
        embeds: torch.Tensor,
        cache: Cache | None = None,
        continuations: Sequence[Continuation] = (),
        several: bool = True,
        own_cache: bool = False,
    ):
        self.padding = attention_mask
        self.width = embeds.shape[1]
        self.past = 0 if attention_mask is None else attention_mask.shape[-1] - self.width
        self.square: torch.Tensor | None = None  # (B, 1, T + n, T + n), of which every pass takes a block
        if attention_mask is not None and attention_mask.ndim == 4:
            self.square = self._added(decoder, embeds, attention_mask)
            return
        columns = self.width + sum(one.embeds.shape[1] for one in continuations)
        starts = attention_mask is not None and starts_empty(cache)
        if not several or own_cache or not starts or not takes_ready_mask(decoder, columns):
            if continuations:
                raise InputError("continuations need a decoder that takes ready masks, with a mask and an empty cache")
            return
        if not continuations and attention_mask.all():  # a device synchronisation
            self.padding = None
            return
        self.square = self._added(decoder, embeds, _visible(attention_mask, continuations))

    @staticmethod
    def _added(decoder: Callable, embeds: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
        """Return a mask as the decoder takes it: eager attention adds it to its scores, often in float32."""
        if visible.dtype != torch.bool or get_attention(decoder.config.get_text_config()) != "eager":
            return visible
        lowest = max(torch.finfo(embeds.dtype).min, torch.finfo(torch.float32).min)
        return embeds.new_zeros(visible.shape).masked_fill(~visible, lowest)

    def of(self, start: int, end: int, cache: Cache | None) -> torch.Tensor | None:
        """Return what the decoder is given for a pass over the columns from ``start`` to ``end``."""
        if self.square is not None:
            return self.square[:, :, start:end, : self.past + end]
        return None if self.padding is None else fitted_mask(self.padding[:, : self.past + end], cache)

    def padding_of(self, start: int, end: int) -> torch.Tensor | None:
        """Return the padding (B, n) of the columns from ``start`` to ``end``."""
        return None if self.padding is None else self.padding[:, self.past + start : self.past + end]

    def with_continuations(self, end: int) -> torch.Tensor:
        """Return the mask of a pass over the first ``end`` columns and all continuations."""
        queries = torch.cat([self.square[:, :, :end], self.square[:, :, self.width :]], 2)
        return torch.cat([queries[..., :end], queries[..., self.width :]], 3)


def _visible(attention_mask: torch.Tensor, continuations: Sequence[Continuation]) -> torch.Tensor:
    """Return (B, 1, columns, columns), True where a query may see a key: the rollout's columns, then the continuations'."""
    keys = torch.cat([attention_mask, *(one.attention_mask[:, one.prompt_width :] for one in continuations)], 1).bool()
    columns = keys.shape[1]
    visible = keys.new_ones(columns, columns).tril() & keys[:, None, None, :]
    start = attention_mask.shape[1]
    for one in continuations:
        end = start + one.embeds.shape[1]
        visible[:, :, start:end, one.prompt_width : start] = False
        start = end
    return visible
