"""What runs on the other side: one attempt at a point, which leaves what became of it in a file."""

import fcntl
import json
import time
from collections.abc import Callable
from pathlib import Path

import optuna
from submitit.helpers import DelayedSubmission

from latent_trainer.whole_files import write_json

OUTCOME = "outcome.json"


class PointJob:
    """Call ``function(spec)`` and write its metrics, or why there are none, into ``outcome.json`` in the point's folder.

    A job that is ended from outside leaves no outcome and is started again by submitit's requeue or by the next sweep; it
    then goes on from its last checkpoint. Of two jobs of one folder the second waits and finds the outcome.

    Args:
        function: spec -> metrics by name; raises `optuna.TrialPruned` to stop early.
    """

    def __init__(self, function: Callable[[dict], dict]):
        self.function = function

    def __call__(self, spec: dict) -> None:
        """Run the point of ``spec``, which holds its ``folder`` and ``metric`` besides what the function reads."""
        folder = Path(spec["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if (folder / OUTCOME).is_file():
                return
            began = time.time()
            try:
                metrics = self.function(spec)
                outcome = {"state": "complete", "value": metrics[spec["metric"]], "metrics": metrics}
            except optuna.TrialPruned as stop:
                outcome = {"state": "pruned", "error": str(stop)}
            except Exception as error:
                write_outcome(folder, {"state": "failed", "error": f"{type(error).__name__}: {error}"})
                raise  # so that the log has it all
            write_outcome(folder, {**outcome, "seconds": time.time() - began})

    def checkpoint(self, spec: dict) -> DelayedSubmission:
        """Return what submitit is to run when the job was preempted or out of time: the same."""
        return DelayedSubmission(self, spec)


def write_outcome(folder: Path, outcome: dict) -> None:
    """Write an outcome in one piece."""
    write_json(folder / OUTCOME, outcome, indent=2)


def read_outcome(folder: Path) -> dict | None:
    """Return the outcome of a point's folder, None where there is none yet."""
    place = folder / OUTCOME
    return json.loads(place.read_text(encoding="utf-8")) if place.is_file() else None
