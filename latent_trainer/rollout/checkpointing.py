"""Gradient checkpointing that keeps the cache: the decoder layers of a rollout are recomputed one by one on the way back.

The stock layers drop the cache when they checkpoint, which would cut every latent off from the prompt. Here a
checkpointed layer gets a copy of the cache, returns the keys and values it has added, and joins them anew to what came
before when it is recomputed, so that nothing but one hidden state, key and value per column and layer outlives the forward
pass.

Source: Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost".
"""

import contextlib
from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import Cache

from latent_trainer.compat import GradientCheckpointingLayer
from latent_trainer.errors import InputError
from latent_trainer.rollout.cache import RolloutLayer, ThoughtLayer, copied, rollout_cache
from latent_trainer.rollout.cache_states import has_states

DEFAULTS = {"use_reentrant": False, "every_n_layers": 1, "offload": False}


class RolloutCheckpointing:
    """What a latent model answers to the stock switches for gradient checkpointing; comes before `PreTrainedModel`."""

    gradient_checkpointing = False

    def activation_checkpointing_enable(self, activation_checkpointing_kwargs: dict | None = None, **kwargs) -> None:
        """Recompute the base model's layers on the way back, the cache kept.

        Args:
            activation_checkpointing_kwargs: settings of the stock checkpoints, of which only the defaults are possible.
            kwargs: the same under their older name, ``every_n_layers`` and ``offload``.

        Raises:
            ValueError: a setting that is not the default.
        """
        settings = activation_checkpointing_kwargs or kwargs.pop("gradient_checkpointing_kwargs", None) or {}
        for name, value in {**settings, **kwargs}.items():
            if value not in (DEFAULTS.get(name), None):
                raise InputError(f"gradient checkpointing of latents does not support {name}={value}; leave {name} out")
        self.gradient_checkpointing = True

    def activation_checkpointing_disable(self) -> None:
        """Keep every activation again."""
        self.gradient_checkpointing = False

    gradient_checkpointing_enable = activation_checkpointing_enable  # its name before transformers 5.23
    gradient_checkpointing_disable = activation_checkpointing_disable

    def refuse_base_checkpointing(self) -> None:
        """Raise an `InputError` where the base model's layers checkpoint themselves."""
        refuse_own_checkpointing(self.base)


def refuse_own_checkpointing(base: nn.Module) -> None:
    """Raise an `InputError` where a base model's layers checkpoint themselves."""
    if any(getattr(module, "gradient_checkpointing", False) for module in base.modules()):
        raise InputError(
            "gradient checkpointing of the base model would silently drop the cache that latents need; turn it off "
            "there (base.gradient_checkpointing_disable()) and on here (model.gradient_checkpointing_enable())"
        )


def checkpointed_layers(decoder: nn.Module) -> list[nn.Module]:
    """Return the layers of a decoder that are recomputed, the outermost of those that the stock library would take."""
    found = [name for name, module in decoder.named_modules() if isinstance(module, GradientCheckpointingLayer)]
    outermost = [name for name in found if not any(name.startswith(f"{other}.") for other in found)]
    return [decoder.get_submodule(name) for name in outermost]


@contextlib.contextmanager
def replaced_forward(module: nn.Module, forward: Callable):
    """Within the block ``forward`` is what runs when the module is called."""
    before = module.__dict__.get("forward")  # of a module whose forward somebody has replaced already
    module.forward = forward
    try:
        yield
    finally:
        if before is None:
            del module.forward
        else:
            module.forward = before


@contextlib.contextmanager
def checkpointed(layers: list[nn.Module]):
    """Within the block these layers keep no activations but what they return; the cache they are given is a rollout's."""
    with contextlib.ExitStack() as stack:
        for layer in layers:
            stack.enter_context(replaced_forward(layer, partial(_forward, layer.forward)))
        yield


def _forward(forward, *args, **kwargs):
    """Run a layer's forward under a checkpoint and put its keys and values into the cache it was given."""
    cache = next((value for value in (*args, *kwargs.values()) if isinstance(value, Cache)), None)
    if not torch.is_grad_enabled():  # a model's own no_grad: nothing is kept that could be recomputed
        return forward(*args, **kwargs)
    if cache is None:
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)
    if not all(isinstance(layer, (RolloutLayer, ThoughtLayer)) or has_states(layer) for layer in cache.layers):
        return forward(*args, **kwargs)  # somebody else's cache, of which nobody knows how to add a layer's columns again
    before = [copied(layer) for layer in cache.layers]  # the columns there are now; more come before the recomputation

    def run(*args, **kwargs):
        own = rollout_cache()
        own.layers = [copied(layer) for layer in before]
        own.layer_class_to_replicate = cache.layer_class_to_replicate
        args, kwargs = (
            [_swap(value, cache, own) for value in args],
            {name: _swap(value, cache, own) for name, value in kwargs.items()},
        )
        output = forward(*args, **kwargs)
        return output, own.layers

    output, layers = checkpoint(run, *args, use_reentrant=False, **kwargs)
    for at, layer in enumerate(layers):
        if type(layer) is not RolloutLayer:  # states and the like: what the pass has made of them
            cache.layers[at] = layer
        elif layer.added is not None:
            cache.update(*layer.added, at)
    return output


def _swap(value, cache: Cache, own: Cache):
    return own if value is cache else value
