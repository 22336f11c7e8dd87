"""What makes an evaluation one: no dropout, random numbers of its own, and nothing of it left behind."""

import contextlib
import random

import numpy
import torch
from torch import nn
from transformers import set_seed


@contextlib.contextmanager
def evaluating(model: nn.Module):
    """Have a model in evaluation mode within the block; afterwards each of its modules is in the mode it was in."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


@contextlib.contextmanager
def own_random_numbers(seed: int):
    """Draw from ``seed`` within the block, whatever was drawn before; afterwards go on as if there had been no block.

    A base model may draw outside training too. So an evaluation gives the same twice, and a run with evaluations the same
    weights as one without.
    """
    python, arrays = random.getstate(), numpy.random.get_state()
    device = torch.accelerator.current_accelerator()
    devices = [] if device is None else [torch.accelerator.current_device_index()]
    with torch.random.fork_rng(devices, device_type="cuda" if device is None else device.type):
        set_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            numpy.random.set_state(arrays)


@contextlib.contextmanager
def in_precision(model: nn.Module, dtype: torch.dtype | None):
    """Have a model's parameters in another type within the block; afterwards they are what they were, to the last bit.

    Args:
        model: its parameters are whole on this process.
        dtype: None leaves them alone.
    """
    if dtype is None:
        yield
        return
    before = {parameter: parameter.data for parameter in model.parameters() if parameter.is_floating_point()}
    try:
        for parameter, data in before.items():
            parameter.data = data.to(dtype)
        yield
    finally:
        for parameter, data in before.items():
            parameter.data = data
