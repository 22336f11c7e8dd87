"""Passes over a cache with states: where they must be cut, and which rows' states a pass leaves as they were.

A layer with a state cannot look at a mask later on: what it has read is in the state. So no pass may hold padding and the
first real column of a row together with columns before it, and a pass over a row's padding must leave its state alone. Stock
models see to that in the first pass of a text only.
"""

import contextlib

import torch
from transformers import Cache

from latent_trainer.rollout.cache import is_filled
from latent_trainer.rollout.cache_states import has_states, keep_rows, with_fresh_states


def cuts(padding: torch.Tensor | None, past: int, start: int, end: int, cache: Cache, columnwise: bool) -> list[int]:
    """Return ``start``, ``end`` and, in between, the columns at which a pass over these columns is cut.

    Args:
        padding: (B, P + T), 1 for real columns; None means all are.
        past: P.
        start, end: columns of the call.
        cache: what the pass continues.
        columnwise: whether only passes of one column continue a state.
    """
    marks = {start, end}
    if padding is not None and any(has_states(layer) for layer in cache.layers):
        first = (padding.long().argmax(1) - past).tolist()  # a device synchronisation
        marks |= {column for column in first if start < column < end}
    marks = sorted(marks)
    if columnwise:
        marks = [*range(start if is_filled(cache) else marks[1], end + 1)]
        marks = marks if marks[0] == start else [start, *marks]
    return marks


@contextlib.contextmanager
def padding_left_out(padding: torch.Tensor | None, cache: Cache | None):
    """Within the block, which is one pass, rows that have nothing but padding in it keep their states.

    Args:
        padding: (B, n) of the pass's columns, 1 for real ones; None means all are.
        cache: what the pass extends.
    """
    states = [(at, layer) for at, layer in enumerate(cache.layers if cache is not None else []) if has_states(layer)]
    rows = None if padding is None or not states else ~padding.bool().any(1)  # (B,)
    if rows is None or not rows.any():  # a device synchronisation
        yield
        return
    before = [with_fresh_states(layer) for _, layer in states]
    yield
    for (at, _), old in zip(states, before, strict=True):
        keep_rows(cache.layers[at], old, rows)
