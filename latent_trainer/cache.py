"""What the key-value cache carries besides keys and values: the state a thought continues from."""

import torch
from transformers import Cache, DynamicCache
from transformers.cache_utils import CacheLayerMixin


class ThoughtLayer(CacheLayerMixin):
    """One more layer at the end of a cache: the last hidden state (B, H) and whether the thought is closed (B,).

    Living in the cache, it is reordered by beam search and repeated for several return sequences together with the keys and
    values it belongs to. Base models address layers by index and never reach it.
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
        """Forget the hidden state when tokens are taken back: it belonged to the last of them."""
        if tokens_to_remove:
            self.hidden = None

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
        self.hidden = None if self.hidden is None else change(self.hidden)
        self.closed = None if self.closed is None else change(self.closed)


def read_thought(cache: Cache | None) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Return the hidden state (B, H) a thought continues from and whether it is closed (B,); None where unknown."""
    if cache is not None and cache.layers and isinstance(cache.layers[-1], ThoughtLayer):
        return cache.layers[-1].hidden, cache.layers[-1].closed
    return None, None


def write_thought(cache: Cache | None, hidden: torch.Tensor, closed: torch.Tensor | None) -> None:
    """Keep in ``cache`` the state (B, H) the next latent grows from and whether each row's thought is closed (B,)."""
    if cache is None or not cache.layers:
        return
    if not isinstance(cache.layers[-1], ThoughtLayer):
        cache.layers.append(ThoughtLayer())
    cache.layers[-1].hidden, cache.layers[-1].closed = hidden, closed


def branch(cache: Cache, length: int) -> DynamicCache:
    """Return a new cache over the first ``length`` columns of the same tensors.

    Caches mutate in place and cannot be copied under autograd; a branch shares the tensors, so gradient flows back through
    every branch.
    """
    branched = DynamicCache()
    for index, layer in enumerate(layer for layer in cache.layers if not isinstance(layer, ThoughtLayer)):
        branched.update(layer.keys[:, :, :length], layer.values[:, :, :length], index)
    return branched
