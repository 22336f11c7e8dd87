"""Settings and results as they may be published: readable JSON without folders of this machine and without tokens."""

import json
from dataclasses import fields
from pathlib import Path

from transformers import TrainingArguments

from latent_trainer.local_names import without_folders
from latent_trainer.registry import REGISTRIES, origins
from latent_trainer.whole_files import replacing

TRAINING_FILE = "training_arguments.json"
DATA_FILE = "data_arguments.json"

# What decides a result; everything else a run is told says where it runs and whom it reports to.
STOCK = (
    "seed",
    "data_seed",
    "num_train_epochs",
    "max_steps",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "world_size",
    "learning_rate",
    "lr_scheduler_type",
    "warmup_steps",
    "weight_decay",
    "max_grad_norm",
    "optim",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "bf16",
    "fp16",
    "gradient_checkpointing",
    "load_best_model_at_end",
)


def write_training_arguments(args: TrainingArguments, folder: str) -> None:
    """Write the arguments that decide a result beside the model, as JSON that anyone can read without running it."""
    stock = {one.name for one in fields(TrainingArguments)}
    own = [one.name for one in fields(args) if one.name not in stock]
    values = {**args.to_dict(), "world_size": args.world_size}
    chosen = {name: values[name] for name in (*own, *STOCK)}
    plugins = origins(**{kind: values.get(kind) for kind in REGISTRIES if isinstance(values.get(kind), str)})
    write_settings(chosen | ({"plugins": plugins} if plugins else {}), Path(folder) / TRAINING_FILE)


def write_settings(settings: dict, path: Path) -> None:
    """Write settings without the folders of this machine, in one piece."""
    with replacing(path) as partial:
        partial.write_text(to_json(settings), encoding="utf-8")


def to_json(settings: dict, near: Path | None = None) -> str:
    """Return settings without the folders of this machine as JSON text; ``near`` as in `without_folders`."""
    return json.dumps(without_folders(settings, near), indent=2, sort_keys=True) + "\n"
