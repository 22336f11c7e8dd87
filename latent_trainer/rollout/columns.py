"""What a rollout reads: the columns of one call, and where in them latents go.

Shapes: B rows, T columns of this call, P columns already in the cache, H hidden size. See docs/shapes.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import Cache

from latent_trainer.errors import InputError
from latent_trainer.rollout.cache import columns_in


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class Columns:
    """The T columns that a rollout reads. Rows may have latents at different columns.

    Args:
        embeds: (B, T, H) input embeddings; what stands at a latent's place is ignored.
        latent_mask: (B, T) bool, True where a latent goes.
        attention_mask: (B, P + T), 1 for real columns; None means all are. Or ready, (B, 1, T, P + T).
        position_ids: (B, T).
        token_ids: (B, T), for a decoder that reads ids.
        cache: the cache of the P columns before, extended in place.
        thought: (B, H) hidden state of the last column in ``cache``.
        continuations: other ways to go on after the same prompt, read beside the first pass; without ``cache``, and for a
            decoder that `latent_trainer.rollout.fast.ready_masks.takes_ready_mask`.
        unread: columns of the prompt before its last, without latents: nobody reads their last hidden state, and it need not
            be right (`latent_trainer.rollout.fast.unread`).
        placeholders: (B, T) bool, True at every latent, also at one that was given and so is not to be filled; None means
            ``latent_mask``.
    """

    embeds: torch.Tensor
    latent_mask: torch.Tensor
    attention_mask: torch.Tensor | None
    position_ids: torch.Tensor
    token_ids: torch.Tensor | None = None
    cache: Cache | None = None
    thought: torch.Tensor | None = None
    continuations: Sequence[Continuation] = ()
    unread: int = 0
    placeholders: torch.Tensor | None = None

    @property
    def longest_thoughts(self) -> torch.Tensor:
        """(B,) latents of the longest thought of each row, given ones included."""
        mask = self.latent_mask if self.placeholders is None else self.placeholders
        place = torch.arange(1, mask.shape[1] + 1, device=mask.device)
        before = torch.where(mask, 0, place).cummax(1).values  # (B, T): the latest column without a latent, from 1
        return (place - before).amax(1)

    def check_latents(self, columns: list[int]) -> None:
        """Raise an `InputError` where the first of these columns has nothing to think from, or is one of the prompt's.

        Args:
            columns: those with a latent, from the left.
        """
        if columns and columns[0] == 0 and self.thought is None:
            raise InputError(
                "a latent stands in the first column, where there is no hidden state before it; "
                "put a token before it or pass the cache of the text before"
            )
        if columns and self.unread and columns[0] <= self.unread:
            raise InputError(
                f"a latent stands in column {columns[0]} of a prompt of {self.unread + 1} columns; put it after the prompt, "
                "into the first view"
            )


def columns_of(mask: torch.Tensor) -> list[int]:
    """Return the columns in which any row of ``mask`` (B, T) is True; a device synchronisation."""
    return mask.any(0).nonzero().flatten().tolist()


def constant_latents(latent_mask: torch.Tensor, backprop: str | int) -> torch.Tensor:
    """Return (B, T), True for the latents of each row that ``backprop`` cuts off from the gradient."""
    window = {"none": 0, "last": 1}.get(backprop, backprop)
    from_the_right = latent_mask.flip(1).cumsum(1).flip(1)  # 1 for the last latent of a row, 2 for the one before
    return latent_mask & (from_the_right > window)


def count_positions(attention_mask: torch.Tensor | None, cache: Cache | None, embeds: torch.Tensor) -> torch.Tensor:
    """Return position ids (B, T) for ``embeds`` (B, T, H) after ``cache``, counted over the real columns of each row."""
    batch, width = embeds.shape[:2]
    if attention_mask is not None and attention_mask.ndim == 2:
        return (attention_mask.bool().cumsum(1) - 1).clamp(min=0)[:, -width:]
    past = columns_in(cache)
    return torch.arange(past, past + width, device=embeds.device).expand(batch, width)
