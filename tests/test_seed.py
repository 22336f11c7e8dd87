"""One seed, one result, whatever drew random numbers before."""

import inspect
import json
import os
import subprocess
from pathlib import Path

import numpy
import pytest
import torch
from conftest import make_base
from forked_python import forked_python
from peft import LoraConfig
from training import history, make_tokenizer, quick, uneven_problems
from transformers import AutoModelForCausalLM

from latent_trainer import LatentForCausalLM, LatentTrainer, LatentTrainingArguments
from latent_trainer.cli import main

ROOT = Path(__file__).resolve().parents[1]
ADDED = {
    "new rows": {},
    "projection": {"feedback": "projection", "feedback_options": {"dropout": 0.1}},
    "step decoder": {"step_decoder": "copy"},
    "adapters": {"feedback": "projection", "peft_config": LoraConfig(r=2, lora_dropout=0.1)},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> str:
    """Return the folder of a base model with dropout."""
    folder = tmp_path_factory.mktemp("base")
    make_base(vocab_size=len(make_tokenizer()), dtype=torch.float32, resid_pdrop=0.1).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return str(folder)


def curve(folder, model, peft_config=None, **changes) -> list[float]:
    """Return the losses of a run, before which and within which others draw random numbers."""
    torch.rand(7), numpy.random.rand(3)
    args = LatentTrainingArguments(str(folder), **quick(steps_per_stage=1, max_steps=4, **changes))
    tokenizer = make_tokenizer()
    if model is None:
        model = LatentForCausalLM.from_base(make_base(vocab_size=len(tokenizer)).float(), tokenizer=tokenizer)
        torch.rand(5)
    settings = {"train_dataset": uneven_problems(20), "processing_class": tokenizer, "peft_config": peft_config}
    if inspect.isfunction(model):
        settings["model_init"], model = model, None
    trainer = LatentTrainer(model, args, **settings)
    torch.rand(3)
    trainer.train()
    return [loss for _, _, loss in history(trainer, "loss")]


@pytest.mark.parametrize("kind", ["name", "object"])
@pytest.mark.parametrize("added", ADDED)
def test_same_seed_same_losses(tmp_path, base, added, kind):
    """Bit for bit, with a model the trainer builds itself and one it is given; another seed is another run."""
    model = base if kind == "name" else None
    first = curve(tmp_path / "1", model, **ADDED[added])
    assert curve(tmp_path / "2", model, **ADDED[added]) == first
    if kind == "name":
        assert curve(tmp_path / "3", model, seed=1, **ADDED[added]) != first


@pytest.mark.parametrize("added", ADDED)
def test_a_model_that_is_made_for_the_run(tmp_path, base, added):
    """It is the run of the model by its name: dropout draws the same, whatever is added to the model."""
    made = curve(tmp_path / "1", lambda: AutoModelForCausalLM.from_pretrained(base), **ADDED[added])
    assert made == curve(tmp_path / "2", base, **ADDED[added])


def test_two_processes(tmp_path, base):
    """``latent-trainer train`` on a base with rows, a projection, adapters and a step decoder of its own."""
    words = [
        "--model_name_or_path",
        base,
        "--dataset",
        "arithmetic",
        "--dataset_options",
        '{"size": 16}',
        "--use_peft",
        "true",
    ]
    words += ["--lora_r", "2", "--feedback", "projection", "--step_decoder", "copy", "--template", "plain"]
    words += [
        "--steps_per_stage",
        "1",
        "--max_stage",
        "1",
        "--max_steps",
        "3",
        "--logging_steps",
        "1",
        "--report_to",
        "none",
    ]
    words += ["--disable_tqdm", "true", "--use_cpu", "true"]
    command = [forked_python(), str(ROOT / "recipes" / "train.py"), *words, "--output_dir", str(tmp_path / "another")]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    torch.rand(5)
    main("train", [*words, "--output_dir", str(tmp_path / "this")])
    losses = []
    for name in ("another", "this"):
        log = json.loads((tmp_path / name / "trainer_state.json").read_text())["log_history"]
        losses.append([entry["loss"] for entry in log if "loss" in entry])
    assert losses[0] == losses[1] and len(losses[0]) == 3
