"""LoRA on a latent model: adapters on the base, the thought tokens' rows and the feedback trained in full."""

from contextlib import contextmanager
from copy import copy

from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from torch import nn
from transformers.pytorch_utils import Conv1D

from latent_trainer.adapter_targets import default_targets
from latent_trainer.errors import InputError
from latent_trainer.modeling import LatentForCausalLM


def add_adapters(model: LatentForCausalLM, peft_config: PeftConfig) -> PeftModel:
    """Wrap ``model`` so that only adapters, the rows of the thought tokens and the feedback train.

    Args:
        model: a latent model.
        peft_config: any PEFT configuration; a `LoraConfig` without ``target_modules`` takes PEFT's own choice for the base
            architecture, or every linear layer where PEFT has none (`latent_trainer.adapter_targets`).
    """
    config = copy(peft_config)
    if isinstance(config, LoraConfig):
        if config.target_modules is None:
            config.target_modules = default_targets(model)
        if any(
            isinstance(module, Conv1D)
            and any(one in config.target_modules for one in (name.rpartition(".")[2], f"base.{name}"))
            for name, module in model.base.named_modules()
        ):
            config.fan_in_fan_out = True  # Conv1D keeps its weight transposed
        if config.trainable_token_indices is None:
            ids = {model.config.latent_token_id, model.config.bot_token_id, model.config.eot_token_id}
            config.trainable_token_indices = {_embedding_name(model): sorted(ids)}
    whole = [name for name in ("feedback", "step_decoder") if _has_parameters(getattr(model, name))]
    if whole:
        config.modules_to_save = sorted({*(config.modules_to_save or ()), *whole})
    return get_peft_model(model, config)


def take_over(model: nn.Module, args, step_group: int) -> None:
    """Give a model the feedback, rollout and step decoder its training arguments name.

    Args:
        model: a latent model, or one in a `PeftModel`.
        args: `LatentTrainingArguments`.
        step_group: latents a step decoder reads for a step.

    Raises:
        InputError: the model has adapters already, and what is new would train but not be saved with them.
    """
    latent = latent_model(model)
    feedback = latent.feedback
    latent.configure(args.feedback, args.feedback_options, args.rollout, args.backprop, args.rollout_options)
    projects = latent.feedback is not feedback and _has_parameters(latent.feedback)
    copies = args.step_decoder == "copy" and latent.config.step_decoder != "copy"
    if isinstance(model, PeftModel) and (projects or copies):
        what = f"feedback={args.feedback}" if projects else "step_decoder=copy"
        raise InputError(
            f"{what} adds weights that the model's adapters would not save; give LatentTrainer a peft_config instead"
        )
    latent.add_step_decoder(args.step_decoder, step_group)


def _embedding_name(model: LatentForCausalLM) -> str:
    embedding = model.get_input_embeddings()
    return next(name for name, module in model.named_modules() if module is embedding)


def _has_parameters(module: nn.Module | None) -> bool:
    return module is not None and next(module.parameters(), None) is not None


@contextmanager
def without_step_decoder(model: nn.Module):
    """Take a step decoder with weights of its own out of a model and its adapter for as long as the block runs."""
    latent = latent_model(model)
    if not _has_parameters(latent.step_decoder):
        yield
        return
    decoder, kind = latent.step_decoder, latent.config.step_decoder
    configs = list(model.peft_config.values()) if isinstance(model, PeftModel) else []
    whole = [config.modules_to_save for config in configs]
    latent.step_decoder = latent.config.step_decoder = None
    for config in configs:
        config.modules_to_save = [name for name in config.modules_to_save or () if name != "step_decoder"] or None
    try:
        yield
    finally:
        latent.step_decoder, latent.config.step_decoder = decoder, kind
        for config, names in zip(configs, whole, strict=True):
            config.modules_to_save = names


def latent_model(model: nn.Module) -> LatentForCausalLM:
    """Return the latent model inside a PEFT model, or the model itself."""
    return model.get_base_model() if isinstance(model, PeftModel) else model
