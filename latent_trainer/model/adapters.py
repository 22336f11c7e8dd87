"""Adapters on a latent model: on the base; the thought tokens' rows, of the head too, and the feedback trained in full."""

import re
from collections.abc import Iterable
from contextlib import contextmanager
from copy import copy

from peft import LoraConfig, PeftConfig, PeftModel, TaskType, get_peft_model
from torch import nn
from transformers.pytorch_utils import Conv1D

from latent_trainer.errors import InputError
from latent_trainer.methods.objectives import Objective
from latent_trainer.model.adapter_targets import default_targets
from latent_trainer.model.modeling import LatentForCausalLM


def add_adapters(model: LatentForCausalLM, peft_config: PeftConfig) -> PeftModel:
    """Wrap ``model`` so that only adapters, the rows of the thought tokens and the feedback train.

    Args:
        model: a latent model.
        peft_config: any PEFT configuration but those of prompt learning; a `LoraConfig` without ``target_modules`` takes
            PEFT's own choice for the base architecture, or every linear layer where PEFT has none
            (`latent_trainer.model.adapter_targets`). Without ``trainable_token_indices`` it trains the thought tokens' rows
            of the embedding and of a head of its own.

    Raises:
        InputError: modules that the model does not have; prompt learning, which PEFT does in a forward of its own that knows
            no views.
    """
    try:
        wrapped = get_peft_model(model, fitted(model, peft_config))
    except ValueError as error:  # names the modules it has not found
        raise InputError(f"peft_config does not fit the model: {' '.join(str(error).split())}") from None
    for one in wrapped.peft_config.values():
        one.task_type = one.task_type or TaskType.CAUSAL_LM  # what AutoPeftModelForCausalLM looks for in a saved adapter
    return wrapped


def fitted(model: LatentForCausalLM, peft_config: PeftConfig) -> PeftConfig:
    """Return a copy of a configuration with what `add_adapters` says it takes where nobody has said.

    Args:
        model, peft_config: as for `add_adapters`.
    """
    refuse_prompt_learning(peft_config)
    config = copy(peft_config)
    if isinstance(config, LoraConfig):
        if config.target_modules is None:
            config.target_modules = default_targets(model)
        if any(
            isinstance(module, Conv1D) and _is_target(name, config.target_modules) for name, module in model.named_modules()
        ):
            config.fan_in_fan_out = True  # Conv1D keeps its weight transposed
        if config.trainable_token_indices is None:
            _train_token_rows(model, config)
    parts = ("feedback", "step_decoder", "stop_head", "objective")
    whole = [name for name in parts if _has_parameters(getattr(model, name))]
    if whole:
        config.modules_to_save = sorted({*(config.modules_to_save or ()), *whole})
    return config


def _train_token_rows(model: LatentForCausalLM, config: LoraConfig) -> None:
    """Have a configuration train the thought tokens' rows of the embedding, and of a head that has rows of its own.

    A row nobody trains stays the mean of all rows, and the probability of ``<|eot|>`` that of an average token, whatever is
    learnt. PEFT leaves out the bias of a head of which it trains rows, so such a head trains whole.
    """
    ids = sorted({model.config.latent_token_id, model.config.bot_token_id, model.config.eot_token_id})
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    tables = {_name_of(model, embedding): embedding}
    if head is not None and head.weight is not embedding.weight:
        tables[_name_of(model, head)] = head
    rows = {}
    for name, table in tables.items():
        if _is_named(name, config.modules_to_save) or _is_named(name, config.target_modules):
            continue  # trained already
        if isinstance(table, nn.Embedding) or (isinstance(table, nn.Linear) and table.bias is None):
            rows[name] = ids
        else:
            config.modules_to_save = [*(config.modules_to_save or ()), name]
    config.trainable_token_indices = rows or None


def refuse_prompt_learning(config: PeftConfig) -> None:
    """Raise an `InputError` where an adapter is a prompt: PEFT's forward for it knows no views."""
    if config.is_prompt_learning:
        raise InputError(
            f"{config.peft_type.value} puts learned columns before the prompt, for which a training step over views has no "
            "place; use LoRA, or another adapter on the layers"
        )


def take_over(model: nn.Module, args, step_group: int, objective: Objective) -> None:
    """Give a model the feedback, rollout, step decoder and objective its training arguments name.

    Args:
        model: a latent model, or one in a `PeftModel`.
        args: `LatentTrainingArguments`.
        step_group: latents a step decoder reads for a step.
        objective: becomes a part of the model where its terms are computed there.

    Raises:
        InputError: the model has adapters already, and what is new would train but not be saved with them.
    """
    latent = latent_model(model)
    feedback = latent.feedback
    latent.configure(args.feedback, args.feedback_options, args.rollout, args.backprop, args.rollout_options)
    projects = latent.feedback is not feedback and _has_parameters(latent.feedback)
    copies = args.step_decoder == "copy" and latent.config.step_decoder != "copy"
    named = (args.objective, args.objective_options or {})
    scores = objective.has_parameters and (latent.config.objective, latent.config.objective_options) != named
    if isinstance(model, PeftModel) and (projects or copies or scores):
        what = f"feedback={args.feedback}" if projects else "step_decoder=copy" if copies else f"objective={args.objective}"
        raise InputError(
            f"{what} adds weights that the model's adapters would not save; give LatentTrainer a peft_config instead"
        )
    latent.add_step_decoder(args.step_decoder, step_group)
    latent.add_objective(args.objective, args.objective_options, objective if objective.in_model else None)


def _is_target(name: str, targets: Iterable[str] | str) -> bool:
    """Whether a layer gets adapters."""
    return _is_all_linear(targets) or _is_named(name, targets)


def _is_all_linear(names: Iterable[str] | str | None) -> bool:
    """Whether PEFT takes every linear layer but the head."""
    return isinstance(names, str) and names.lower() == "all-linear"


def _name_of(model: LatentForCausalLM, wanted: nn.Module) -> str:
    return next(name for name, module in model.named_modules() if module is wanted)


def _is_named(name: str, names: Iterable[str] | str | None) -> bool:
    """Whether a module is one of ``names`` as PEFT reads them: ends of dotted names, or one regular expression."""
    if isinstance(names, str):
        return not _is_all_linear(names) and re.fullmatch(names, name) is not None
    return any(name == one or name.endswith(f".{one}") for one in names or ())


def _has_parameters(module: nn.Module | None) -> bool:
    return module is not None and next(module.parameters(), None) is not None


@contextmanager
def without_parts(model: nn.Module, names: Iterable[str]):
    """Take parts with weights of their own out of a model and its adapters for as long as the block runs.

    Args:
        model: a latent model, or one in a `PeftModel`.
        names: "step_decoder", "objective".
    """
    latent = latent_model(model)
    names = [name for name in names if _has_parameters(getattr(latent, name))]
    parts = {name: (getattr(latent, name), getattr(latent.config, name)) for name in names}
    configs = list(model.peft_config.values()) if isinstance(model, PeftModel) and names else []
    whole = [config.modules_to_save for config in configs]
    for name in names:
        setattr(latent, name, None)
        setattr(latent.config, name, None)
    for config in configs:
        config.modules_to_save = [name for name in config.modules_to_save or () if name not in names] or None
    try:
        yield
    finally:
        for name, (part, setting) in parts.items():
            setattr(latent, name, part)
            setattr(latent.config, name, setting)
        for config, saved in zip(configs, whole, strict=True):
            config.modules_to_save = saved


def latent_model(model: nn.Module) -> LatentForCausalLM:
    """Return the latent model inside a PEFT model, or the model itself."""
    return model.get_base_model() if isinstance(model, PeftModel) else model
