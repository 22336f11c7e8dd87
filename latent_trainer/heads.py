"""From hidden states to logits, for any base model."""

import torch
from torch import nn


def logits_of(base: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
    """Return the logits (.., V) of ``hidden`` (.., H) as the base model's own forward computes them.

    The three scalings that causal language models apply around their head are read from the fields of the base
    configuration that state them: ``logit_scale``, ``logits_scaling`` and ``final_logit_softcapping``.

    Args:
        base: a causal language model with output embeddings.
        hidden: last hidden states after the final norm.
    """
    config = base.config.get_text_config()
    logits = base.get_output_embeddings()(hidden)
    if getattr(config, "logit_scale", None) is not None:
        logits = logits * config.logit_scale
    if getattr(config, "logits_scaling", None) is not None:
        logits = logits / config.logits_scaling
    cap = getattr(config, "final_logit_softcapping", None)
    return logits if cap is None else torch.tanh(logits / cap) * cap


def token_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy (N,) of ``labels`` (N,) under ``logits`` (N, V), in float32 or better."""
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    return nn.functional.cross_entropy(logits, labels, reduction="none")
