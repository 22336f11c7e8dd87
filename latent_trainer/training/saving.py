"""How a run writes its checkpoints: under another name, renamed when complete, in a folder no other run trains in."""

import contextlib
import errno
import logging
import shutil
import threading
from pathlib import Path

import torch
from torch import nn

from latent_trainer.compat import PREFIX_CHECKPOINT_DIR, TRAINER_STATE_NAME
from latent_trainer.errors import TrainingError
from latent_trainer.training.checkpoints import (
    UNFINISHED,
    last_good,
    rotate,
    write_manifest,
)
from latent_trainer.training.finished import WRITE_ERRORS, WholeResults
from latent_trainer.training.run_lock import RunLock
from latent_trainer.training.run_record import make_record, write_record
from latent_trainer.whole_files import output_folder, reason, system_errors

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG, errno.ESTALE)  # of a file system

logger = logging.getLogger(__name__)


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


@torch.no_grad()
def broken_weight(model: nn.Module) -> str | None:
    """Return the name of a parameter that is not finite, None where all are."""
    return next((name for name, value in model.named_parameters() if not torch.isfinite(value).all()), None)


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
