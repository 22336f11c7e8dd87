"""What decides a run's result, kept in its checkpoints, so that a run that is resumed is the one that was begun."""

import hashlib
import inspect
import json
from pathlib import Path

import torch
from peft import PeftModel
from torch import nn
from torch.distributed.tensor import DTensor
from transformers import PreTrainedTokenizerBase
from transformers.utils import logging

from latent_trainer.data import as_problems
from latent_trainer.errors import InputError
from latent_trainer.evaluation.record import data_hash
from latent_trainer.methods.feedback import FEEDBACKS
from latent_trainer.methods.objectives import OBJECTIVES
from latent_trainer.model.adapters import latent_model
from latent_trainer.rollout import ROLLOUTS
from latent_trainer.sharding import is_partitioned

RECORD = "run_record.json"
NOTHING = "unset"

# Settings that decide a result and may not change; those of the optimizer are in its state, which a resumed run loads.
OWN = (
    "method",
    "objective",
    "step_decoder",
    "step_decoder_weight",
    "curriculum",
    "curriculum_options",
    "num_latents",
    "keep_steps",
    "latents_per_step",
    "max_stage",
    "pad_latent_to_max",
    "uniform_prob",
    "mixed_stages",
    "internalize_per_stage",
    "internalize_unit",
    "internalize_smoothing",
    "first_stage",
    "epochs_per_stage",
    "advance_at",
    "reset_optimizer",
)
STOCK = (
    "seed",
    "train_sampling_strategy",
    "optim",
    "optim_target_modules",
    "learning_rate",
    "weight_decay",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "lr_scheduler_type",
    "warmup_steps",
    "max_grad_norm",
    "label_smoothing_factor",
    "dataloader_drop_last",
    "tf32",
)
# Evaluations that decide: they end stages, lower the learning rate or choose the best model.
EVALUATIONS = ("eval_strategy", "eval_steps", "eval_delay")
WRITING = ("generate_in_eval", "max_new_tokens")
# How long a run goes on: may change, and is said.
LENGTH = ("num_train_epochs", "max_steps", "last_stage")
# Fields of a configuration that say where a model came from and how it is run.
PASSING = ("_name_or_path", "name_or_path", "transformers_version", "use_cache", "architectures", "dtype", "torch_dtype")
UNORDERED = ("target_modules", "exclude_modules", "modules_to_save", "layers_to_transform")  # of adapters
PASSING_PEFT = ("base_model_name_or_path", "inference_mode", "revision", "peft_version", "auto_mapping")

logger = logging.get_logger(__name__)


def make_record(trainer) -> dict:
    """Return what decides the result of a trainer's run, name -> value, as JSON has it.

    Args:
        trainer: a `LatentTrainer` before its first step.
    """
    args = trainer.args
    model = trainer.accelerator.unwrap_model(trainer.model)
    latent = latent_model(model)
    config = latent.config
    stock = args.to_dict()
    values = {name: getattr(args, name) for name in OWN} | {name: stock.get(name) for name in (*STOCK, *LENGTH)}
    values |= {name: stock.get(name) or None for name in ("optim_args", "lr_scheduler_kwargs", "neftune_noise_alpha")}
    values["backprop"] = {0: "none", 1: "last"}.get(args.backprop, args.backprop)
    values["steps_per_stage"] = _without_repeats(args.steps_per_stage)
    values["step_decoder_group"] = None if args.step_decoder is None else trainer.step_group
    values["data_seed"] = args.seed if args.data_seed is None else args.data_seed
    values["rows of a step (per_device_train_batch_size x gradient_accumulation_steps x processes)"] = (
        args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    )
    if args.dataloader_drop_last or args.train_sampling_strategy == "group_by_length":  # the order is one of batches
        values["rows of a batch (per_device_train_batch_size x processes)"] = args.train_batch_size * args.world_size
    values |= _evaluations(trainer)
    values["precision"] = trainer.accelerator.mixed_precision
    values["dtype"] = str(latent.dtype)
    values |= {"feedback": config.feedback, "rollout": config.rollout}
    for name, call, options in (
        ("objective_options", OBJECTIVES[args.objective].Options, args.objective_options),
        ("feedback_options", FEEDBACKS[config.feedback], config.feedback_options),
        ("rollout_options", ROLLOUTS[config.rollout].Options, config.rollout_options),
    ):
        values |= _under(name, {**_defaults(call), **(options or {})})
    values |= _under("template", args.make_template().to_dict())
    values["base_config.model_type"] = config.base_config.model_type  # before its fields, so that it is what is named
    values |= _under("base_config", config.base_config.to_dict(), PASSING)
    values["adapters"] = sorted(model.peft_config) if isinstance(model, PeftModel) else NOTHING
    for name, own in model.peft_config.items() if isinstance(model, PeftModel) else ():
        values |= _under("peft_config" if name == "default" else f"peft_config.{name}", _sorted(own.to_dict()), PASSING_PEFT)
    values["tokenizer"] = _tokenizer(trainer.processing_class)
    values["weights that do not train"] = _frozen(model)
    return json.loads(json.dumps(values, default=_plain))


def _evaluations(trainer) -> dict:
    """Return what decides the result of evaluations, where they decide something themselves."""
    args, values = trainer.args, {}
    if args.metric_for_best_model is not None:
        values["metric_for_best_model"] = f"eval_{args.metric_for_best_model.removeprefix('eval_')}"
        values["greater_is_better"] = args.greater_is_better
    if args.eval_strategy == "no" or trainer.eval_dataset is None or (args.advance_at is None and not values):
        return values
    by_loss = args.advance_at is None and values["metric_for_best_model"] == "eval_loss"
    values |= {name: getattr(args, name) for name in (*EVALUATIONS, *(() if by_loss else WRITING))}
    several = trainer.eval_dataset if isinstance(trainer.eval_dataset, dict) else {"": trainer.eval_dataset}
    for name, problems in several.items():
        values[f"eval_dataset {name}".strip()] = f"problems with hash {data_hash(as_problems(problems))[:16]}"
    return values


def _without_repeats(lengths: list[int] | None) -> list[int] | None:
    """Return the lengths of stages without what says the same: the last one holds for all that follow."""
    if not lengths:
        return None
    return [length for at, length in enumerate(lengths) if at == 0 or set(lengths[at - 1 :]) != {length}]


def _sorted(settings: dict) -> dict:
    """Return the settings of an adapter with names in order, where their order means nothing."""
    return {
        name: sorted(value, key=str) if name in UNORDERED and isinstance(value, list | tuple | set) else value
        for name, value in settings.items()
    }


def write_record(folder: Path, record: dict) -> None:
    """Put the record of a run into one of its checkpoints."""
    (folder / RECORD).write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def check_record(folder: str, record: dict) -> None:
    """Compare the run that wrote a checkpoint with the one that resumes it.

    What only one of the two knows is not compared: another version of a library may name more.

    Args:
        folder: a whole checkpoint; one of an older version has no record, which is said in a warning.
        record: of the run that resumes it.

    Raises:
        InputError: a setting that decides the result has changed; one line with its values then and now.
    """
    place = Path(folder) / RECORD
    if not place.is_file():
        logger.warning(f"{place.parent.name} has no {RECORD}: its settings cannot be compared with those of this run")
        return
    before = json.loads(place.read_text(encoding="utf-8"))
    changed = {name: (before[name], now) for name, now in record.items() if name in before and before[name] != now}
    said = {name: changed.pop(name) for name in LENGTH if name in changed}
    if changed:
        name, (then, now) = next(iter(changed.items()))
        more = f" (and {', '.join([*changed][1:4])}{' ...' if len(changed) > 4 else ''})" if len(changed) > 1 else ""
        raise InputError(
            f"{name} {_has(name)} changed since {place.parent.name} was saved: {_shown(then)} then, {_shown(now)} now"
            f"{more}; resume with the settings of that run, or start a new one in another output_dir (a checkpoint can be "
            "its model)"
        )
    if said:
        words = ", ".join(f"{name} {_shown(then)} then, {_shown(now)} now" for name, (then, now) in said.items())
        logger.warning(f"resumed with another length: {words}; schedules follow the new one")


def _has(name: str) -> str:
    return "have" if name.startswith("weights ") or name.startswith("rows ") else "has"


def _shown(value) -> str:
    text = NOTHING if value is None else f"{value}"
    text = text if text.isprintable() and text == text.strip() and text else repr(text)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _plain(value):
    """Return what JSON has no form for as something it has."""
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    return getattr(value, "value", None) or str(value)


def _defaults(call) -> dict:
    """Return the options of a plug-in with the values they have where nobody sets them."""
    parameters = inspect.signature(call).parameters.items()
    return {name: one.default for name, one in parameters if one.default is not inspect.Parameter.empty}


def _under(prefix: str, values: dict, left_out: tuple[str, ...] = ()) -> dict:
    """Return a mapping's entries under dotted names."""
    return {f"{prefix}.{name}": value for name, value in values.items() if name not in left_out}


def _tokenizer(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return what changes when a tokenizer reads a text in another way: its size and a hash of its rules."""
    rules = {"vocabulary": tokenizer.get_vocab()}
    if tokenizer.is_fast:
        backend = json.loads(tokenizer.backend_tokenizer.to_str())
        rules = {name: value for name, value in backend.items() if name not in ("padding", "truncation")}
    text = json.dumps(rules, sort_keys=True)
    return f"{len(tokenizer)} tokens, {hashlib.sha256(text.encode()).hexdigest()[:12]}"


@torch.no_grad()
def _frozen(model: nn.Module) -> str | None:
    """Return a hash over samples of the weights that no checkpoint of adapters holds; None where ranks share them out."""
    names = hashlib.sha256()
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            continue
        if isinstance(weight, DTensor) or is_partitioned(weight):
            return None
        flat = weight.detach().flatten()
        sample = flat[:: max(len(flat) // 64, 1)][:64].float().cpu().numpy()
        names.update(name.encode() + sample.tobytes())
    return names.hexdigest()[:12]
