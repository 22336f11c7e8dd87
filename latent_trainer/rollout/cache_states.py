"""States in a cache: what recurrent and convolutional layers carry from pass to pass, safe to branch and to learn through.

Stock layers overwrite a state in place with every pass. A branch would see that, and back-propagation needs the state that a
pass has read. Here a state is replaced, never overwritten.
"""

import copy

import torch
from transformers.cache_utils import DynamicIndexedLayer, LinearAttentionCacheLayerMixin

PER_STATE = ("is_conv_states_initialized", "is_recurrent_states_initialized", "has_previous_state", "conv_kernel_size")


def has_states(layer) -> bool:
    """Whether a cache layer holds states, alone or beside keys and values."""
    return isinstance(layer, LinearAttentionCacheLayerMixin)


def is_indexed(layer) -> bool:
    """Whether a cache layer keeps the keys by which sparse attention chooses its columns."""
    return type(layer) is DynamicIndexedLayer


def with_fresh_states(layer):
    """Return a copy of a layer over the same tensors; what is read into one does not change the other."""
    new = copy.copy(layer)
    for name in PER_STATE:
        setattr(new, name, dict(getattr(layer, name)))
    new.conv_states, new.recurrent_states = _States(layer.conv_states), _States(layer.recurrent_states)
    return new


def keep_rows(layer, before, rows: torch.Tensor) -> None:
    """Give the ``rows`` (B,) of a layer's states back what they were in ``before``, a copy from before a pass."""
    for states, old in ((layer.conv_states, before.conv_states), (layer.recurrent_states, before.recurrent_states)):
        for at, state in states.items():
            if state is not None:
                was = old.as_it_is(at)
                was = torch.zeros_like(state) if was is None else was  # a pass over nothing leaves an empty state
                states[at] = torch.where(rows.view(-1, *[1] * (state.dim() - 1)), was, states.as_it_is(at))


class _States(dict):
    """The states of a layer by number; one that is read to be overwritten leaves the old one as it was."""

    def __getitem__(self, number):
        state = super().__getitem__(number)
        if state is None:
            return None
        fresh = state.clone()
        super().__setitem__(number, fresh)
        if not torch.is_grad_enabled():
            return fresh
        handed = fresh.as_subclass(_State)
        handed.states, handed.number = self, number
        return handed

    def as_it_is(self, number) -> torch.Tensor | None:
        """Return a state that will not be written to."""
        return super().__getitem__(number)


class _State(torch.Tensor):
    """A state as a layer reads it under autograd: what is copied into it replaces it where it is kept."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is torch.Tensor.copy_ and type(args[0]) is _State:
            state, new = args[0], _plain(args[1])
            dict.__setitem__(state.states, state.number, new.to(state.dtype).expand(state.shape))
            return new
        args, kwargs = (_plain(args), {name: _plain(value) for name, value in (kwargs or {}).items()})
        return func(*args, **kwargs)


def _plain(value):
    """Return tensors as the plain tensors they are, in lists and tuples too."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(_plain, value))
    if not isinstance(value, _State):
        return value
    with torch._C.DisableTorchFunctionSubclass():
        return value.as_subclass(torch.Tensor)
