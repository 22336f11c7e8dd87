"""A checkpoint's manifest protects itself, checkpoints rotate by their steps, and a folder that was swapped is noticed."""

import json
import os
import time
from pathlib import Path

import pytest
from training import make_trainer
from transformers import TrainerCallback

from latent_trainer.errors import TrainingError
from latent_trainer.training.checkpoints import (
    MANIFEST,
    check_data,
    fault,
    last_checkpoint,
    read_manifest,
    rotate,
    write_manifest,
)

SAVING = {"max_steps": 6, "save_strategy": "steps", "save_steps": 2}
HASH = "0f" * 32


def small_run(folder: Path) -> Path:
    """Write two small whole checkpoints; return the folder of the newer."""
    for step in (4, 8):
        place = folder / f"checkpoint-{step}"
        (place / "sub").mkdir(parents=True)
        (place / "model.safetensors").write_bytes(b"weights" * step)
        (place / "sub" / "trainer_state.json").write_text("{}")
        write_manifest(place, HASH)
    return place


def test_every_flipped_bit(tmp_path):
    """The checkpoint before is taken, or the flip changes nothing; no error, and nothing else that is resumed."""
    newer = small_run(tmp_path)
    manifest, said = newer / MANIFEST, read_manifest(newer)
    content = manifest.read_bytes()
    harmless = 0
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        manifest.write_bytes(flipped)
        found = last_checkpoint(tmp_path)
        check_data(found, HASH)
        if found == str(newer):
            harmless += 1
            assert read_manifest(newer) == said, bit
        else:
            assert found == str(tmp_path / "checkpoint-4")
    assert harmless < 100  # white space, that is all


def test_a_manifest_of_an_earlier_release(tmp_path):
    """It has no checksum of its own and still resumes; what is not in its form counts as damaged."""
    newer = small_run(tmp_path)
    old = {name: value for name, value in read_manifest(newer).items() if name != "checksum"}
    (newer / MANIFEST).write_text(json.dumps(old, indent=1))
    assert fault(newer) is None
    entries = [[8], [8, "1"], "8", None, {"a": 1}, [True, 1]]
    wrong = [{**old, "files": {"model.safetensors": one}} for one in entries]
    wrong += [{**old, "chfcksum": 1}, {"files": {}}, {**old, "files": []}, {**old, "data_hash": 1}, [], "x", None]
    for one in [*wrong, {**old, "files": {"a\0b": [1, 1]}}]:
        (newer / MANIFEST).write_text(json.dumps(one))
        assert fault(newer) == f"its {MANIFEST} is damaged", one
    for content in (b"\xff\xfe", b"", b"[" * 100_000):
        (newer / MANIFEST).write_bytes(content)
        assert fault(newer) == f"its {MANIFEST} is damaged"
    (newer / MANIFEST).write_text(json.dumps({**old, "files": {"x" * 300: [1, 1]}}))
    assert "File name too long" in fault(newer)


class Later(TrainerCallback):
    """Date every checkpoint that is there a day into the future, as if the clock had gone back since."""

    def on_save(self, args, state, control, **kwargs):
        """Date them."""
        for folder in Path(args.output_dir).glob("checkpoint-*"):
            os.utime(folder, (time.time() + 86_400, time.time() + 86_400))


def test_the_clock_goes_back(tmp_path):
    make_trainer(tmp_path / "run", callbacks=[Later()], **SAVING, save_total_limit=2).train()
    assert {folder.name for folder in (tmp_path / "run").glob("checkpoint-*")} == {"checkpoint-4", "checkpoint-6"}


@pytest.mark.parametrize(
    ("limit", "kept", "left"),
    [
        (2, {10}, {9, 10}),
        (1, {10, 2}, {2, 10}),
        (2, {10, 2}, {2, 10}),
        (3, {10, 2}, {2, 9, 10}),
        (1, {2}, {2}),  # saved again from an earlier step: neither it nor the best goes
        (None, {10}, {2, 3, 9, 10}),
        (0, {10}, {2, 3, 9, 10}),
    ],
)
def test_rotation_goes_by_step(tmp_path, limit, kept, left):
    for age, step in enumerate((10, 3, 9, 2)):  # the newest file is the earliest step
        (tmp_path / f"checkpoint-{step}").mkdir()
        os.utime(tmp_path / f"checkpoint-{step}", (age, age))
    rotate(tmp_path, limit, {f"checkpoint-{step}" for step in kept})
    assert {folder.name for folder in tmp_path.iterdir()} == {f"checkpoint-{step}" for step in left}


class Swap(TrainerCallback):
    """Take the run's folder away after a step and leave another one, or none, in its place."""

    def __init__(self, comes_back: bool):
        self.comes_back = comes_back

    def on_step_end(self, args, state, control, **kwargs):
        """Swap it."""
        if state.global_step == 3:
            Path(args.output_dir).rename(f"{args.output_dir}-away")
            if self.comes_back:
                Path(args.output_dir).mkdir()


@pytest.mark.parametrize(("comes_back", "saving"), [(True, SAVING), (False, SAVING), (True, {"max_steps": 4})])
def test_a_folder_that_was_swapped(tmp_path, comes_back, saving):
    trainer = make_trainer(tmp_path / "run", callbacks=[Swap(comes_back)], **saving)
    with pytest.raises(TrainingError, match="its lock is lost"):
        trainer.train()
    assert not list((tmp_path / "run").glob("*"))
