"""Input embeddings of a training step: those of its tokens, and columns that are sums of several."""

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Inputs:
    """The input embeddings of n columns.

    Args:
        embeds: (B, n, H).
        given: (B, n) bool, True at columns that are sums, where a latent is not thought; None where there is none.
    """

    embeds: torch.Tensor
    given: torch.Tensor | None = None

    def __getitem__(self, columns: slice) -> "Inputs":
        """Return those of some of the columns."""
        return Inputs(self.embeds[:, columns], None if self.given is None else self.given[:, columns])


def look_up(embedding: nn.Module, parts: list[torch.Tensor], views: list[dict], before: list[int]) -> list[Inputs]:
    """Return the input embeddings of every part of a step, from one lookup.

    The gradient of a lookup is as large as the vocabulary, and ranks that share out the table have to agree on their number.

    Args:
        embedding: maps token ids to embeddings.
        parts: token ids (B, n) of the prompt with the first view, and of every other view.
        views: the view of each part, with ``group_columns`` (B, G), ``group_ids`` and ``group_weights`` (B, G, k) where
            it has columns that are weighted sums of embeddings.
        before: columns of each part that stand before its view.
    """
    grouped = [view["group_ids"].flatten(1) for view in views if "group_ids" in view]  # each (B, G * k)
    ids = [*parts, *grouped]
    embeds = list(embedding(torch.cat(ids, 1)).split([part.shape[1] for part in ids], 1))
    own, sums = embeds[: len(parts)], iter(embeds[len(parts) :])
    return [
        _with_groups(one, next(sums), view, start) if "group_ids" in view else Inputs(one)
        for one, view, start in zip(own, views, before, strict=True)
    ]


def _with_groups(embeds: torch.Tensor, members: torch.Tensor, view: dict, before: int) -> Inputs:
    """Put weighted sums of ``members`` (B, G * k, H) into their columns of ``embeds`` (B, n, H)."""
    weights, columns = view["group_weights"], view["group_columns"]
    members = members.unflatten(1, weights.shape[1:])  # (B, G, k, H)
    sums = (members * weights.to(embeds.dtype).unsqueeze(-1)).sum(2)  # (B, G, H)
    width = embeds.shape[1]
    # one column more takes what has no place: the padding behind a row's last group
    columns = torch.where(columns < 0, width, columns + before).clamp(max=width)  # (B, G)
    wider = nn.functional.pad(embeds, (0, 0, 0, 1))  # (B, n + 1, H)
    filled = wider.scatter(1, columns.unsqueeze(-1).expand_as(sums), sums)[:, :width]
    given = torch.zeros(wider.shape[:2], dtype=torch.bool, device=embeds.device).scatter(1, columns, True)
    return Inputs(filled, given[:, :width])
