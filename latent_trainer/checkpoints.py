"""Checkpoints that are whole or not there: written under another name, renamed when complete, checked before use."""

import contextlib
import json
import logging
import os
import shutil
import zlib
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from torch import nn

from latent_trainer.compat import PREFIX_CHECKPOINT_DIR, TRAINER_STATE_NAME, rotate_checkpoints
from latent_trainer.errors import InputError, TrainingError
from latent_trainer.options import truth
from latent_trainer.run_record import write_record

MANIFEST = "manifest.json"
UNFINISHED = ".unfinished"  # a folder beside the checkpoints, where the next one is written
LOCK = ".lock"
BLOCK = 1 << 24
LATEST = "latest"

logger = logging.getLogger(__name__)


def write_manifest(folder: Path, data_hash: str) -> None:
    """Write down the files of a checkpoint with their sizes and checksums, and the data it was trained on; comes last."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    listed = {str(path.relative_to(folder)): [path.stat().st_size, _checksum(path)] for path in files}
    (folder / MANIFEST).write_text(json.dumps({"data_hash": data_hash, "files": listed}, indent=1), encoding="utf-8")


def _checksum(path: Path) -> int:
    """Return the CRC-32 of a file: quick, and meant against accidents, not against attackers."""
    checksum = 0
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            checksum = zlib.crc32(block, checksum)
    return checksum


def fault(folder: Path) -> str | None:
    """Return what is wrong with a checkpoint in a few words, None where nothing is."""
    try:
        listed = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    except FileNotFoundError:
        return f"it has no {MANIFEST}, which is written last"
    except (ValueError, TypeError, KeyError):
        return f"its {MANIFEST} is damaged"
    for name, (size, checksum) in listed.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes instead of {size}"
        if _checksum(path) != checksum:
            return f"the content of {name} has changed"
    return None


def checkpoints(output_dir: str | Path) -> list[Path]:
    """Return the checkpoint folders of a run, oldest first, whole or not."""
    folders = [
        path for path in Path(output_dir).glob(f"{PREFIX_CHECKPOINT_DIR}-*") if path.name.rpartition("-")[2].isdigit()
    ]
    return sorted(folders, key=lambda path: int(path.name.rpartition("-")[2]))


def last_checkpoint(output_dir: str | Path) -> str | None:
    """Return the newest whole checkpoint of a run, None where there is none; damaged ones are skipped with a warning."""
    for folder in reversed(checkpoints(output_dir)):
        reason = fault(folder)
        if reason is None:
            return str(folder)
        logger.warning("skipping %s: %s", folder.name, reason)
    return None


def resumption(value: str | bool | os.PathLike | None) -> str | None:
    """Return what a setting resumes: ``LATEST``, a folder, or None for nothing.

    Args:
        value: True, a word for it or "latest"; False, a word for it or None; or a checkpoint folder.

    Raises:
        InputError: something else.
    """
    value = os.fspath(value) if isinstance(value, os.PathLike) else value
    word = truth(value) if isinstance(value, str) else value
    if (word is None and value is None) or word is False:
        return None
    if word is True or value == LATEST:
        return LATEST
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"resume_from_checkpoint={value!r}: expected true, false, latest or a checkpoint folder")
    return value


def resumed_checkpoint(output_dir: str, value: str | bool | None) -> str | None:
    """Return the checkpoint a setting resumes from, None where there is none (see `resumption`).

    Raises:
        InputError: a folder somebody has named is not there or damaged.
    """
    wanted = resumption(value)
    return last_checkpoint(output_dir) if wanted == LATEST else wanted and whole_checkpoint(wanted)


def whole_checkpoint(folder: str) -> str:
    """Return a checkpoint somebody has named; an `InputError` where it is damaged or not there."""
    if not Path(folder).is_dir():
        raise InputError(f"resume_from_checkpoint={folder}: no such folder; give true, false, latest or a checkpoint folder")
    inside = checkpoints(folder)
    if inside:
        raise InputError(f"resume_from_checkpoint={folder} holds checkpoints and is none; name one, such as {inside[-1]}")
    reason = fault(Path(folder))
    if reason is not None:
        raise InputError(f"checkpoint {folder} is damaged: {reason}; resume_from_checkpoint=True takes the newest whole one")
    return folder


def check_data(folder: str, data_hash: str) -> None:
    """Raise an `InputError` where a whole checkpoint was trained on other problems."""
    before = json.loads((Path(folder) / MANIFEST).read_text(encoding="utf-8"))["data_hash"]
    if before != data_hash:
        raise InputError(
            f"the training problems have changed since {Path(folder).name} was saved: data hash {before[:16]} then, "
            f"{data_hash[:16]} now; restore them or start a new run in another output_dir"
        )


@contextlib.contextmanager
def locked(output_dir: str, holds: bool):
    """Within the block no other run may train in a folder; the lock goes with the process, however it ends.

    Args:
        output_dir: the folder.
        holds: whether this process takes the lock; one of a run does.

    Raises:
        ValueError: another run holds it.
    """
    if not holds:
        yield
        return
    Path(output_dir).mkdir(parents=True, exist_ok=True)
    lock = FileLock(Path(output_dir) / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(
            f"another run is training in output_dir={output_dir}; wait for it or choose another folder"
        ) from None
    try:
        yield
    finally:
        lock.release()


def last_good(output_dir: str) -> str:
    """Say where a run that has ended can go on."""
    folder = last_checkpoint(output_dir)
    return f"the last good checkpoint is {folder}" if folder else "there is no checkpoint yet"


@torch.no_grad()
def broken_weight(model: nn.Module) -> str | None:
    """Return the name of a parameter that is not finite, None where all are."""
    return next((name for name, value in model.named_parameters() if not torch.isfinite(value).all()), None)


def refuse_other_run(output_dir: str, resume_from_checkpoint) -> None:
    """Raise an `InputError` where ``output_dir`` holds the checkpoints or the model of a run that is not being resumed."""
    if resumption(resume_from_checkpoint) or not Path(output_dir).is_dir():
        return
    names = [path.name for path in Path(output_dir).iterdir()]
    existing = [name for name in names if name.startswith(f"{PREFIX_CHECKPOINT_DIR}-") or name.endswith(".safetensors")]
    if existing:
        raise InputError(
            f"output_dir={output_dir} already holds another run ({sorted(existing)[-1]}); "
            "resume it with resume_from_checkpoint=True or choose another folder"
        )


class WholeCheckpoints:
    """How a `Trainer` saves: into a folder beside the checkpoints, which gets its name when everything is written.

    Comes before `Trainer`; the class it is mixed into has ``data_hash`` and ``run_record``.
    """

    _run_dir: str | None = None
    _push_afterwards = False

    def _load_callback_state(self) -> None:
        """Restore other callbacks; the stage belongs to this trainer, cannot be built anew and restores itself."""
        name = type(self.stages).__name__
        saved = self.state.stateful_callbacks.pop(name)
        super()._load_callback_state()
        self.state.stateful_callbacks[name] = saved

    def _get_output_dir(self, trial) -> str:
        return super()._get_output_dir(trial) if self._run_dir is None else self._run_dir

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        if self._run_dir is None:
            super()._push_from_checkpoint(checkpoint_folder)
        else:
            self._push_afterwards = True  # under its own name

    def _save_checkpoint(self, model, trial) -> None:
        """Save a checkpoint under a name that nobody resumes from, then rename it.

        Raises:
            TrainingError: it could not be written, or the weights are not finite; nothing of it is left.
        """
        step, run_dir = self.state.global_step, Path(self._get_output_dir(trial))
        broken = broken_weight(self.model)
        if broken is not None:
            raise TrainingError(f"weight {broken} is not finite after step {step}; {last_good(run_dir)}")
        staging = run_dir / UNFINISHED
        if self.args.should_save:
            shutil.rmtree(staging, ignore_errors=True)  # what a killed run has left
        self.accelerator.wait_for_everyone()
        self._run_dir, self._push_afterwards = str(staging), False
        try:
            super()._save_checkpoint(model, trial)
            self._run_dir = None
            self.accelerator.wait_for_everyone()
            self._finish_checkpoint(run_dir, staging, f"{PREFIX_CHECKPOINT_DIR}-{step}")
        except (OSError, SafetensorError, RuntimeError) as error:  # what the writers raise, a full disk for one
            shutil.rmtree(staging, ignore_errors=True)
            reason = " ".join(str(error).split())[:200]
            raise TrainingError(f"cannot save the checkpoint of step {step}: {reason}; {last_good(run_dir)}") from error
        finally:
            self._run_dir = None
        self.accelerator.wait_for_everyone()
        if self._push_afterwards:
            self._push_from_checkpoint(str(run_dir / f"{PREFIX_CHECKPOINT_DIR}-{step}"))

    def _finish_checkpoint(self, run_dir: Path, staging: Path, name: str) -> None:
        """Correct the path of the best checkpoint, add the manifest, rename, and rotate."""
        if self.state.best_global_step:
            best = run_dir / f"{PREFIX_CHECKPOINT_DIR}-{self.state.best_global_step}"
            if best.name == name or best.exists():
                self.state.best_model_checkpoint = str(best)
        if not self.args.should_save:
            return
        self.state.save_to_json(str(staging / name / TRAINER_STATE_NAME))
        write_record(staging / name, self.run_record)
        write_manifest(staging / name, self.data_hash)
        shutil.rmtree(run_dir / name, ignore_errors=True)  # of the same step, from before a resumption
        (staging / name).rename(run_dir / name)
        shutil.rmtree(staging)
        rotate_checkpoints(
            str(run_dir), self.args.save_total_limit, best_model_checkpoint=self.state.best_model_checkpoint, use_mtime=True
        )
