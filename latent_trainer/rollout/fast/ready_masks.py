"""The masks of all passes of a rollout, made once, with other continuations of the prompt beside the first of them."""

from collections.abc import Callable, Sequence

import torch

from latent_trainer.compat import get_attention, has_state
from latent_trainer.errors import InputError
from latent_trainer.rollout.cache import starts_empty
from latent_trainer.rollout.columns import Columns, Continuation
from latent_trainer.rollout.masks import Masks, as_taken

LOOKING_BACK = {"full_attention", "sliding_attention"}
BY_LENGTH = {"dynamic", "longrope"}  # rotary frequencies


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


class ReadyMasks(Masks):
    """Masks that are made once, for a decoder that takes them so.

    Left to build its mask itself, a model looks at the padding in every pass, and on a GPU each time waits for the answer.

    Args:
        decoder: the base model without its head.
        columns: of the rollout.
        own_cache: whether the decoder's cache holds more than keys and values; such a decoder makes its masks itself.

    Raises:
        ValueError: continuations without a mask (B, T), after other columns, or for a decoder that takes no ready mask.
    """

    def __init__(self, decoder: Callable, columns: Columns, own_cache: bool = False):
        super().__init__(decoder, columns)
        if self.square is not None:
            return
        continuations = columns.continuations
        width = self.width + sum(one.embeds.shape[1] for one in continuations)
        starts = self.padding is not None and starts_empty(columns.cache)
        if own_cache or not starts or not takes_ready_mask(decoder, width):
            if continuations:
                raise InputError("continuations need a decoder that takes ready masks, with a mask and an empty cache")
            return
        if not continuations and self.padding.all():  # a device synchronisation
            self.padding = None
            return
        self.square = as_taken(decoder, columns.embeds, _visible(self.padding, continuations))

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
