"""What the columns of a rollout may attend to, as each of its passes is told."""

from collections.abc import Callable

import torch
from transformers import Cache

from latent_trainer.compat import get_attention
from latent_trainer.rollout.cache import fitted_mask
from latent_trainer.rollout.columns import Columns


class Masks:
    """The masks of a rollout's passes over T columns, after P columns in a cache: the padding, or a mask that came ready.

    Args:
        decoder: the base model without its head.
        columns: of the rollout.
    """

    def __init__(self, decoder: Callable, columns: Columns):
        mask, self.width = columns.attention_mask, columns.embeds.shape[1]
        self.past = 0 if mask is None else mask.shape[-1] - self.width
        self.padding: torch.Tensor | None = mask
        self.square: torch.Tensor | None = None  # (B, 1, T + n, P + T + n), of which every pass takes a block
        if mask is not None and mask.ndim == 4:
            self.padding, self.square = None, as_taken(decoder, columns.embeds, mask)

    def of(self, start: int, end: int, cache: Cache | None) -> torch.Tensor | None:
        """Return what the decoder is given for a pass over the columns from ``start`` to ``end``."""
        if self.square is not None:
            return self.square[:, :, start:end, : self.past + end]
        return None if self.padding is None else fitted_mask(self.padding[:, : self.past + end], cache)

    def padding_of(self, start: int, end: int) -> torch.Tensor | None:
        """Return the padding (B, n) of the columns from ``start`` to ``end``."""
        return None if self.padding is None else self.padding[:, self.past + start : self.past + end]


def as_taken(decoder: Callable, embeds: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
    """Return a mask (B, 1, queries, keys) as the decoder takes it: eager attention adds it to scores, often in float32."""
    if visible.dtype != torch.bool or get_attention(decoder.config.get_text_config()) != "eager":
        return visible
    lowest = max(torch.finfo(embeds.dtype).min, torch.finfo(torch.float32).min)
    return embeds.new_zeros(visible.shape).masked_fill(~visible, lowest)
