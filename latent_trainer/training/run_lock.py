"""One run a folder: a lock that goes with the process, however it ends, and that is missed where the folder is swapped."""

import os
from pathlib import Path

from filelock import FileLock, Timeout

from latent_trainer.errors import InputError, TrainingError

LOCK = ".lock"


class RunLock:
    """The lock of a folder that a run holds, and whether the folder is still the one it has locked.

    Args:
        output_dir: the folder; made where it is not there.
        doing: what another one that holds the lock does there, for the error.
        option: what names the folder.

    Raises:
        InputError: another run holds it.
    """

    def __init__(self, output_dir: str | Path, doing: str, option: str):
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        self.output_dir, self.path = output_dir, Path(output_dir) / LOCK
        self._lock = FileLock(self.path, timeout=0)
        try:
            self._lock.acquire()
        except Timeout:
            raise InputError(f"another {doing} in {option}={output_dir}; wait for it or choose another folder") from None
        self._file = self.path.stat()

    def check(self) -> None:
        """Raise a `TrainingError` where the folder has gone, or has come back without its lock."""
        if not self._lock.is_locked:
            return
        try:
            same = os.path.samestat(self.path.stat(), self._file)
        except OSError:
            same = False
        if not same:
            raise TrainingError(
                f"output_dir={self.output_dir} has been moved, deleted or replaced since the run began: its lock is lost, "
                "so another run may be writing there; bring the folder back and resume, or start in another one"
            )

    def release(self) -> None:
        """Let another run have the folder."""
        self._lock.release()
