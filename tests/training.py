"""What the tests of training share: uneven problems, a tiny model that can write them, and the curves of a run."""

import gc
import inspect

import torch
from conftest import make_base
from transformers import Trainer

from latent_trainer import LatentForCausalLM, LatentTrainer, LatentTrainingArguments
from latent_trainer.errors import InputError
from latent_trainer.methods.presets import METHODS
from latent_trainer.testing.tiny import make_tokenizer, uneven_problems
from latent_trainer.training.stages import refuse_unreachable

gc.freeze()  # the stock trainer collects garbage before every run, and would look through every imported library each time

# Quiet, quick and without files unless a test says otherwise. Three stages, so that rows differ in latents and in labels.
QUICK = {
    "method": "coconut",
    "template": "plain",
    "latents_per_step": 1,
    "max_stage": 2,
    "learning_rate": 1e-2,
    "per_device_train_batch_size": 8,
    "per_device_eval_batch_size": 4,
    "max_new_tokens": 6,
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    "use_cpu": True,
}


def quick(**changes) -> dict:
    """Return ``QUICK`` with changes, without those of its settings that the chosen curriculum does not read."""
    settings = {**QUICK, **changes}
    curriculum = settings.get("curriculum") or METHODS[settings["method"]].defaults["curriculum"]
    unread = {
        "fixed": ("latents_per_step", "max_stage"),
        "internalize": ("latents_per_step",),
        "compressed": ("latents_per_step", "max_stage"),
    }.get(curriculum, ())
    return {name: value for name, value in settings.items() if name in changes or name not in unread}


def has_stages(method: str) -> bool:
    """Return whether a preset's curriculum has several stages."""
    return METHODS[method].defaults["curriculum"] in ("staged", "internalize")


def end_in_reach(trainer) -> None:
    """Have a run end in the last stage that it is long enough for; most tests need no more stages than that."""
    for last in range(trainer.stages.last_stage, trainer.args.first_stage - 1, -1):
        trainer.args.last_stage = trainer.stages.last_stage = last
        try:
            return refuse_unreachable(trainer.args, trainer.curriculum.num_stages, trainer.epoch_steps)
        except InputError:
            continue


def make_trainer(output_dir, kind=LatentTrainer, architecture="gpt2", dtype=torch.float32, number=20, base=None, **changes):
    """Return a trainer of a tiny model, always the same one; without ``last_stage`` it ends in the last it can reach.

    Args:
        output_dir: where it writes.
        kind: class of the trainer.
        architecture, dtype: of the base.
        number: training problems.
        base: a model to start from instead.
        changes: keyword arguments of the trainer, of which ``model_init`` is instead of a model, and training arguments that
            differ from ``QUICK``.
    """
    given = {*inspect.signature(Trainer.__init__).parameters, "peft_config"} & changes.keys()
    settings = {"train_dataset": uneven_problems(number)} | {key: changes.pop(key) for key in given}
    args = LatentTrainingArguments(str(output_dir), **quick(**changes))
    tokenizer = make_tokenizer()
    if "model_init" in settings:
        trainer = kind(args=args, processing_class=tokenizer, **settings)
        if "last_stage" not in changes:
            end_in_reach(trainer)
        return trainer
    start = base or make_base(architecture, vocab_size=len(tokenizer), dtype=dtype)
    model = LatentForCausalLM.from_base(start, tokenizer=tokenizer)
    trainer = kind(model, args, processing_class=tokenizer, **settings)
    if "last_stage" not in changes:
        end_in_reach(trainer)
    return trainer


def history(trainer, *names: str) -> list[tuple]:
    """Return step, stage and the named values of every logged training step."""
    rows = [entry for entry in trainer.state.log_history if "loss" in entry]
    return [(row["step"], row["stage"], *(row[name] for name in names)) for row in rows]


def batch_of(trainer, indices: list[int]) -> dict:
    """Return a batch of a trainer's rows as training would put it together now."""
    return trainer.batches.batch(indices, trainer.rows, trainer.stages.stage, trainer._epoch, trainer.state.global_step)
