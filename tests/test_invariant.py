"""Runs that must be the same run: batch against accumulation, with loader workers, killed and resumed."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
import yaml
from conftest import make_base
from forked_python import forked_python
from peft import LoraConfig
from safetensors.torch import load_file
from training import batch_of, history, make_tokenizer, make_trainer, uneven_problems

from latent_trainer import LatentTrainer
from latent_trainer.cli import main
from latent_trainer.methods.curriculum import StagedCurriculum
from latent_trainer.methods.feedback import FEEDBACKS
from latent_trainer.methods.objectives import OBJECTIVES, build_objective
from latent_trainer.training.checkpoints import last_checkpoint

ROOT = Path(__file__).resolve().parents[1]


class Recorder(LatentTrainer):
    """Keep the loss of every step in the model's own precision (the stock trainer adds up in float32) and its prompts."""

    def compute_loss(self, model, inputs, *args, **kwargs):
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        steps = self.__dict__.setdefault("losses", {})
        steps[self.state.global_step] = steps.get(self.state.global_step, 0.0) + loss.item()
        self.__dict__.setdefault("prompts", []).extend(inputs["input_ids"].tolist())
        self.__dict__.setdefault("labels", []).extend((inputs["views"]["latent"]["labels"] != -100).sum(1).tolist())
        return loss


def weights(trainer) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in trainer.model.state_dict().items()}


def assert_same_weights(first: dict, second: dict) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


# ---- batch and accumulation ----

SLOTS = {"latent_tokens": {"latents_per_step": 1}}  # a staged curriculum fills them in
STAGED = [
    name
    for name in OBJECTIVES
    if build_objective(name, SLOTS.get(name)).fault(FEEDBACKS["hidden"], StagedCurriculum()) is None
]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize(
    "changes",
    [
        *({"objective": objective, "uniform_prob": 0.4} for objective in STAGED),
        {"method": "icot", "internalize_smoothing": 1.0},
    ],
    ids=[*STAGED, "icot"],
)
def test_batch_and_accumulation(tmp_path, dtype, tolerance, changes):
    """20 rows make steps of 8, 8 and 4: the last batch of an epoch is not full, and 2 x 4 ends on half an accumulation."""
    runs = {}
    for batch, accumulation in ((8, 1), (2, 4), (1, 8)):
        sizes = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation, "num_train_epochs": 2}
        trainer = make_trainer(tmp_path / str(batch), Recorder, dtype=dtype, steps_per_stage=2, **sizes, **changes)
        trainer.train()
        norms = [norm for _, _, norm in history(trainer, "grad_norm")]
        runs[batch] = [(step, stage) for step, stage in history(trainer)], list(trainer.losses.values()), norms
        logged = [loss for _, _, loss in history(trainer, "loss")]
        assert logged == pytest.approx(list(trainer.losses.values()), rel=1e-6)
    stages, losses, norms = runs[8]
    assert stages == [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2), (6, 2)]
    for batch in (2, 1):
        assert runs[batch][0] == stages
        assert runs[batch][1] == pytest.approx(losses, rel=tolerance)
        assert runs[batch][2] == pytest.approx(norms, rel=tolerance)


def test_rows_are_uneven(tmp_path):
    """What the other tests rely on: in one stage, rows differ in latents and in labelled tokens."""
    for stage, latents in ((3, {1, 2}), (1, {1})):
        trainer = make_trainer(tmp_path, first_stage=stage)
        view = batch_of(trainer, list(range(20)))["views"]["latent"]
        assert set((view["input_ids"] == trainer.batches.encoder.latent).sum(1).tolist()) == latents
        assert len(set((view["attention_mask"]).sum(1).tolist())) > 1
    assert len(set((view["labels"] != -100).sum(1).tolist())) > 3


def test_a_batch_that_is_not_full_weighs_its_rows_alone(tmp_path):
    """The loss of the last step equals that of its four rows in a batch of four: fillers have no part in it."""
    changes = {"train_sampling_strategy": "sequential", "learning_rate": 0.0, "num_train_epochs": 1}
    full = make_trainer(tmp_path / "8", Recorder, dtype=torch.float64, **changes)
    full.train()
    exact = make_trainer(tmp_path / "4", Recorder, dtype=torch.float64, per_device_train_batch_size=4, **changes)
    exact.train()
    assert full.losses[2] == pytest.approx(exact.losses[4], rel=1e-12)
    assert [len(full.labels), len(exact.labels)] == [24, 20]
    assert full.labels[20:] == [0, 0, 0, 0]
    assert full.labels[:20] == exact.labels


@pytest.mark.parametrize("strategy", ["random", "group_by_length"])
def test_every_epoch_has_every_row_in_a_new_order(tmp_path, strategy):
    changes = {"train_sampling_strategy": strategy, "num_train_epochs": 3}
    trainer = make_trainer(tmp_path, Recorder, per_device_train_batch_size=4, **changes)
    trainer.train()
    tokens = [[token for token in prompt if token != trainer.batches.encoder.pad] for prompt in trainer.prompts]
    epochs = [tokens[start : start + 20] for start in (0, 20, 40)]
    everything = sorted(row.prompt for row in trainer.rows)
    assert [sorted(epoch) for epoch in epochs] == [everything] * 3
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


# ---- loader workers ----


@pytest.mark.parametrize("persistent", [False, True])
def test_loader_workers(tmp_path, persistent):
    """Batches are put together in the training process: workers, also ones that outlive an epoch, change nothing."""
    changes = {"epochs_per_stage": 1, "num_train_epochs": 4, "uniform_prob": 0.2}
    alone = make_trainer(tmp_path / "0", **changes)
    alone.train()
    helped = make_trainer(tmp_path / "2", dataloader_num_workers=2, dataloader_persistent_workers=persistent, **changes)
    helped.train()
    if persistent:
        helped.callback_handler.train_dataloader._iterator._shutdown_workers()  # takes ten seconds if left to happen later
    assert {stage for _, stage in history(alone)} == {0, 1, 2, 3}
    assert history(helped, "loss", "grad_norm") == history(alone, "loss", "grad_norm")
    assert_same_weights(weights(helped), weights(alone))


# ---- killed and resumed ----

ADVANCES = {
    "epochs": {"epochs_per_stage": 1},
    "steps": {"steps_per_stage": [1, 2, 3]},
    "accuracy": {"advance_at": 0.0, "eval_strategy": "steps", "eval_steps": 2, "eval_dataset": uneven_problems(4)},
}


def kept(trainer) -> list[dict]:
    """Return every logged training step and evaluation without its times."""
    entries = [entry for entry in trainer.state.log_history if "train_runtime" not in entry]
    return [{name: value for name, value in entry.items() if "seconds" not in name} for entry in entries]


def resumed_at(step: int, finished: Path, folder: Path, **changes):
    """Return a trainer that was killed right after the checkpoint of ``step`` and has been resumed to the end."""
    shutil.copytree(finished / f"checkpoint-{step}", folder / f"checkpoint-{step}")
    trainer = make_trainer(folder, **{**changes, "save_strategy": "no"})
    trainer.train(resume_from_checkpoint=True)
    return trainer


@pytest.mark.parametrize("reset", ["never", "stage", "epoch"])
@pytest.mark.parametrize("advance", ADVANCES)
def test_resume(tmp_path, advance, reset):
    """Three steps an epoch, the last one half an accumulation: step 3 ends an epoch, step 4 lies in the middle of one."""
    changes = {
        **ADVANCES[advance],
        "reset_optimizer": reset,
        "uniform_prob": 0.3,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "num_train_epochs": 3,
        "save_strategy": "steps",
        "save_steps": 1,
    }
    whole = make_trainer(tmp_path / "whole", **changes)
    whole.train()
    assert [stage for _, stage in history(whole)] == {
        "epochs": [0, 0, 0, 1, 1, 1, 2, 2, 2],
        "steps": [0, 1, 1, 2, 2, 2, 3, 3, 3],
        "accuracy": [0, 0, 1, 1, 2, 2, 3, 3, 3],
    }[advance]
    for step in (3, 4):
        again = resumed_at(step, tmp_path / "whole", tmp_path / str(step), **changes)
        assert kept(again) == kept(whole)
        assert_same_weights(weights(again), weights(whole))
        assert again.model.config.num_latents == whole.model.config.num_latents


def test_resetting_the_optimizer_changes_the_run(tmp_path):
    """The three settings of `test_resume` are three different runs, from the step on at which each first forgets."""
    curves = {}
    for reset in ("never", "stage", "epoch"):
        trainer = make_trainer(tmp_path / reset, reset_optimizer=reset, steps_per_stage=2, num_train_epochs=2)
        trainer.train()
        curves[reset] = [loss for _, _, loss in history(trainer, "loss")]
    assert curves["stage"][:3] == curves["never"][:3]  # the update of step 3 is the first without moments
    assert curves["stage"][3] != curves["never"][3]
    assert curves["epoch"][:4] == curves["never"][:4]
    assert curves["epoch"][4] != curves["never"][4]


def test_resume_of_adapters(tmp_path):
    """LoRA with dropout, trained token rows and a projection: the random state resumes too."""
    changes = {
        "feedback": "projection",
        "steps_per_stage": 2,
        "num_train_epochs": 3,
        "save_strategy": "steps",
        "save_steps": 1,
        "peft_config": LoraConfig(r=4, lora_dropout=0.2),
    }
    whole = make_trainer(tmp_path / "whole", **changes)
    whole.train()
    for step in (3, 5):
        again = resumed_at(step, tmp_path / "whole", tmp_path / str(step), **changes)
        assert kept(again) == kept(whole)
        assert_same_weights(weights(again), weights(whole))


def test_resume_with_restored_callbacks(tmp_path):
    """The stock option that builds saved callbacks anew leaves the stage, which belongs to the trainer, in place."""
    changes = {"epochs_per_stage": 1, "num_train_epochs": 3, "save_strategy": "epoch"}
    changes["restore_callback_states_from_checkpoint"] = True
    whole = make_trainer(tmp_path / "whole", **changes)
    whole.train()
    again = resumed_at(3, tmp_path / "whole", tmp_path / "3", **changes)
    assert kept(again) == kept(whole)
    assert_same_weights(weights(again), weights(whole))


def test_resume_passes_over_a_checkpoint_cut_short(tmp_path):
    """A run killed while it saves leaves a checkpoint without its last file; the one before it is resumed."""
    changes = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    whole = make_trainer(tmp_path / "whole", **changes)
    whole.train()
    cut = tmp_path / "cut"
    shutil.copytree(tmp_path / "whole", cut)
    assert last_checkpoint(str(cut)) == str(cut / "checkpoint-4")
    (cut / "checkpoint-4" / "trainer_state.json").unlink()
    assert last_checkpoint(str(cut)) == str(cut / "checkpoint-2")
    again = make_trainer(cut, **changes)
    again.train(resume_from_checkpoint=True)
    assert kept(again) == kept(whole)
    shutil.rmtree(cut / "checkpoint-2")
    (cut / "checkpoint-4" / "trainer_state.json").unlink()
    assert last_checkpoint(str(cut)) is None
    again = make_trainer(cut, **changes)
    again.train(resume_from_checkpoint=True)  # nothing whole has been saved: from the start
    assert kept(again) == kept(whole)


def test_terms_are_averaged_over_the_resumed_steps_alone(tmp_path):
    changes = {
        "objective": "self_distillation",
        "max_steps": 4,
        "save_strategy": "steps",
        "save_steps": 2,
        "logging_steps": 1,
    }
    whole = make_trainer(tmp_path / "whole", **changes)
    whole.train()
    again = resumed_at(2, tmp_path / "whole", tmp_path / "2", **changes)
    terms = ("loss_student", "loss_teacher", "loss_distill")
    assert history(again, *terms) == history(whole, *terms)


def test_killed_process(tmp_path):
    """A real process is killed with signal 9 some time after its first checkpoint, and resumed from the command line."""
    make_base(vocab_size=len(make_tokenizer()), dtype=torch.float32).save_pretrained(tmp_path / "base")
    make_tokenizer().save_pretrained(tmp_path / "base")
    recipe = {
        "model_name_or_path": str(tmp_path / "base"),
        "dataset": "arithmetic",
        "dataset_options": {"size": 60, "operations": 3},
        "template": "plain",
        "per_device_train_batch_size": 8,
        "max_steps": 40,
        "steps_per_stage": 9,
        "reset_optimizer": "stage",
        "uniform_prob": 0.2,
        "save_steps": 5,
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    words = ["--config", str(tmp_path / "recipe.yaml"), "--output_dir"]
    process = subprocess.Popen(
        [forked_python(), str(ROOT / "recipes" / "train.py"), *words, str(tmp_path / "killed")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    state = tmp_path / "killed" / "checkpoint-5" / "trainer_state.json"
    deadline = time.monotonic() + 120
    while not state.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert state.exists()
    assert not (tmp_path / "killed" / "model.safetensors").exists()

    main("train", [*words, str(tmp_path / "killed"), "--resume_from_checkpoint", "true"])
    main("train", [*words, str(tmp_path / "whole")])
    assert_same_weights(*(load_file(tmp_path / name / "model.safetensors") for name in ("killed", "whole")))
    states = [json.loads((tmp_path / name / "trainer_state.json").read_text()) for name in ("killed", "whole")]
    losses = [[entry for entry in state["log_history"] if "loss" in entry] for state in states]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 40
