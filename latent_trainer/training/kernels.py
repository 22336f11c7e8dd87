"""Liger's GPU kernels in the base model's layers, and for losses fused with the head (extra ``kernels``)."""

import importlib
from functools import partial

import torch
from torch import nn
from transformers.utils import is_liger_kernel_available

from latent_trainer.compat import apply_liger_kernel
from latent_trainer.errors import InputError


def use_kernels(base: nn.Module, settings: dict | None = None) -> None:
    """Give a base model the kernels that Liger has for its layers, and fuse its losses with its head.

    The stock flag ``use_liger_kernel`` alone would look for kernels of the wrapper and find none.

    Args:
        base: the causal language model in the wrapper.
        settings: ``liger_kernel_config``: which of the layers' kernels to use.

    Raises:
        ValueError: no GPU, a head that does more than multiply and cap, or no Liger.
    """
    if not torch.cuda.is_available():
        raise InputError("use_liger_kernel=True needs a GPU, and there is none; leave it out")
    config, head = base.config.get_text_config(), base.get_output_embeddings()
    scaled = [name for name in ("logit_scale", "logits_scaling") if getattr(config, name, None) is not None]
    if scaled or type(head) is not nn.Linear:
        what = scaled[0] if scaled else f"a head of type {type(head).__name__}"
        raise InputError(f"use_liger_kernel=True cannot fuse the loss with {what}; leave use_liger_kernel out")
    if not is_liger_kernel_available():
        raise InputError("use_liger_kernel=True needs liger-kernel; pip install 'latent_trainer[kernels]' or leave it out")
    # the fused loss of the stock forward is never reached: a step calls the decoder, and the head on labelled positions
    apply_liger_kernel(base, {"cross_entropy": False, "fused_linear_cross_entropy": False, **(settings or {})})
    base.fused_losses = partial(fused_losses, head, getattr(config, "final_logit_softcapping", None))


def fused_losses(head: nn.Linear, cap: float | None, hidden: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy (N,) of ``labels`` (N,) predicted by ``hidden`` (N, H), capped logits never in memory.

    Source: Hsu et al. 2024, "Liger Kernel: Efficient Triton Kernels for LLM Training".
    """
    functional = importlib.import_module("liger_kernel.transformers.functional")  # an optional dependency
    settings = {"reduction": "none", "softcap": cap, "accum_dtype": torch.float32}
    return functional.liger_fused_linear_cross_entropy(hidden, head.weight, labels, head.bias, **settings)
