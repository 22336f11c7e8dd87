"""The caches of a rollout: keys and values in pieces, and the state a thought continues from."""

import torch
from transformers import Cache, DynamicCache
from transformers.cache_utils import CacheLayerMixin, DynamicLayer, DynamicSlidingWindowLayer, StaticLayer


class PieceLayer(DynamicLayer):
    """A cache layer that keeps what every pass has added as a piece of its own, joined only when a pass reads it.

    Under autograd a cache that joins all it has at every pass leaves one whole copy a pass behind; pieces are shared by the
    branches of a cache and, under gradient checkpointing, are all that stays.
    """

    def __init__(self, **kwargs):
        self.pieces: list[tuple[torch.Tensor, torch.Tensor]] = []  # keys and values (B, heads, n, d)
        super().__init__(**kwargs)

    def __copy__(self) -> "PieceLayer":
        layer = PieceLayer()
        layer.add(self.pieces)
        return layer

    @property
    def keys(self) -> torch.Tensor | None:
        """Return all keys (B, heads, columns, d)."""
        return self._joined(0)

    @keys.setter
    def keys(self, value: None) -> None:
        self.pieces = []

    @property
    def values(self) -> torch.Tensor | None:
        """Return all values (B, heads, columns, d)."""
        return self._joined(1)

    @values.setter
    def values(self, value: None) -> None:
        self.pieces = []

    def _joined(self, which: int) -> torch.Tensor | None:
        parts = [piece[which] for piece in self.pieces]
        return torch.cat(parts, -2) if len(parts) > 1 else parts[0] if parts else None

    def add(self, pieces: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Add pieces at the end."""
        self.pieces = [*self.pieces, *pieces]
        if pieces and not self.is_initialized:
            self.dtype, self.device = pieces[0][0].dtype, pieces[0][0].device
            self.is_initialized = True

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs):
        """Add a pass's keys and values (B, heads, n, d); return all there are."""
        self.add([(key_states, value_states)])
        return self.keys, self.values

    def get_seq_length(self) -> int:
        """Return the number of columns."""
        return sum(keys.shape[-2] for keys, _ in self.pieces)

    def first(self, length: int) -> "PieceLayer":
        """Return a layer over the first ``length`` columns of the same tensors."""
        layer, left = PieceLayer(), length
        for keys, values in self.pieces:
            if left > 0:
                layer.add([(keys[:, :, :left], values[:, :, :left])])
                left -= keys.shape[-2]
        return layer


def rollout_cache() -> Cache:
    """Return the empty cache of a rollout: in pieces where gradient may flow back through it."""
    if not torch.is_grad_enabled():
        return DynamicCache()
    return Cache(layer_class_to_replicate=PieceLayer)


class ThoughtLayer(CacheLayerMixin):
    """One more layer at the end of a cache: of the latest call's columns, the last hidden states (B, T, H) and whether the
    thought is closed after each (B, T).

    Living in the cache, it is reordered by beam search, repeated for several return sequences and cut when speculative
    decoding takes tokens back, together with the keys and values it belongs to. Base models address layers by index and
    never reach it.
    """

    is_sliding = False
    is_compileable = True
    is_croppable = True
    supports_early_init = False

    def __init__(self):
        super().__init__()
        self.hidden = None
        self.closed = None

    def lazy_initialization(self, key_states, value_states):
        """Nothing to prepare: the state is written by the rollout."""

    def update(self, key_states, value_states, *args, **kwargs):
        """Never called: no model layer has this index."""
        raise RuntimeError("the thought layer of a cache holds no keys and values")

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return no extent: attention never reads this layer."""
        return 0, 0

    def get_seq_length(self) -> int:
        """Return 0: the state has no sequence dimension."""
        return 0

    def get_max_length(self) -> int:
        """Return -1: no maximum."""
        return -1

    def reset(self) -> None:
        """Forget the thought."""
        self.hidden = self.closed = None

    def crop(self, tokens_to_remove: int) -> None:
        """Take tokens back; ``tokens_to_remove`` is negative or zero."""
        if tokens_to_remove:
            self._map(lambda state: state[:, :tokens_to_remove])

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        """Reorder the rows for beam search."""
        self.batch_select_indices(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every row."""
        self._map(lambda state: state.repeat_interleave(repeats, dim=0))

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep the rows at ``indices``."""
        self._map(lambda state: state[indices.to(state.device)])

    def _map(self, change) -> None:
        if self.hidden is not None:
            self.hidden, self.closed = change(self.hidden), change(self.closed)


def read_thought(cache: Cache | None) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Return the hidden state (B, H) a thought continues from and whether it is closed (B,); None where unknown."""
    layer = cache.layers[-1] if cache is not None and cache.layers else None
    if not isinstance(layer, ThoughtLayer) or layer.hidden is None or layer.hidden.shape[1] == 0:
        return None, None
    return layer.hidden[:, -1], layer.closed[:, -1]


def write_thought(cache: Cache | None, hidden: torch.Tensor, closed: torch.Tensor) -> None:
    """Keep in ``cache`` a call's hidden states (B, T, H), and whether the thought is closed after each column (B, T)."""
    if cache is None or not cache.layers:
        return
    if not isinstance(cache.layers[-1], ThoughtLayer):
        cache.layers.append(ThoughtLayer())
    cache.layers[-1].hidden, cache.layers[-1].closed = hidden, closed


def fitted_mask(mask: torch.Tensor, cache: Cache | None) -> torch.Tensor:
    """Return a mask (B, columns) as wide as a cache of fixed size, so that every pass of one column has the same shapes.

    The columns to come are masked by causality whatever stands there. Other caches get the mask as it is.
    """
    layers = [layer for layer in cache.layers if not isinstance(layer, ThoughtLayer)] if cache is not None else []
    fixed = {layer.max_cache_len for layer in layers if isinstance(layer, StaticLayer) and not layer.is_sliding}
    if len(fixed) != 1 or any(layer.is_sliding for layer in layers):
        return mask
    return torch.nn.functional.pad(mask, (0, max(0, fixed.pop() - mask.shape[1])))


def branch(cache: Cache, length: int) -> Cache:
    """Return a new cache over the first ``length`` columns of the same tensors.

    Caches mutate in place and cannot be copied under autograd; a branch shares the tensors, so gradient flows back through
    every branch. A layer with a window has forgotten columns before it, so such a cache branches where it ends.
    """
    branched = rollout_cache()
    for layer in cache.layers:
        if isinstance(layer, ThoughtLayer):
            continue
        if isinstance(layer, PieceLayer):
            branched.layers.append(layer.first(length))
            continue
        new = DynamicSlidingWindowLayer(_window(layer)) if layer.is_sliding else DynamicLayer()
        new.update(layer.keys[:, :, :length], layer.values[:, :, :length])
        new.cumulative_length = length  # read by layers with a window only
        branched.layers.append(new)
    return branched


def _window(layer: CacheLayerMixin) -> int:
    """Return the columns a layer with a window attends to; one of fixed size states its own size only."""
    return getattr(layer, "sliding_window", None) or layer.max_cache_len
