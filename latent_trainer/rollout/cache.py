"""The caches of a rollout: keys and values in one buffer, and the state a thought continues from."""

import copy

import torch
from transformers import Cache, DynamicCache, PreTrainedConfig
from transformers.cache_utils import CacheLayerMixin, DynamicLayer, DynamicSlidingWindowLayer, StaticLayer

from latent_trainer.compat import as_initialized
from latent_trainer.rollout.cache_states import has_states, is_indexed, with_fresh_states

SPARE = 32  # columns of room, or an eighth of what is there if that is more


class RolloutLayer(DynamicLayer):
    """A cache layer whose columns lie in one buffer with room to spare, so that a pass copies only what it adds.

    A stock layer joins all it has anew at every pass: a copy of the prompt for every latent, and under autograd one that
    stays. Here a pass gets a view of the buffer. Columns once read are not written again, so that views stay right for
    back-propagation; a branch or a copy of a layer therefore writes to a buffer of its own.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.buffers: tuple[torch.Tensor, torch.Tensor] | None = None  # for keys and values, (B, heads, room, d)
        self.passes: list[tuple[torch.Tensor, torch.Tensor]] = []  # under autograd: keys and values as each pass read them
        self.added: tuple[torch.Tensor, torch.Tensor] | None = None  # under autograd: what the last pass added

    def __copy__(self) -> "RolloutLayer":
        return self.first(self.get_seq_length())

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs):
        """Add a pass's keys and values (B, heads, n, d); return all there are."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        columns = self.get_seq_length()
        learns = torch.is_grad_enabled()
        if learns and columns == 0:  # its own attention keeps them; a copy would come on top
            self.keys, self.values = key_states, value_states
        else:
            self._make_room(key_states, value_states)
            self.keys = _append(self.buffers[0], self.keys if columns else None, key_states)
            self.values = _append(self.buffers[1], self.values if columns else None, value_states)
        if learns:
            self.passes = [*self.passes, (self.keys, self.values)]
            self.added = (key_states, value_states)
        return self.keys, self.values

    def first(self, length: int) -> "RolloutLayer":
        """Return a layer over the first ``length`` columns of the same tensors, in the graph of the pass that made them."""
        layer = type(self)()
        if length == 0 or not self.is_initialized:  # models may have layers that read the keys of others
            return layer
        as_initialized(layer, self)
        known = [*(self.passes if self.passes and self.passes[-1][0] is self.keys else []), (self.keys, self.values)]
        keys, values = next(pair for pair in known if pair[0].shape[-2] >= length)
        layer.keys, layer.values = (
            (keys, values) if keys.shape[-2] == length else (keys[:, :, :length], values[:, :, :length])
        )
        return layer

    def crop(self, tokens_to_remove: int) -> None:
        """Take columns back; ``tokens_to_remove`` is negative or zero."""
        super().crop(tokens_to_remove)
        if self.is_initialized and self.keys.requires_grad:  # back-propagation may still read the columns taken back
            self.buffers = None

    def reset(self) -> None:
        """Forget all columns."""
        super().reset()
        self.buffers, self.passes, self.added = None, [], None

    def _make_room(self, *states: torch.Tensor) -> None:
        """Have buffers that hold the columns there are and room for ``states`` after them."""
        columns = self.get_seq_length()
        end = columns + states[0].shape[-2]
        present = (self.keys, self.values)
        if self.buffers is not None and all(map(_holds, self.buffers, present, [end, end])):
            return
        room = end + max(SPARE, end // 8)
        buffers = [state.new_empty((*state.shape[:2], room, state.shape[-1])) for state in states]
        if columns:
            for buffer, before in zip(buffers, present, strict=True):
                buffer[:, :, :columns] = before.detach()
        self.buffers = tuple(buffers)


def _holds(buffer: torch.Tensor, columns: torch.Tensor, end: int) -> bool:
    """Whether ``columns`` are still the view of ``buffer`` they were; reordering and repeating rows replaces them."""
    same = columns.data_ptr() == buffer.data_ptr() and columns.stride() == buffer.stride()
    return same and columns.shape[:2] == buffer.shape[:2] and end <= buffer.shape[-2]


def _append(buffer: torch.Tensor, before: torch.Tensor | None, new: torch.Tensor) -> torch.Tensor:
    """Write ``new`` into ``buffer`` after ``before``, and return the view of both, through which gradient reaches both."""
    columns = 0 if before is None else before.shape[-2]
    end = columns + new.shape[-2]
    # `data`: autograd would take the writing of a later column for a change of the columns it has saved
    whole = buffer.data[:, :, :end]
    whole[:, :, columns:] = new.detach()
    return _Joined.apply(whole, before, new) if torch.is_grad_enabled() else whole


class _Joined(torch.autograd.Function):
    """Two runs of columns that already lie one after the other."""

    @staticmethod
    def forward(ctx, whole, before, new):
        ctx.sizes = (before.shape[-2], new.shape[-2])
        return whole

    @staticmethod
    def backward(ctx, gradient):
        return None, *gradient.split(ctx.sizes, -2)


class IndexedRolloutLayer(RolloutLayer):
    """Such a layer of sparse attention, which also keeps the keys (B, columns, d) that choose the columns to attend to."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.indexer_keys: torch.Tensor | None = None

    def update_indexer(self, indexer_key_states: torch.Tensor) -> torch.Tensor:
        """Add a pass's indexer keys (B, n, d); return all there are."""
        known = [] if self.indexer_keys is None else [self.indexer_keys]
        self.indexer_keys = torch.cat([*known, indexer_key_states], 1)
        return self.indexer_keys

    def first(self, length: int) -> "IndexedRolloutLayer":
        """As of any layer, with the indexer keys of these columns."""
        layer = super().first(length)
        layer.indexer_keys = self.indexer_keys[:, :length] if length and self.indexer_keys is not None else None
        return layer

    def crop(self, tokens_to_remove: int) -> None:
        """Take columns back; ``tokens_to_remove`` is negative or zero."""
        super().crop(tokens_to_remove)
        if tokens_to_remove:
            self._map(lambda keys: keys[:, :tokens_to_remove])

    def reset(self) -> None:
        """Forget all columns."""
        super().reset()
        self.indexer_keys = None

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        """Reorder the rows for beam search."""
        super().reorder_cache(beam_idx)
        self._map(lambda keys: keys.index_select(0, beam_idx.to(keys.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every row."""
        super().batch_repeat_interleave(repeats)
        self._map(lambda keys: keys.repeat_interleave(repeats, dim=0))

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep the rows at ``indices``."""
        super().batch_select_indices(indices)
        self._map(lambda keys: keys[indices])

    def _map(self, change) -> None:
        if self.indexer_keys is not None:
            self.indexer_keys = change(self.indexer_keys)


def rollout_cache(config: PreTrainedConfig | None = None) -> Cache:
    """Return the empty cache of a rollout.

    Args:
        config: of a decoder whose cache has other layers than those of keys and values; None for all others.
    """
    if config is None:
        return Cache(layer_class_to_replicate=RolloutLayer)
    layers = DynamicCache(config=config).layers
    return Cache(
        layers=[RolloutLayer() if type(layer) is DynamicSlidingWindowLayer else _for_rollout(layer) for layer in layers]
    )


def needs_own_cache(config: PreTrainedConfig) -> bool:
    """Whether a decoder's cache has layers that hold more than keys and values."""
    stock = (DynamicLayer, DynamicSlidingWindowLayer)
    return any(type(layer) not in stock for layer in DynamicCache(config=config).layers)


def _for_rollout(layer):
    """Return the form that an empty layer of a stock cache has in a rollout."""
    if type(layer) is DynamicLayer:
        return RolloutLayer()
    if is_indexed(layer):
        return IndexedRolloutLayer()
    return with_fresh_states(layer) if has_states(layer) else layer


def copied(layer):
    """Return a copy of a cache layer over the same tensors, which a pass extends without changing the layer."""
    return with_fresh_states(layer) if has_states(layer) else copy.copy(layer)


def with_room(cache: Cache | None) -> Cache | None:
    """Give the layers of an empty stock cache that only grows the form they have in a rollout; return the same cache."""
    if type(cache) is DynamicCache and not cache.offloading and columns_in(cache) == 0:
        cache.layers = [_for_rollout(layer) for layer in cache.layers]
        if cache.layer_class_to_replicate is DynamicLayer:
            cache.layer_class_to_replicate = RolloutLayer
    return cache


def columns_in(cache: Cache | None) -> int:
    """Return the columns a cache has read; 0 where it has states alone, which do not count them."""
    if cache is None or (cache.layers and not any(isinstance(layer, CacheLayerMixin) for layer in cache.layers)):
        return 0
    return cache.get_seq_length()


def is_filled(cache: Cache | None) -> bool:
    """Whether a cache has read any column."""
    return columns_in(cache) > 0 or any(
        has_states(layer) and any(layer.has_previous_state.values()) for layer in cache.layers
    )


def starts_empty(cache: Cache | None) -> bool:
    """Whether a rollout begins at the first column and its cache, if it has one, keeps every column it will read."""
    if cache is None:
        return True
    grows = cache.layer_class_to_replicate is RolloutLayer and all(type(layer) is RolloutLayer for layer in cache.layers)
    return grows and columns_in(cache) == 0


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
        layer = ThoughtLayer()
        # masks without a window take their size from the first layer without one, which must not be this
        layer.is_sliding = all(getattr(other, "is_sliding", False) for other in cache.layers)
        cache.layers.append(layer)
    cache.layers[-1].hidden, cache.layers[-1].closed = hidden, closed


def hold_length(cache: Cache | None) -> None:
    """Give a stock cache that holds states alone a layer that has a length; others are left as they are."""
    if isinstance(cache, DynamicCache):
        _with_length(cache)


def _with_length(cache: Cache) -> Cache:
    """Give a cache that holds states alone its place for the thought from the start, for models that ask for its length."""
    if cache.layers and not any(isinstance(layer, CacheLayerMixin) for layer in cache.layers):
        cache.layers.append(ThoughtLayer())
    return cache


def fitted_mask(mask: torch.Tensor, cache: Cache | None) -> torch.Tensor:
    """Return a mask (B, columns) as wide as a cache of fixed size, so that every pass of one column has the same shapes.

    The columns to come are masked by causality whatever stands there. Other caches get the mask as it is.
    """
    layers = [layer for layer in cache.layers if not isinstance(layer, ThoughtLayer)] if cache is not None else []
    fixed = {layer.max_cache_len for layer in layers if isinstance(layer, StaticLayer) and not layer.is_sliding}
    if len(fixed) != 1 or any(layer.is_sliding for layer in layers):
        return mask
    return torch.nn.functional.pad(mask, (0, max(0, fixed.pop() - mask.shape[1])))


def branch(cache: Cache, length: int | None = None) -> Cache:
    """Return a new cache over the first ``length`` columns of the same tensors; None where it ends.

    Caches mutate in place and cannot be copied under autograd; a branch shares the tensors, so gradient flows back through
    every branch. A layer with a window has forgotten columns before it, and one with a state knows that of the last column
    only, so such a cache branches where it ends.
    """
    branched = Cache(layers=[]) if any(has_states(layer) for layer in cache.layers) else rollout_cache()
    length = columns_in(cache) if length is None else length
    for layer in cache.layers:
        if isinstance(layer, ThoughtLayer):
            continue
        if isinstance(layer, RolloutLayer):
            branched.layers.append(layer.first(length))
        elif isinstance(layer, (DynamicLayer, StaticLayer)) and not has_states(layer):
            new = DynamicSlidingWindowLayer(_window(layer)) if layer.is_sliding else DynamicLayer()
            new.update(layer.keys[:, :, :length], layer.values[:, :, :length])
            new.cumulative_length = length  # read by layers with a window only
            branched.layers.append(new)
        else:
            branched.layers.append(copied(layer))
    return _with_length(branched)


def _window(layer: CacheLayerMixin) -> int:
    """Return the columns a layer with a window attends to; one of fixed size states its own size only."""
    return getattr(layer, "sliding_window", None) or layer.max_cache_len
