"""The loop of a sweep: begin what fits, note what has ended, until nothing is left."""

import time
from collections.abc import Callable
from pathlib import Path

from latent_trainer.sweep.job import OUTCOME, PointJob, read_outcome
from latent_trainer.sweep.points import Run
from latent_trainer.sweep.state import SweepState


def run_sweep(
    state: SweepState,
    launcher,
    function: Callable[[dict], dict],
    folder: Path,
    common: dict,
    on_change: Callable[[list[Run]], None] = lambda running: None,
    on_failure: Callable[[Run, str, bool], None] = lambda run, error, again: None,
    poll: float = 1.0,
) -> None:
    """Run every point that has not ended; one that was begun by an earlier, killed sweep is followed or begun again.

    Args:
        state: what is to be done.
        launcher: a `LocalLauncher` or `SlurmLauncher`.
        function: what a job calls with a spec: ``common`` and the settings, seed, folder and ``trial_id`` of a run.
        folder: of the sweep.
        common: what all specs share; holds ``metric``.
        on_change: called with the attempts that run, at every turn.
        on_failure: called with a failed attempt, the reason, and whether it is tried again.
        poll: seconds between two turns.

    Raises:
        KeyboardInterrupt: after all jobs have been ended; their points are begun again by the next sweep.
    """
    jobs: dict[int, tuple[Run, object]] = {}
    try:
        again = []
        for run in state.running():
            job = launcher.attach(run.job) if run.job else None
            if job is not None and (launcher.alive(job) or read_outcome(folder / run.folder)):
                jobs[run.number] = run, job
            else:
                again.append(run)
        while jobs or again or state.left():
            new = again[: max(0, launcher.slots - len(jobs))]
            again = again[len(new) :]
            while len(jobs) + len(new) < launcher.slots and state.left():
                new.append(state.begin())
            jobs |= _submit(state, launcher, PointJob(function), folder, common, new)
            on_change([run for run, _ in jobs.values()])
            time.sleep(poll)
            for run, job in list(jobs.values()):
                if launcher.alive(job):
                    continue
                killed = {"state": "failed", "error": "the job ended without a word"}
                outcome = read_outcome(folder / run.folder) or killed
                del jobs[run.number]
                tried_again = state.settle(run, outcome)
                if outcome["state"] == "failed":
                    on_failure(run, outcome["error"], tried_again)
        on_change([])
    except KeyboardInterrupt:
        launcher.cancel([job for _, job in jobs.values()])
        raise


def _submit(state: SweepState, launcher, function: PointJob, folder: Path, common: dict, runs: list[Run]) -> dict:
    """Submit attempts together; return them with their jobs by number."""
    if not runs:
        return {}
    specs = []
    for run in runs:
        place = folder / run.folder
        if run.attempt > 1 and (place / OUTCOME).is_file():  # of the attempt that failed
            (place / OUTCOME).replace(place / f"failed-{run.attempt - 1}.json")
        own = {"settings": run.settings, "seed": run.seed, "folder": str(place), "trial_id": run.trial_id}
        specs.append({**common, **own})
    jobs = launcher.submit(function, specs)
    for run, job in zip(runs, jobs, strict=True):
        state.submitted(run, job.job_id, str(job.paths.stderr))
    return {run.number: (run, job) for run, job in zip(runs, jobs, strict=True)}
