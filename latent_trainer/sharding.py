"""Parameters that are not whole where they are used: shared out over ranks (ZeRO-3, FSDP2), or offloaded by accelerate."""

import contextlib
import importlib

import torch
from torch import distributed, nn
from torch.distributed.fsdp import FSDPModule


def is_partitioned(parameter: nn.Parameter) -> bool:
    """Return whether ZeRO-3 has partitioned a parameter: it is whole only while a module that has it runs."""
    return hasattr(parameter, "ds_id")  # its mark


def is_sharded(model: nn.Module) -> bool:
    """Return whether each of several ranks holds only a part of every parameter."""
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return False
    if is_partitioned(next(model.parameters())):
        return True
    return any(isinstance(module, FSDPModule) for module in model.modules())


def is_whole(model: nn.Module) -> bool:
    """Return whether a model can be run right here: no parameter is without data, partitioned by ZeRO-3 or shared out."""
    absent = any(parameter.is_meta or is_partitioned(parameter) for parameter in model.parameters())
    return not absent and not is_sharded(model)


class Lookup:
    """A token embedding as a feedback gets it: token ids to input embeddings, and its table ``weight`` (V, H).

    No module: accelerate moves whatever has a device to that of the module it is given to, a table it has offloaded too.
    """

    def __init__(self, embedding: nn.Module):
        self.embedding = embedding

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the input embeddings (.., H) of ``tokens`` (..)."""
        return self.embedding(tokens)

    @property
    def weight(self) -> nn.Parameter:
        """The table as it is now: empty where ZeRO-3 has partitioned it, without data where accelerate has offloaded it."""
        return self.embedding.weight


def whole_shape(parameter: nn.Parameter) -> torch.Size:
    """Return the shape of a parameter, which ZeRO-3 leaves empty between two uses."""
    return getattr(parameter, "ds_shape", parameter.shape)


def gathered(parameters: list[nn.Parameter]):
    """Return a context in which parameters that ZeRO-3 has partitioned are whole; every rank keeps what rank 0 changes."""
    if not any(is_partitioned(parameter) for parameter in parameters):
        return contextlib.nullcontext()
    # an optional dependency, there because it has made ``ds_id``; transformers would ask everyone who loads this file with a
    # pushed model to install what an import statement names
    deepspeed = importlib.import_module("deepspeed")
    return deepspeed.zero.GatheredParameters(parameters, modifier_rank=0)
