"""Checkpoints that are whole or not there: written under another name, renamed when complete, checked before use."""

import contextlib
import errno
import json
import logging
import os
import shutil
import threading
import zlib
from pathlib import Path

import torch
from torch import nn

from latent_trainer.compat import PREFIX_CHECKPOINT_DIR, TRAINER_STATE_NAME
from latent_trainer.errors import InputError, TrainingError
from latent_trainer.finished import WRITE_ERRORS, WholeResults
from latent_trainer.loading import pickled_weights
from latent_trainer.options import truth
from latent_trainer.run_lock import RunLock
from latent_trainer.run_record import make_record, write_record
from latent_trainer.whole_files import output_folder, reason, system_errors

MANIFEST = "manifest.json"
UNFINISHED = ".unfinished"  # a folder beside the checkpoints, where the next one is written
BLOCK = 1 << 24
LATEST = "latest"
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG, errno.ESTALE)  # of a file system

logger = logging.getLogger(__name__)


def write_manifest(folder: Path, data_hash: str) -> None:
    """Write down the files of a checkpoint with their sizes and checksums, and the data it was trained on; comes last."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    listed = {str(path.relative_to(folder)): [path.stat().st_size, _checksum(path)] for path in files}
    manifest = {"data_hash": data_hash, "files": listed}
    manifest["checksum"] = _own_checksum(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def _own_checksum(manifest: dict) -> int:
    """Return the CRC-32 of what a manifest says, which a single flipped bit always changes."""
    content = {name: value for name, value in manifest.items() if name != "checksum"}
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())


def read_manifest(folder: Path) -> dict:
    """Return a checkpoint's manifest.

    Raises:
        FileNotFoundError: it has none.
        ValueError: it is damaged. One without a checksum of its own, as earlier releases wrote, must be in their form.
    """
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    if not isinstance(manifest, dict):
        raise ValueError("no mapping")
    if "checksum" in manifest:
        if manifest["checksum"] != _own_checksum(manifest):
            raise ValueError("its checksum is another")
    elif manifest.keys() != {"data_hash", "files"}:  # of any other, a flipped bit has hidden the checksum
        raise ValueError("no checksum")
    if not isinstance(manifest.get("data_hash"), str) or not isinstance(manifest.get("files"), dict):
        raise ValueError("fields are missing")
    for name, facts in manifest["files"].items():
        if not (isinstance(facts, list) and [type(fact) for fact in facts] == [int, int]) or "\0" in name:
            raise ValueError(f"what it says of {name!r}")
    return manifest


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
        return _fault_of_files(folder, read_manifest(folder)["files"])
    except FileNotFoundError:
        return f"it has no {MANIFEST}, which is written last"
    except (ValueError, RecursionError):
        return f"its {MANIFEST} is damaged"
    except OSError as error:
        return f"it cannot be read: {reason(error)}"


def _fault_of_files(folder: Path, listed: dict[str, list[int]]) -> str | None:
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
        InputError: a folder somebody has named is not there or damaged, or weights are a pickle.
    """
    wanted = resumption(value)
    found = last_checkpoint(output_dir) if wanted == LATEST else wanted and whole_checkpoint(wanted)
    pickled = found and pickled_weights(found)
    if pickled:
        raise InputError(f"checkpoint {found} holds weights in a pickle ({pickled}), which is never opened; take it away")
    return found


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
    before = read_manifest(Path(folder))["data_hash"]
    if before != data_hash:
        raise InputError(
            f"the training problems have changed since {Path(folder).name} was saved: data hash {before[:16]} then, "
            f"{data_hash[:16]} now; restore them or start a new run in another output_dir"
        )


@contextlib.contextmanager
def _errors_of_threads():
    """Raise at the end what a thread, such as TensorBoard's, could not write, instead of printing where it happened."""
    lost: list[OSError] = []
    before = threading.excepthook

    def note(args) -> None:
        if isinstance(args.exc_value, OSError) and args.exc_value.errno in DISK:
            lost.append(args.exc_value)
        else:
            before(args)

    threading.excepthook = note
    try:
        yield
    finally:
        threading.excepthook = before
    if lost:
        raise lost[0]


@contextlib.contextmanager
def locked(output_dir: str | Path, holds: bool, doing: str = "run is training", option: str = "output_dir"):
    """Within the block no other run may train in a folder; the lock goes with the process, however it ends.

    What cannot be written within the block, by TensorBoard for one, ends it with a `TrainingError`.

    Args:
        output_dir: the folder.
        holds: whether this process takes the lock; one of a run does.
        doing, option: for the error, see `RunLock`.

    Yields:
        The lock; None where this process takes none.

    Raises:
        ValueError: another run holds it.
        TrainingError: the folder was not the same at the end, or something could not be written.
    """
    lock = RunLock(output_dir, doing, option) if holds else None
    try:
        with _errors_of_threads():
            yield lock
        if lock is not None:
            lock.check()
    except OSError as error:
        if error.errno not in DISK:
            raise
        raise TrainingError(f"cannot write in {output_dir}: {reason(error)}; {last_good(output_dir)}") from error
    finally:
        if lock is not None:
            lock.release()


def last_good(output_dir: str | Path) -> str:
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


def rotate(run_dir: Path, limit: int | None, kept: set[str]) -> None:
    """Delete checkpoints of the earliest steps until ``limit`` are left; a clock that was set back changes nothing.

    Args:
        run_dir: holds the checkpoints.
        limit: ``save_total_limit``; None or 0 deletes none.
        kept: names that stay in any case: the one just saved and the best.
    """
    found = checkpoints(run_dir)
    surplus = len(found) - limit if limit else 0
    old = [folder for folder in found if folder.name not in kept]
    for folder in old[: max(0, surplus)]:
        shutil.rmtree(folder, ignore_errors=True)


class WholeCheckpoints(WholeResults):
    """How a `Trainer` saves: into a folder beside the checkpoints, which gets its name when everything is written.

    Comes before `Trainer`; the class it is mixed into has ``data_hash`` and ``run_record``, and ``lock`` while it trains.
    """

    lock: RunLock | None = None
    _run_dir: str | None = None

    def __init__(self, *positional, args, **kwargs):
        args.output_dir = output_folder("output_dir", args.output_dir)  # before the stock trainer makes it
        super().__init__(*positional, args=args, **kwargs)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        if self._run_dir is None:
            if self.lock is not None:
                self.lock.check()
            super()._save(output_dir, state_dict)
        else:  # part of a checkpoint, which gets its name as a whole
            with system_errors():
                super(WholeResults, self)._save(output_dir, state_dict)

    def _load_callback_state(self) -> None:
        """Restore other callbacks; the stage belongs to this trainer, cannot be built anew and restores itself."""
        name = type(self.stages).__name__
        saved = self.state.stateful_callbacks.pop(name)
        super()._load_callback_state()
        self.state.stateful_callbacks[name] = saved

    def _get_output_dir(self, trial) -> str:
        return super()._get_output_dir(trial) if self._run_dir is None else self._run_dir

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
        if self.lock is not None:
            self.lock.check()
        if self.args.should_save:
            shutil.rmtree(staging, ignore_errors=True)  # what a killed run has left
        self.accelerator.wait_for_everyone()
        self._run_dir = str(staging)
        try:
            super()._save_checkpoint(model, trial)
            self._run_dir = None
            self.accelerator.wait_for_everyone()
            self._finish_checkpoint(run_dir, staging, f"{PREFIX_CHECKPOINT_DIR}-{step}")
        except WRITE_ERRORS as error:
            shutil.rmtree(staging, ignore_errors=True)
            raise TrainingError(
                f"cannot save the checkpoint of step {step}: {reason(error)}; {last_good(run_dir)}"
            ) from error
        finally:
            self._run_dir = None
        self.accelerator.wait_for_everyone()

    def _finish_checkpoint(self, run_dir: Path, staging: Path, name: str) -> None:
        """Correct the path of the best checkpoint, add the manifest, rename, and rotate."""
        if self.state.best_global_step:
            best = run_dir / f"{PREFIX_CHECKPOINT_DIR}-{self.state.best_global_step}"
            if best.name == name or best.exists():
                self.state.best_model_checkpoint = str(best)
        if not self.args.should_save:
            return
        self.state.save_to_json(str(staging / name / TRAINER_STATE_NAME))
        write_record(staging / name, self.run_record or make_record(self))
        write_manifest(staging / name, self.data_hash)
        shutil.rmtree(run_dir / name, ignore_errors=True)  # of the same step, from before a resumption
        (staging / name).rename(run_dir / name)
        shutil.rmtree(staging)
        best_name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.best_global_step}" if self.state.best_global_step else name
        rotate(run_dir, self.args.save_total_limit, {name, best_name})
