"""Train a tiny model in every way that several processes could get wrong, and write down what happened.

Usage: train_and_evaluate.py FOLDER BATCH, with BATCH rows a process and step; the first process writes FOLDER/record.json.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from peft import LoraConfig
from training import make_trainer, uneven_problems

from latent_trainer.cli import main

# 21 rows in steps of 8: the last step of an epoch has 5 rows and 3 fillers, so that one of two processes gets a single row.
COMMON = {
    "number": 21,
    "per_device_eval_batch_size": 2,
    "eval_dataset": uneven_problems(7),
    "eval_strategy": "steps",
    "eval_steps": 2,
}
RUNS = {
    "epochs": {"epochs_per_stage": 1, "uniform_prob": 0.3, "num_train_epochs": 3, "save_strategy": "steps", "save_steps": 5},
    "accumulation": {"steps_per_stage": 2, "gradient_accumulation_steps": 2, "num_train_epochs": 2},
    "accuracy": {"advance_at": 0.0, "reset_optimizer": "stage", "max_steps": 6},
    "distillation": {"objective": "self_distillation", "feedback": "projection", "steps_per_stage": 2, "max_steps": 5},
    "adapters": {"feedback": "projection", "steps_per_stage": 2, "max_steps": 5, "peft_config": LoraConfig(r=4)},
}


def trained(name: str, folder: Path, batch: int, resume: str | None = None):
    """Return the trainer of one of ``RUNS`` after training."""
    changes = {**COMMON, **RUNS[name]}
    batch //= changes.get("gradient_accumulation_steps", 1)
    trainer = make_trainer(folder, per_device_train_batch_size=batch, **changes)
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def run(folder: Path, batch: int) -> None:
    """Train and evaluate all of ``RUNS``, resume one in the middle of an epoch, evaluate a saved model; write it down."""
    record = {}
    for name in RUNS:
        trainer = trained(name, folder / name, batch)
        record[name] = list(trainer.state.log_history)
        record[f"{name}, one problem"] = [trainer.evaluate(uneven_problems(1))]  # fewer than processes
        trainer.save_model()
    checkpoint = folder / "epochs" / "checkpoint-5"  # in the middle of the second epoch
    record["resumed"] = trained("epochs", folder / "resumed", batch, str(checkpoint)).state.log_history
    data = folder / f"problems-{trainer.args.process_index}.jsonl"
    data.write_text("\n".join(json.dumps(asdict(problem)) for problem in uneven_problems(7)))
    words = [
        "--model",
        folder / "epochs",
        "--dataset",
        "jsonl",
        "--dataset_path",
        data,
        "--output",
        folder / "evaluation.json",
    ]
    main("evaluate", [str(word) for word in [*words, "--max_new_tokens", 5, "--batch_size", 2]])
    if trainer.is_world_process_zero():
        (folder / "record.json").write_text(json.dumps({"processes": trainer.args.world_size, **record}))


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]))
