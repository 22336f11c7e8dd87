"""Train a tiny model in every way that several processes could get wrong, and write down what happened.

Usage: train_and_evaluate.py BASE FOLDER, with a saved base model to start from; the first process writes
FOLDER/record.json. The strategy (one process, DDP, ZeRO-1, ...) is whatever the launcher says.
"""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from accelerate.state import PartialState
from accelerate.utils import DistributedType, gather_object
from peft import LoraConfig
from reader_objective import ReaderObjective
from training import make_trainer, uneven_problems
from transformers import AutoModelForCausalLM

from latent_trainer import encode_prompts
from latent_trainer.cli import main
from latent_trainer.errors import InputError
from latent_trainer.plugins import register_objective
from latent_trainer.rollout import ranks

DEEPSPEED = os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true"
FSDP = os.environ.get("ACCELERATE_USE_FSDP") == "true"

# 21 rows in steps of 8: the last step of an epoch has 5 rows and 3 fillers, so that one of two processes gets a single row.
COMMON = {
    "number": 21,
    "per_device_eval_batch_size": 2,
    "eval_dataset": uneven_problems(7),
    "eval_strategy": "steps",
    "eval_steps": 3,
}
# Two rows a step, one for each of two processes: the stage of each row is drawn, so that one thinks longer than the other.
# They start with latents, because Adam in one flat tensor (DeepSpeed) ages where a parameter had no gradient yet.
UNEVEN = {"rows": 2, "uniform_prob": 0.7, "first_stage": 1, "steps_per_stage": 3, "max_steps": 5, "eval_steps": 4}
DISTILLED = {"objective": "self_distillation", "first_stage": 1}
SAVED = {"eval_steps": 2, "save_strategy": "steps", "save_steps": 2, "load_best_model_at_end": True}
RUNS = {
    "epochs": {"epochs_per_stage": 1, "uniform_prob": 0.3, "num_train_epochs": 2, "save_strategy": "steps", "save_steps": 5},
    "accumulation": {"steps_per_stage": 2, "gradient_accumulation_steps": 2, "num_train_epochs": 2, **SAVED},
    "accuracy": {"advance_at": 0.0, "max_steps": 6},
    "reset": {"steps_per_stage": 2, "reset_optimizer": "stage", "max_steps": 5, "eval_steps": 4},
    "distillation": {**DISTILLED, "feedback": "projection", "steps_per_stage": 2, "max_steps": 5},
    "uneven distillation": {**UNEVEN, **DISTILLED},
    "truncated": {**UNEVEN, "backprop": 1, "feedback_options": {"norm": "embedding"}},
    "jacobi": {**UNEVEN, **DISTILLED, "rollout": "jacobi", "rollout_options": {"iterations": 2}, "feedback": "soft"},
    "lotus": {**UNEVEN, "method": "lotus", "latents_per_step": 2},
    "keys and values": {
        **UNEVEN,
        **DISTILLED,
        "objective": "kv_distillation",
        "rollout": "jacobi",
        "rollout_options": {"iterations": 2},
    },
    "compression": {"method": "colar", "max_steps": 4},
    "steps": {**UNEVEN, "step_decoder": "copy"},
    "objective with weights": {**UNEVEN, "objective": "reader"},
    "adapters": {**UNEVEN, "feedback": "projection", "peft_config": LoraConfig(r=4, trainable_token_indices={})},
    "adapters and rows": {**UNEVEN, "feedback": "projection", "peft_config": LoraConfig(r=4)},
    # the last one: under ZeRO-3 a model that is loaded before its arguments are made takes the number type of the run before
    "bf16": {"bf16": True, "first_stage": 1, "max_steps": 3},
}


def processes() -> int:
    """Return how many processes were launched."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def allow_cpu() -> None:
    """Let the strategies run on the CPU.

    deepspeed 0.19 would compile a communication library for a minute; accelerate 1.15 takes FSDP for several GPUs only.
    """
    if DEEPSPEED:
        import deepspeed

        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    if FSDP:
        start = PartialState.__init__

        def init(self, *args, **kwargs):
            start(self, *args, **kwargs)
            if self.distributed_type == DistributedType.MULTI_CPU:
                self.distributed_type = DistributedType.MULTI_GPU

        PartialState.__init__ = init


def trained(name: str, base: Path, folder: Path, resume: str | None = None):
    """Return the trainer of one of ``RUNS`` after training."""
    changes = {**COMMON, **RUNS[name]}
    rows = changes.pop("rows", 8) // changes.get("gradient_accumulation_steps", 1)
    model = AutoModelForCausalLM.from_pretrained(base)  # a new one would draw other weights under ZeRO-3
    trainer = make_trainer(folder, base=model, per_device_train_batch_size=rows // processes(), **changes)
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def written(trainer) -> list[list[int]]:
    """Return what is written after two prompts that two processes share out: no latents and two tokens, two and five."""
    model = trainer.accelerator.unwrap_model(trainer.model).eval()
    tokens = []
    for index in range(trainer.args.process_index, 2, processes()):
        question = uneven_problems(2)[index].question
        batch = encode_prompts([question], trainer.processing_class, 2 * index, trainer.batches.encoder.template)
        new = model.generate(**batch, max_new_tokens=2 + 3 * index, do_sample=False)[:, batch["input_ids"].shape[1] :]
        tokens += new.tolist()
    return gather_object(tokens)


def evaluate_saved(model: Path, folder: Path) -> None:
    """Evaluate a saved model with the command, which writes FOLDER/evaluation.json."""
    data = folder / f"problems-{os.environ.get('RANK', 0)}.jsonl"
    data.write_text("\n".join(json.dumps(asdict(problem)) for problem in uneven_problems(7)))
    words = ["--model", model, "--dataset", "jsonl", "--dataset_test_path", data, "--output", folder / "evaluation.json"]
    main("evaluate", [str(word) for word in [*words, "--max_new_tokens", 5, "--batch_size", 2]])


def run(base: Path, folder: Path) -> None:
    """Train and evaluate all of ``RUNS``, resume one in the middle of an epoch, evaluate a saved model; write it down."""
    allow_cpu()
    register_objective("reader", ReaderObjective)
    counted = []
    count = ranks.count_passes
    ranks.count_passes = lambda *args: counted.append(count(*args)) or counted[-1]
    record = {"processes": processes(), "passes": {}, "refused": {}, "written": {}}
    for name in RUNS:
        counted.clear()
        try:
            trainer = trained(name, base, folder / name)
        except InputError as error:
            record["refused"][name] = str(error)
            continue
        record[name] = list(trainer.state.log_history)
        record["passes"][name] = gather_object([list(counted)])  # of every forward call, for every process
        record[f"{name}, one problem"] = [trainer.evaluate(uneven_problems(1))]  # fewer than processes
        record["written"][name] = written(trainer)
        trainer.save_model()
        if name == "epochs":
            checkpoint = folder / name / "checkpoint-5"  # in the middle of the second epoch
            record["resumed"] = trained(name, base, folder / "resumed", str(checkpoint)).state.log_history
    record["strategy"] = trainer.accelerator.distributed_type.value
    if not DEEPSPEED:  # which would share out the model that the command loads into this process, too
        evaluate_saved(folder / "epochs", folder)
    if trainer.is_world_process_zero():
        (folder / "record.json").write_text(json.dumps(record))


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]))
