"""Weight gradients of many small passes as one matrix product.

A latent's pass reads one column: a few rows. Back-propagating it writes a whole gradient for every weight from a product
over those few rows, pass after pass. So the later passes only put their inputs and output gradients aside, and one product
over all of them is added to the gradient of the first pass. The sums are the same, in another order.
"""

import torch
from torch import nn
from torch.overrides import TorchFunctionMode


class _Gather(torch.autograd.Function):
    """A weight as it is, for all passes; on the way back, what the later ones have put aside is added to its gradient.

    Every pass multiplies by the output of this node, so that autograd comes back to it after all of them.
    """

    @staticmethod
    def forward(ctx, weight, aside, transposed):
        ctx.aside, ctx.transposed = aside, transposed
        ctx.set_materialize_grads(False)
        return weight.view_as(weight)

    @staticmethod
    def backward(ctx, gradient):
        if ctx.aside:
            inputs = torch.cat([one for one, _ in ctx.aside])  # (N, in)
            outputs = torch.cat([one for _, one in ctx.aside])  # (N, out)
            ctx.aside.clear()
            left, right = (outputs, inputs) if ctx.transposed else (inputs, outputs)
            gradient = left.T @ right if gradient is None else torch.addmm(gradient, left.T, right)
        return gradient, None, None


class _PutAside(torch.autograd.Function):
    """x W + b, whose backward puts x and the output's gradient aside instead of forming the gradient of W."""

    @staticmethod
    def forward(ctx, inputs, weight, bias, aside, transposed):
        ctx.save_for_backward(inputs, weight)
        ctx.aside, ctx.transposed = aside, transposed
        if transposed:
            return nn.functional.linear(inputs, weight, bias)
        return torch.addmm(bias, inputs, weight)

    @staticmethod
    def backward(ctx, gradient):
        inputs, weight = ctx.saved_tensors
        rows = gradient.reshape(-1, gradient.shape[-1])
        ctx.aside.append((inputs.reshape(-1, inputs.shape[-1]), rows))
        for_inputs = gradient @ (weight if ctx.transposed else weight.T) if ctx.needs_input_grad[0] else None
        return for_inputs, None, rows.sum(0) if ctx.needs_input_grad[2] else None, None, None


class WeightGradients(TorchFunctionMode):
    """Within the block, the linear layers of a step's passes share one weight gradient.

    Use one for all passes, each in a ``with`` block of its own. Weights that do not train are left alone, and so is
    everything under autocast.
    """

    def __init__(self):
        super().__init__()
        self.passes = 0
        self.gathered: dict[tuple[int, bool], tuple[torch.Tensor, list]] = {}  # the node's output, and what is put aside

    def __enter__(self):
        self.passes += 1
        return super().__enter__()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Replace the two forms in which layers multiply by a weight: ``linear``, and ``addmm`` of Conv1D."""
        kwargs = kwargs or {}
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
        if self.passes == 1 and key not in self.gathered:
            aside: list = []
            self.gathered[key] = _Gather.apply(weight, aside, transposed), aside
        if key not in self.gathered:
            return func(*args, **kwargs)
        gathered, aside = self.gathered[key]
        if self.passes > 1:
            return _PutAside.apply(inputs, gathered, bias, aside, transposed)
        return func(inputs, gathered, bias) if transposed else func(bias, inputs, gathered)
