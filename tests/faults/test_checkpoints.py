"""Damaged checkpoints, changed data, broken numbers and full disks: what happens, in one process."""

import errno
import json
import logging
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from conftest import make_base
from training import history, make_trainer, uneven_problems
from transformers import TrainerCallback

from latent_trainer import LatentForCausalLM
from latent_trainer.errors import InputError, TrainingError
from latent_trainer.training.checkpoints import MANIFEST, UNFINISHED, checkpoints, fault, last_checkpoint, write_manifest
from latent_trainer.training.saving import locked

SAVING = {"max_steps": 6, "save_strategy": "steps", "save_steps": 2}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """Return the folder of a run with the checkpoints 2, 4 and 6."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    make_trainer(folder, **SAVING).train()
    return folder


@pytest.fixture
def run(finished, tmp_path) -> Path:
    """Return a copy of that run to damage."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_whole_run(finished):
    assert [folder.name for folder in checkpoints(finished)] == ["checkpoint-2", "checkpoint-4", "checkpoint-6"]
    assert all(fault(folder) is None for folder in checkpoints(finished))
    assert not (finished / UNFINISHED).exists()
    assert not list(finished.rglob("*.bin.partial"))


def truncate(path: Path) -> None:
    """Cut a file in half."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def garble(path: Path) -> None:
    """Change some bytes in the middle of a file."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 8] = b"\x00garble\xff"
    path.write_bytes(bytes(content))


DAMAGES = {
    "truncated weights": ("model.safetensors", truncate, "bytes instead of"),
    "garbage in the weights": ("model.safetensors", garble, "content of model.safetensors"),
    "empty weights": ("model.safetensors", lambda path: path.write_bytes(b""), "has 0 bytes"),
    "no weights": ("model.safetensors", Path.unlink, "is missing"),
    "truncated optimizer": ("optimizer.pt", truncate, "optimizer.pt has"),
    "garbage in the optimizer": ("optimizer.pt", garble, "content of optimizer.pt"),
    "no trainer state": ("trainer_state.json", Path.unlink, "trainer_state.json is missing"),
    "truncated trainer state": ("trainer_state.json", truncate, "trainer_state.json has"),
    "no manifest": (MANIFEST, Path.unlink, "written last"),
    "truncated manifest": (MANIFEST, truncate, "damaged"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_checkpoint(run, finished, name, caplog):
    """It is skipped with a warning, the one before it is resumed, and the run ends like one that nothing happened to."""
    file, damage, words = DAMAGES[name]
    damage(run / "checkpoint-6" / file)
    with caplog.at_level(logging.WARNING):
        assert last_checkpoint(run) == str(run / "checkpoint-4")
    assert "skipping checkpoint-6" in caplog.text and words in caplog.text
    with pytest.raises(InputError, match="checkpoint-6 is damaged"):
        make_trainer(run, **SAVING).train(resume_from_checkpoint=str(run / "checkpoint-6"))
    again = make_trainer(run, **SAVING)
    again.train(resume_from_checkpoint=True)
    whole = json.loads((finished / "checkpoint-6" / "trainer_state.json").read_text())["log_history"]
    assert history(again, "loss") == [(row["step"], row["stage"], row["loss"]) for row in whole if "loss" in row]


def test_half_written_folder(run):
    """What a kill leaves while a checkpoint is written is never resumed from, and goes when the next one is saved."""
    (run / UNFINISHED / "checkpoint-8").mkdir(parents=True)
    (run / UNFINISHED / "checkpoint-8" / "model.safetensors").write_bytes(b"half")
    assert last_checkpoint(run) == str(run / "checkpoint-6")
    make_trainer(run, **{**SAVING, "max_steps": 8}).train(resume_from_checkpoint=True)
    assert not (run / UNFINISHED).exists() and fault(run / "checkpoint-8") is None


def test_changed_data(run):
    for changed in (uneven_problems(21), list(reversed(uneven_problems(20)))):
        with pytest.raises(InputError, match=r"problems have changed since checkpoint-6.*data hash \w{16} then, \w{16} now"):
            make_trainer(run, train_dataset=changed, **SAVING).train(resume_from_checkpoint=True)
    assert [folder.name for folder in checkpoints(run)] == ["checkpoint-2", "checkpoint-4", "checkpoint-6"]


class Poison(TrainerCallback):
    """Make one weight, or one gradient, NaN after a step."""

    def __init__(self, step: int, what: str):
        self.step, self.what = step, what

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        """Spoil the gradient."""
        if self.what == "gradient" and state.global_step == self.step:
            next(model.parameters()).grad.fill_(float("nan"))

    def on_optimizer_step(self, args, state, control, model=None, **kwargs):
        """Spoil the weight."""
        if self.what == "weight" and state.global_step == self.step:
            next(model.parameters()).data.fill_(float("nan"))


@pytest.mark.parametrize("what", ["weight", "gradient"])
def test_nan(tmp_path, what):
    """The run stops at once with the step and the problems; the checkpoint before is whole and finite."""
    trainer = make_trainer(tmp_path / "run", callbacks=[Poison(4, what)], **{**SAVING, "max_steps": 8})
    with pytest.raises(
        TrainingError, match=r"loss is nan at step 6, problems \['\d+'.*last good checkpoint is .*checkpoint-4"
    ):
        trainer.train()
    assert [folder.name for folder in checkpoints(tmp_path / "run")] == ["checkpoint-2", "checkpoint-4"]
    model = LatentForCausalLM.from_pretrained(tmp_path / "run" / "checkpoint-4")
    assert all(torch.isfinite(value).all() for value in model.parameters())


def test_nan_is_not_saved(tmp_path):
    """A checkpoint of weights that are not finite is refused, so that the one before stays the last good one."""
    trainer = make_trainer(tmp_path / "run", callbacks=[Poison(3, "weight")], **SAVING)
    with pytest.raises(TrainingError, match=r"weight \S+ is not finite after step 4; the last good checkpoint is .*-2"):
        trainer.train()
    assert [folder.name for folder in checkpoints(tmp_path / "run")] == ["checkpoint-2"]


def test_writing_fails(tmp_path, monkeypatch):
    """The disk is full in the middle of the third checkpoint: one line, nothing half-written, and the run can go on."""
    trainer = make_trainer(tmp_path / "run", **SAVING)
    save = trainer._save_optimizer_and_scheduler

    def full(folder):
        if folder.endswith("-6"):
            raise OSError(errno.ENOSPC, "No space left on device", folder)
        save(folder)

    monkeypatch.setattr(trainer, "_save_optimizer_and_scheduler", full)
    with pytest.raises(TrainingError, match=r"checkpoint of step 6: .*No space left.*last good checkpoint is .*-4"):
        trainer.train()
    assert not (tmp_path / "run" / UNFINISHED).exists()
    again = make_trainer(tmp_path / "run", **SAVING)
    again.train(resume_from_checkpoint=True)
    assert fault(tmp_path / "run" / "checkpoint-6") is None


def test_two_runs_in_one_folder(tmp_path):
    with (
        locked(str(tmp_path), holds=True),
        pytest.raises(InputError, match="another run is training in output_dir"),
    ):
        make_trainer(tmp_path, **SAVING).train()
    make_trainer(tmp_path, **SAVING).train()  # the lock has gone with the run


class Evil:
    """What runs a command when it is unpickled."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('unpickled')",))


@pytest.mark.parametrize("file", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_malicious_pickle_in_a_checkpoint(run, file):
    """A pickle in place of a checkpoint's file is not run, whether the manifest knows it or not."""
    place = run / "checkpoint-6" / file
    assert place.is_file()
    place.write_bytes(pickle.dumps(Evil(), protocol=2))
    with pytest.raises(InputError, match="is damaged"):
        make_trainer(run, **SAVING).train(resume_from_checkpoint=str(run / "checkpoint-6"))
    trainer = make_trainer(run, **{**SAVING, "max_steps": 8})
    manifest = json.loads((run / "checkpoint-6" / MANIFEST).read_text())
    write_manifest(run / "checkpoint-6", manifest["data_hash"])
    with pytest.raises(pickle.UnpicklingError):
        trainer.train(resume_from_checkpoint=str(run / "checkpoint-6"))


def test_malicious_weights(run, tmp_path):
    """Weights are read from safetensors alone: a pickle named as weights is not touched."""
    folder = tmp_path / "model"
    folder.mkdir()
    shutil.copy(run / "checkpoint-6" / "config.json", folder)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Evil(), protocol=2))
    with pytest.raises(OSError, match="safetensors"):
        LatentForCausalLM.from_pretrained(folder)


def test_malicious_base(tmp_path):
    """So are those of a base model that is named."""
    base = make_base()
    base.config.save_pretrained(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(Evil(), protocol=2))
    with pytest.raises(OSError, match="safetensors"):
        LatentForCausalLM.from_base(str(tmp_path), latent_token_id=97, bot_token_id=98, eot_token_id=99)
