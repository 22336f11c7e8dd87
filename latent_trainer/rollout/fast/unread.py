"""The feed-forward part of the last layer, only on columns whose hidden state somebody reads.

Later columns read a prompt's keys and values, which come from the layers before; what the last layer makes of a prompt's
columns after its attention would be for the head, and training runs that on labelled columns alone.
"""

import contextlib

import torch
from torch import nn

from latent_trainer.rollout.checkpointing import checkpointed_layers, replaced_forward


@contextlib.contextmanager
def read_from(decoder: nn.Module, column: int):
    """Within the block the last layer's ``mlp`` leaves out the columns before ``column``, which then mean nothing.

    A decoder whose last layer has no such part, or one that takes or gives more than hidden states, computes all columns.
    """
    layers = checkpointed_layers(decoder) if column else []
    mlp = getattr(layers[-1], "mlp", None) if layers else None
    if mlp is None:
        yield
        return
    of_layer, of_mlp = layers[-1].forward, mlp.forward

    def part(hidden, *more, **named):  # (B, n, H)
        if more or named or hasattr(mlp, "experts"):
            return of_mlp(hidden, *more, **named)
        read = of_mlp(hidden[:, column:].contiguous())  # some layers view their input
        return nn.functional.pad(read, (0, 0, column, 0)) if isinstance(read, torch.Tensor) else of_mlp(hidden)

    def whole(*args, **kwargs):  # within the layer's own forward, so that a checkpoint recomputes the same
        with replaced_forward(mlp, part):
            return of_layer(*args, **kwargs)

    with replaced_forward(layers[-1], whole):
        yield
