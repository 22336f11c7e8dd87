"""Weight gradients of many small passes as few matrix products.

A latent's pass reads one column: a few rows. Back-propagating it writes a whole gradient for every weight from a product
over those few rows, pass after pass, and autograd adds them up. Here all passes of a step put their inputs and output
gradients aside, and as soon as there are rows enough for a product that is worth it, it is added to one gradient in place.
The sums are the same, in another order.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from latent_trainer.sharding import is_partitioned

WORTH = 512  # rows of a product
# forms in which layers multiply by a weight, and whether it is (out, in) or (in, out)
TRANSPOSED: dict[Callable, bool] = {nn.Linear.forward: True, Conv1D.forward: False}


class _Gradient:
    """The gradient of one weight while it comes together.

    Args:
        transposed: whether the weight is (out, in), as that of `nn.Linear`, or (in, out), as that of Conv1D.
    """

    def __init__(self, transposed: bool):
        self.transposed = transposed
        self.aside: list[tuple[torch.Tensor, torch.Tensor]] = []  # inputs (N, in) and gradients of outputs (N, out)
        self.rows = 0  # of those
        self.sum: torch.Tensor | None = None

    def add(self, inputs: torch.Tensor, outputs: torch.Tensor) -> None:
        """Add what a pass contributes, at once or with others."""
        rows = inputs.shape[0]
        if rows >= WORTH:
            self._multiply(inputs, outputs)
            return
        self.aside.append((inputs, outputs))
        self.rows += rows
        if self.rows >= WORTH:
            self._flush()

    def take(self) -> torch.Tensor | None:
        """Return the gradient and start anew."""
        if self.aside:
            self._flush()
        result, self.sum = self.sum, None
        return result

    def _flush(self) -> None:
        self._multiply(*(torch.cat(parts) for parts in zip(*self.aside, strict=True)))
        self.aside.clear()
        self.rows = 0

    def _multiply(self, inputs: torch.Tensor, outputs: torch.Tensor) -> None:
        left, right = (outputs.T, inputs) if self.transposed else (inputs.T, outputs)
        self.sum = left @ right if self.sum is None else self.sum.addmm_(left, right)


class _Gather(torch.autograd.Function):
    """A weight as it is, for all passes; they multiply by its output, so that autograd comes back to it after them."""

    @staticmethod
    def forward(ctx, weight, gradient):
        ctx.gradient = gradient
        ctx.set_materialize_grads(False)
        return weight.view_as(weight)

    @staticmethod
    def backward(ctx, _):
        return ctx.gradient.take(), None


class _PutAside(torch.autograd.Function):
    """x W + b, whose backward puts x and the output's gradient aside instead of forming the gradient of W."""

    @staticmethod
    def forward(ctx, inputs, weight, bias, gradient):
        ctx.save_for_backward(inputs, weight)
        ctx.gradient = gradient
        if not gradient.transposed:
            rows = torch.addmm(bias, inputs.reshape(-1, inputs.shape[-1]), weight)
            return rows.view(*inputs.shape[:-1], rows.shape[-1])
        outputs = nn.functional.linear(inputs, weight, bias)
        # autograd forbids to change a view in place that a function of ours returns; to it, this is none
        return torch.ops.aten._unsafe_view(outputs, outputs.shape) if outputs._is_view() else outputs

    @staticmethod
    def backward(ctx, outputs):
        inputs, weight = ctx.saved_tensors
        gradient = ctx.gradient
        rows = outputs.reshape(-1, outputs.shape[-1])
        gradient.add(inputs.reshape(-1, inputs.shape[-1]), rows)
        for_inputs = None
        if ctx.needs_input_grad[0]:
            for_inputs = rows.mm(weight if gradient.transposed else weight.t()).view(inputs.shape)
        return for_inputs, None, rows.sum(0) if ctx.needs_input_grad[2] else None, None


def _trains_whole(module: nn.Module) -> bool:
    """Return whether the weight of a layer is a parameter that trains and that no rank has to gather."""
    # by name, as DeepSpeed gathers a partitioned parameter as soon as it is taken from its module, on this rank alone
    weight = dict(module.named_parameters(recurse=False)).get("weight")
    return weight is not None and weight.requires_grad and not is_partitioned(weight)


class WeightGradients:
    """Within the block, the linear layers of a step's passes share one weight gradient.

    Use one for all passes, each in a ``with`` block of its own. Weights that do not train are left alone, and so are layers
    whose forward is not that of `nn.Linear` or Conv1D, or was replaced by somebody, everything under autocast, compiled
    decoders, and weights that ZeRO-3 has partitioned: those are whole only until a pass has gone back through their layer,
    and the shared gradient comes after all passes.

    Args:
        decoder: runs in the block; one that is no module has no layers.
    """

    def __init__(self, decoder: Callable):
        self.shared: dict[int, tuple[torch.Tensor, _Gradient]] = {}  # by weight, as the passes multiply by it
        self.forwards: list[tuple[dict, Callable]] = [
            (vars(module), partial(self._multiplied, module, transposed))
            for module in (decoder.modules() if isinstance(decoder, nn.Module) else ())
            if (transposed := TRANSPOSED.get(type(module).forward)) is not None
            and _trains_whole(module)
            and "forward" not in vars(module)
        ]

    def __enter__(self) -> "WeightGradients":
        for attributes, forward in self.forwards:
            attributes["forward"] = forward
        return self

    def __exit__(self, *error) -> None:
        for attributes, _ in self.forwards:
            attributes.pop("forward", None)

    def _multiplied(self, module: nn.Module, transposed: bool, inputs: torch.Tensor) -> torch.Tensor:
        """Return what the layer makes of its inputs (.., in)."""
        weight = module.weight
        # a model's own no_grad: a weight gathered there would have no graph for later passes
        if not torch.is_grad_enabled() or torch.is_autocast_enabled(inputs.device.type) or torch.compiler.is_compiling():
            return type(module).forward(module, inputs)
        if id(weight) not in self.shared:
            gradient = _Gradient(transposed)
            self.shared[id(weight)] = _Gather.apply(weight, gradient), gradient
        gathered, gradient = self.shared[id(weight)]
        return _PutAside.apply(inputs, gathered, module.bias, gradient)
