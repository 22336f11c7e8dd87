"""Weight gradients of many small passes as few matrix products.

A latent's pass reads one column: a few rows. Back-propagating it writes a whole gradient for every weight from a product
over those few rows, pass after pass, and autograd adds them up. Here all passes of a step put their inputs and output
gradients aside, and as soon as there are rows enough for a product that is worth it, it is added to one gradient in place.
The sums are the same, in another order.
"""

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

WORTH = 512  # rows of a product


class _Gradient:
    """The gradient of one weight while it comes together.

    Args:
        transposed: whether the weight is (out, in), as that of `nn.Linear`, or (in, out), as that of Conv1D.
    """

    def __init__(self, transposed: bool):
        self.transposed = transposed
        self.aside: list[tuple[torch.Tensor, torch.Tensor]] = []  # inputs (N, in) and gradients of outputs (N, out)
        self.sum: torch.Tensor | None = None

    def add(self, inputs: torch.Tensor, outputs: torch.Tensor) -> None:
        """Add what a pass contributes, at once or with others."""
        if len(inputs) >= WORTH:
            self._multiply(inputs, outputs)
            return
        self.aside.append((inputs, outputs))
        if sum(len(one) for one, _ in self.aside) >= WORTH:
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
            return torch.addmm(bias, inputs, weight)
        outputs = nn.functional.linear(inputs, weight, bias)
        # autograd forbids to change a view in place that a function of ours returns; to it, this is none
        return torch.ops.aten._unsafe_view(outputs, outputs.shape) if outputs._is_view() else outputs

    @staticmethod
    def backward(ctx, outputs):
        inputs, weight = ctx.saved_tensors
        rows = outputs.reshape(-1, outputs.shape[-1])
        ctx.gradient.add(inputs.reshape(-1, inputs.shape[-1]), rows)
        for_inputs = None
        if ctx.needs_input_grad[0]:
            for_inputs = outputs @ (weight if ctx.gradient.transposed else weight.T)
        return for_inputs, None, rows.sum(0) if ctx.needs_input_grad[2] else None, None


class WeightGradients(TorchFunctionMode):
    """Within the block, the linear layers of a step's passes share one weight gradient.

    Use one for all passes, each in a ``with`` block of its own. Weights that do not train are left alone, and so is
    everything under autocast.
    """

    def __init__(self):
        super().__init__()
        self.shared: dict[tuple[int, bool], tuple[torch.Tensor, _Gradient]] = {}  # by weight, as the passes multiply by it

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Replace the two forms in which layers multiply by a weight: ``linear``, and ``addmm`` of Conv1D."""
        kwargs = kwargs or {}
        if not torch.is_grad_enabled():  # a model's own no_grad: a weight gathered here would have no graph for later passes
            return func(*args, **kwargs)
        if func is nn.functional.linear and len(args) >= 2:
            inputs, weight, bias = (*args, kwargs.get("bias"))[:3]
            transposed = True
        elif func is torch.addmm and len(args) == 3 and not kwargs:
            bias, inputs, weight = args
            transposed = False
        else:
            return func(*args, **kwargs)
        trains = isinstance(weight, nn.Parameter) and weight.requires_grad
        if not trains or torch.is_autocast_enabled(weight.device.type):
            return func(*args, **kwargs)
        key = (id(weight), transposed)
        if key not in self.shared:
            gradient = _Gradient(transposed)
            self.shared[key] = _Gather.apply(weight, gradient), gradient
        gathered, gradient = self.shared[key]
        return _PutAside.apply(inputs, gathered, bias, gradient)
