"""What became of every point: an Optuna study in one SQLite file. Grid points are trials too, with settings of their own."""

import contextlib
import json
import sqlite3
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.engine import URL

from latent_trainer.errors import InputError
from latent_trainer.sweep.points import Point, Run, Space

ATTEMPTS = 2
STUDY = "sweep"


def open_study(path: Path, seed: int = 0, direction: str = "maximize", new: bool = False) -> optuna.Study:
    """Return the study in an SQLite file, with the sampler and the pruner of a search.

    Args:
        path: the file.
        seed: of the sampler.
        direction: "maximize" or "minimize".
        new: make it where there is none.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = URL.create("sqlite", database=str(path)).render_as_string()  # a folder's name may hold ? or %
    storage = optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}})
    tools = {"sampler": optuna.samplers.TPESampler(seed=seed), "pruner": optuna.pruners.MedianPruner()}
    if not new:
        return optuna.load_study(study_name=STUDY, storage=storage, **tools)
    return optuna.create_study(study_name=STUDY, storage=storage, direction=direction, load_if_exists=True, **tools)


def refuse_damaged(path: Path) -> None:
    """Raise an `InputError` where a sweep's file is no study, or is missing beside points that it would give new numbers.

    Args:
        path: ``sweep.db``; read only, but for what a killed sweep has left half-written.
    """
    advice = "bring back a copy of it, or choose another output_dir"
    if not path.exists() or (path.is_file() and not path.stat().st_size):
        if any((path.parent / "points").glob("*")):
            raise InputError(f"{path.parent} holds points of a sweep, but {path.name} is {_lack(path)}; {advice}")
        return
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=60)) as file:
            sound = [row[0] for row in file.execute("PRAGMA quick_check(1)")] == ["ok"]
            study = sound and file.execute("SELECT count(*) FROM studies").fetchone()
    except sqlite3.DatabaseError as error:
        raise InputError(f"{path} is damaged or not that of a sweep ({error}); {advice}") from None
    if not study:
        raise InputError(f"{path} is damaged; {advice}")


def _lack(path: Path) -> str:
    return "empty" if path.exists() else "missing"


class SweepState:
    """The points of a sweep and how far they are; the file outlives the process.

    Args:
        folder: of the sweep; the file is ``sweep.db`` in it.
        space: what is tried. More points may be added later; they join those that are there.
        header: settings all points share; another sweep's file is refused.
        direction: "maximize" or "minimize" the metric.

    Raises:
        ValueError: the file holds a sweep with another header, is damaged, or has gone while the points are there.
    """

    def __init__(self, folder: Path, space: Space, header: dict, direction: str = "maximize"):
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self.space = folder / "sweep.db", space
        refuse_damaged(self.path)
        self.study = open_study(self.path, space.seeds[0], direction, new=True)
        header = {**json.loads(json.dumps(header)), "goal": direction, "search": space.search}
        known = self.study.user_attrs.get("header", header)
        differing = sorted(name for name in {*header, *known} if header.get(name) != known.get(name))
        if differing:
            raise InputError(f"{folder} holds another sweep (other {', '.join(differing)}); choose another output_dir")
        self.study.set_user_attr("header", header)
        listed = {_key(point.settings, point.seed) for point in space.listed()}
        known = {_key(run.settings, run.seed) for run in map(_run, self.trials())} if listed else set()
        for point in space.listed():
            if _key(point.settings, point.seed) not in known:
                self._enqueue(point, 1)

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Return the trials in any of the states, or all, oldest first."""
        return self.study.get_trials(deepcopy=False, states=states or None)

    def running(self) -> list[Run]:
        """Return the attempts that were begun and of which nothing is known yet."""
        return [_run(trial) for trial in self.trials(TrialState.RUNNING)]

    def left(self) -> int:
        """Return the number of attempts that are still to be begun."""
        waiting = len(self.trials(TrialState.WAITING))
        if self.space.search:
            begun = sum(trial.user_attrs.get("attempt", 1) == 1 for trial in self.trials())
            waiting += max(0, self.space.trials - begun)
        return waiting

    def begin(self) -> Run:
        """Return the next attempt; call it only while some are `left`."""
        trial = self.study.ask()
        given = trial.user_attrs
        if self.space.search:
            trial.set_user_attr("settings", self.space.suggest(trial))
            trial.set_user_attr("seed", self.space.seeds[0])
        trial.set_user_attr("attempt", given.get("attempt", 1))
        trial.set_user_attr("folder", given.get("folder") or f"points/{trial.number:04}")
        return _run(self.study.trials[trial.number])

    def submitted(self, run: Run, job: str, log: str) -> None:
        """Note which job an attempt has become."""
        run.job, run.log = job, log
        trial = Trial(self.study, run.trial_id)
        trial.set_user_attr("job", job)
        trial.set_user_attr("log", log)

    def settle(self, run: Run, outcome: dict) -> bool:
        """Note what became of an attempt; return whether it is to be tried once more, after a first failure."""
        trial = Trial(self.study, run.trial_id)
        for name in ("metrics", "seconds", "error"):
            if name in outcome:
                trial.set_user_attr(name, outcome[name])
        if outcome["state"] == "complete":
            self.study.tell(run.number, outcome["value"])
            return False
        if outcome["state"] == "pruned":
            self.study.tell(run.number, state=TrialState.PRUNED)
            return False
        self.study.tell(run.number, state=TrialState.FAIL)
        if run.attempt == ATTEMPTS:
            return False
        self._enqueue(Point(run.settings, run.seed), run.attempt + 1, run.folder)
        return True

    def _enqueue(self, point: Point, attempt: int, folder: str | None = None) -> None:
        attributes = {"settings": point.settings, "seed": point.seed, "attempt": attempt, "folder": folder}
        self.study.enqueue_trial(point.settings if self.space.search else {}, user_attrs=attributes)


def _key(settings: dict, seed: int) -> str:
    return json.dumps([settings, seed], sort_keys=True)


def _run(trial: FrozenTrial) -> Run:
    own = trial.user_attrs
    return Run(
        number=trial.number,
        trial_id=trial._trial_id,
        settings=own.get("settings", {}),
        seed=own.get("seed", 0),
        attempt=own.get("attempt", 1),
        folder=own.get("folder") or f"points/{trial.number:04}",
        job=own.get("job"),
        log=own.get("log"),
    )
