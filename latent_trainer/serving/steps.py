"""Thoughts in a scheduler's steps: how many columns one takes, and whether a thought is open after each column.

A latent grows from the hidden state of the column before it, so that it can only be the first column of a step. Whether a
``<|latent|>`` is a latent at all depends on the markers before it, as in `latent_trainer.model.tokens.thinking_columns`: a
thought is open from the start of a row, or from ``<|bot|>``, until ``<|eot|>``.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch

# Where a thought stands after a column. From BEGUN on the number also says how many latents there were since <|bot|>.
OPEN, CLOSED, BEGUN = 0, 1, 2


class ThoughtTokens(NamedTuple):
    """The ids of ``<|latent|>``, ``<|bot|>`` and ``<|eot|>``."""

    latent: int
    bot: int
    eot: int


def columns_in_step(ids: Sequence[int], start: int, columns: int, tokens: ThoughtTokens) -> int:
    """Return how many of the next ``columns`` columns one step may take: those up to the next latent.

    >>> tokens = ThoughtTokens(latent=7, bot=8, eot=9)
    >>> [columns_in_step([1, 2, 8, 7, 7, 9, 3], start, 7 - start, tokens) for start in (0, 3, 4)]
    [3, 1, 3]

    Args:
        ids: the whole row, columns that are not known yet left out.
        start: the first column of the step.
        columns: how many there could be, at least one.
        tokens: the thought tokens.
    """
    end = min(start + columns, len(ids))
    try:
        column = ids.index(tokens.latent, start + 1, end)
    except ValueError:
        return columns
    thinking = _is_open(ids, column, tokens)
    for place in range(column, end):
        token = ids[place]
        if token == tokens.latent and thinking:
            return place - start
        thinking = token == tokens.bot or (thinking and token != tokens.eot)
    return columns


def _is_open(ids: Sequence[int], column: int, tokens: ThoughtTokens) -> bool:
    """Whether the thought is open before a column."""
    for place in range(column - 1, -1, -1):
        if ids[place] in (tokens.bot, tokens.eot):
            return ids[place] == tokens.bot
    return True


def states_after(ids: torch.Tensor, starts: torch.Tensor, before: torch.Tensor, tokens: ThoughtTokens) -> torch.Tensor:
    """Return where the thought stands after each column of rows that lie one after the other.

    Args:
        ids: (N,) the columns of all rows.
        starts: (R + 1,) where each row begins, and N.
        before: (R,) where each row's thought stood before its first column; ``OPEN`` at the start of a row.
        tokens: the thought tokens.
    """
    count = len(ids)
    place = torch.arange(count, device=ids.device)
    row = torch.searchsorted(starts, place, right=True) - 1  # (N,)
    first = starts[row]  # (N,)
    latents = (ids == tokens.latent).cumsum(0)  # (N,)
    begins = ids == tokens.bot
    marker = torch.where(begins | (ids == tokens.eot), place, -1).cummax(0).values  # (N,): the latest marker, of any row
    own = marker >= first
    state = before[row]  # (N,)
    begun = torch.where(own, begins[marker.clamp(min=0)], state >= BEGUN)
    since = torch.where(own, latents[marker.clamp(min=0)], torch.where(first > 0, latents[(first - 1).clamp(min=0)], 0))
    number = torch.where(own, 0, state - BEGUN) + latents - since  # of the latents since <|bot|>
    return torch.where(begun, BEGUN + number, torch.where(own, CLOSED, state))


def open_latents(ids: torch.Tensor, starts: torch.Tensor, before: torch.Tensor, after: torch.Tensor, latent: int):
    """Return (N,) bool, True at the latents; as `states_after`, whose result is ``after``."""
    shifted = torch.cat([before[:1], after[:-1]])  # (N,)
    shifted[starts[:-1]] = before
    return (ids == latent) & (shifted != CLOSED)


def decided(logits: torch.Tensor, states: torch.Tensor, tokens: ThoughtTokens, most: int) -> torch.Tensor:
    """Return the logits (R, V) with the next token of every row that thinks decided: a further latent, or the end.

    As `latent_trainer.model.thinking.ThinkingProcessor`, for a model that ends its thought itself.

    Args:
        logits: (R, V), with the tokens that are never written at -inf.
        states: (R,) where each row's thought stands.
        tokens: the thought tokens.
        most: latents of a thought at most.
    """
    stop = (logits.argmax(-1) == tokens.eot) | (states - BEGUN >= most)
    token = torch.where(stop, tokens.eot, tokens.latent)  # (R,)
    forced = torch.full_like(logits, float("-inf")).scatter(1, token.unsqueeze(1), 0.0)
    return torch.where((states >= BEGUN).unsqueeze(1), forced, logits)
