"""Which linear layers get an adapter where nobody has said: those through which a row of tokens learns."""

import re

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from latent_trainer.compat import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
from latent_trainer.model.modeling import LatentForCausalLM
from latent_trainer.sharding import is_whole


def default_targets(model: LatentForCausalLM) -> list[str]:
    """Return ``target_modules`` for a latent model: PEFT's own choice for the base architecture, or every linear layer.

    Of these, only layers that a row of tokens runs through, to logits, and that have a gradient from there: no vision tower,
    no attention to an encoder that is not there, no router that merely ranks. The last part of a name stands for all layers
    that end in it; where some of those must be left out, whole names are listed.

    Args:
        model: a latent model.
    """
    known = TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING.get(model.base.config.model_type)
    known = None if known is None else {known} if isinstance(known, str) else set(known)
    head = model.get_output_embeddings()
    linear = {
        name: layer
        for name, layer in model.named_modules()
        if name.startswith("base.") and isinstance(layer, (nn.Linear, Conv1D)) and layer is not head
    }
    if known is not None:
        linear = {name: layer for name, layer in linear.items() if _matches(name, known)}
    learning = _learning(model, linear)
    if known is not None and len(learning) == len(linear):
        return sorted(known)
    every = [name for name, _ in model.named_modules() if name.startswith("base.")]
    targets = set()
    for name in learning:
        last = name.rpartition(".")[2]
        shares = [other for other in every if other.rpartition(".")[2] == last]
        targets.add(last if set(shares) <= learning else name)
    return sorted(targets)


def _matches(name: str, known: set[str]) -> bool:
    """Whether PEFT would take one of these for the end of a module's name."""
    return any(name.endswith(f".{target}") for target in known)


def _learning(model: LatentForCausalLM, linear: dict[str, nn.Module]) -> set[str]:
    """Return the names of the layers that a short row runs through and learns by; of experts, all that are like one of them.

    Weights that are not whole here cannot be tried; then it is all of them but those that a container numbers.
    """
    if not is_whole(model.base):
        return {name for name in linear if not name.rpartition(".")[2].isdigit()}
    outputs: dict[str, torch.Tensor] = {}
    hooks = [
        layer.register_forward_hook(lambda module, args, output, name=name: outputs.update({name: output}))
        for name, layer in linear.items()
    ]
    embedding = model.get_input_embeddings()
    hooks.append(embedding.register_forward_hook(lambda module, args, output: output.detach().requires_grad_().clone()))
    training = [module for module in model.base.modules() if module.training]
    model.base.eval()
    try:
        ids = torch.arange(3, 11, device=model.device)[None] % model.config.vocab_size
        with torch.enable_grad():
            logits = model.base(input_ids=ids, use_cache=False).logits
            tensors = {name: one for name, one in outputs.items() if torch.is_tensor(one) and one.requires_grad}
            found = torch.autograd.grad(logits.float().sum(), list(tensors.values()), allow_unused=True)
    finally:
        for hook in hooks:
            hook.remove()
        for module in training:
            module.training = True
    kinds = {_kind(name) for name, gradient in zip(tensors, found, strict=True) if gradient is not None}
    return {name for name in linear if _kind(name) in kinds}


def _kind(name: str) -> str:
    """Return what layers of the same place in every block, and every expert, have in common."""
    return re.sub(r"\d+", "*", name)
