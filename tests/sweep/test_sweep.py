"""A sweep keeps count of its points: nothing twice, a failure tried once more, the search, the results."""

import csv
import json
from types import SimpleNamespace

import optuna
import pytest
from optuna.trial import Trial, TrialState
from pyarrow import parquet

from latent_trainer.cli import main
from latent_trainer.errors import InputError
from latent_trainer.sweep.job import OUTCOME, PointJob, read_outcome
from latent_trainer.sweep.launch import LocalLauncher
from latent_trainer.sweep.loop import run_sweep
from latent_trainer.sweep.points import Space
from latent_trainer.sweep.results import ranked, write_results
from latent_trainer.sweep.state import SweepState, open_study

HEADER = {"recipe": "r", "metric": "score"}
AXES = {"size": [1, 2, 3], "kind": ["a", "b"]}


class Here:
    """A launcher that runs every job at once in this process."""

    slots = 2

    def __init__(self, dies=lambda spec: False):
        self.specs, self.dies, self.cancelled = [], dies, []

    def submit(self, function, specs):
        jobs = []
        for spec in specs:
            self.specs.append(spec)
            if not self.dies(spec):
                try:
                    function(spec)
                except RuntimeError:
                    assert read_outcome(function_folder(spec))["state"] == "failed"
            jobs.append(SimpleNamespace(job_id=str(len(self.specs)), paths=SimpleNamespace(stderr=f"log-{len(self.specs)}")))
        return jobs

    def attach(self, job_id):
        return SimpleNamespace(job_id=job_id)

    def alive(self, job):
        return False

    def cancel(self, jobs):
        self.cancelled += jobs


def function_folder(spec):
    from pathlib import Path

    return Path(spec["folder"])


def score(spec):
    return {"score": spec["settings"]["size"] + 0.1 * spec["seed"], "name": "text"}


def go(folder, space, function=score, launcher=None, **more):
    """Run a sweep to its end in this process; return its state and its launcher."""
    state, launcher = SweepState(folder, space, HEADER), launcher or Here()
    run_sweep(state, launcher, function, folder, {"metric": "score", "study": str(state.path)}, poll=0, **more)
    return state, launcher


def test_every_point_once(tmp_path):
    space = Space(axes=AXES, seeds=[0, 1])
    state, launcher = go(tmp_path, space)
    seen = [(spec["settings"]["size"], spec["settings"]["kind"], spec["seed"]) for spec in launcher.specs]
    assert sorted(seen) == sorted((size, kind, seed) for size in (1, 2, 3) for kind in "ab" for seed in (0, 1))
    assert len(state.trials(TrialState.COMPLETE)) == 12
    assert go(tmp_path, space)[1].specs == []
    more = Space(axes={"size": [1, 2, 3, 4], "kind": ["a", "b"]}, seeds=[0, 1])
    assert {spec["settings"]["size"] for spec in go(tmp_path, more)[1].specs} == {4}


def test_a_failure_is_tried_once_more_and_its_log_is_named(tmp_path):
    failures = []

    def fails(spec):
        if spec["settings"]["size"] == 2:
            raise RuntimeError("no such size")
        return score(spec)

    state, launcher = go(tmp_path, Space(axes={"size": [1, 2, 3]}), fails, on_failure=lambda *told: failures.append(told))
    assert [spec["settings"]["size"] for spec in launcher.specs].count(2) == 2
    assert [(run.attempt, run.log is not None, error, again) for run, error, again in failures] == [
        (1, True, "RuntimeError: no such size", True),
        (2, True, "RuntimeError: no such size", False),
    ]
    assert len(state.trials(TrialState.FAIL)) == 2
    assert go(tmp_path, Space(axes={"size": [1, 2, 3]}), fails)[1].specs == []  # two attempts are all it gets
    folder = tmp_path / failures[0][0].folder
    assert (folder / "failed-1.json").is_file() and json.loads((folder / OUTCOME).read_text())["state"] == "failed"


def test_a_job_that_dies_has_failed(tmp_path):
    failures, dead = [], []

    def dies_once(spec):
        dead.append(spec["settings"]["size"])
        return spec["settings"]["size"] == 1 and dead.count(1) == 1

    told = lambda run, error, again: failures.append(error)  # noqa: E731
    state, _ = go(tmp_path, Space(axes={"size": [1, 2]}), launcher=Here(dies_once), on_failure=told)
    assert failures == ["the job ended without a word"]
    assert len(state.trials(TrialState.COMPLETE)) == 2


def test_ctrl_c_and_a_kill_leave_points_that_are_begun_again(tmp_path):
    """A point that ended while nobody watched counts; one that did not is begun again as the same attempt."""
    launcher = Here(dies=lambda spec: spec["settings"]["size"] == 1)

    def interrupt(running):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, Space(axes={"size": [1, 2, 3]}), launcher=launcher, on_change=interrupt)
    assert len(launcher.cancelled) == 2
    state, again = go(tmp_path, Space(axes={"size": [1, 2, 3]}))
    assert sorted(spec["settings"]["size"] for spec in again.specs) == [1, 3]
    assert len(state.trials()) == len(state.trials(TrialState.COMPLETE)) == 3


def test_search_prunes(tmp_path):
    """A search tries as many points as asked for, and the median pruner ends runs that fall behind."""

    def train(spec):
        trial = Trial(open_study(spec["study"]), spec["trial_id"])
        value = -abs(spec["settings"]["x"] - 0.3)
        for step in range(3):
            trial.report(value, step)
            if trial.should_prune():
                raise optuna.TrialPruned("behind")
        return {"score": value}

    spread = {"x": {"low": 0.0, "high": 1.0}, "y": {"choices": ["a", "b"]}, "z": {"low": 1, "high": 3}}
    space = Space(search=spread, trials=12)
    state, launcher = go(tmp_path, space, train)
    assert len(launcher.specs) == 12
    assert len(state.trials(TrialState.PRUNED)) >= 1
    assert len(state.trials(TrialState.PRUNED)) + len(state.trials(TrialState.COMPLETE)) == 12
    assert all(0 <= spec["settings"]["x"] <= 1 and spec["settings"]["z"] in (1, 2, 3) for spec in launcher.specs)
    assert go(tmp_path, space, train)[1].specs == []


def test_a_failed_trial_of_a_search_is_tried_with_the_same_settings(tmp_path):
    def fails(spec):
        raise RuntimeError("never works")

    _, launcher = go(tmp_path, Space(search={"x": {"low": 1e-5, "high": 1.0, "log": True}}, trials=2), fails)
    tried = [spec["settings"]["x"] for spec in launcher.specs]
    assert len(tried) == 4 and len(set(tried)) == 2


def test_results(tmp_path):
    state, _ = go(tmp_path, Space(axes=AXES, seeds=[0, 1]))
    written = write_results(state, tmp_path, "score")
    assert {path.name for path in written} >= {"results.csv", "ranked.csv", "axis-size.png", "axis-kind.png"}
    rows = list(csv.DictReader((tmp_path / "results.csv").read_text().splitlines()))
    assert len(rows) == len(parquet.read_table(tmp_path / "results.parquet")) == 12
    assert {row["state"] for row in rows} == {"complete"}
    best = ranked(state)
    assert (best[0]["size"], best[0]["mean"], best[0]["seeds"]) == (3, pytest.approx(3.05), 2)
    assert best[0]["stderr"] == pytest.approx(0.05)  # of 3.0 and 3.1
    assert (tmp_path / "axis-size.svg").is_file()


def test_two_jobs_of_one_folder(tmp_path):
    """The second finds the outcome and does nothing; a requeue runs the same again."""
    calls = []
    job = PointJob(lambda spec: calls.append(spec) or {"score": 1.0})
    spec = {"folder": str(tmp_path), "metric": "score"}
    job(spec)
    job(spec)
    assert len(calls) == 1
    delayed = job.checkpoint(spec)
    assert delayed.function is job and delayed.args == (spec,)


def test_another_sweep_is_refused(tmp_path):
    SweepState(tmp_path, Space(axes=AXES), HEADER)
    with pytest.raises(InputError, match="other recipe"):
        SweepState(tmp_path, Space(axes=AXES), {**HEADER, "recipe": "s"})


def test_a_point_must_fit(tmp_path):
    for name, options in (("cores", {"cores": 10**6}), ("gpus", {"gpus": 10**3}), ("memory_gb", {"memory_gb": 1e9})):
        with pytest.raises(InputError, match=name):
            LocalLauncher(tmp_path, **options)
    assert LocalLauncher(tmp_path, parallel=1).slots == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--axes", "{}"], "one of axes, points and search, got none"),
        (["--axes", '{"lr": [1]}'], "'lr', which train does not have"),
        (["--axes", '{"seed": [1]}'], "use seeds"),
        (["--axes", '{"learning_rate": 1}'], "must be a list"),
        (["--search", '{"learning_rate": {"low": 1}}'], "needs choices, or low and high"),
        (["--search", '{"learning_rate": {"choices": [1]}}', "--seeds", "1", "2"], "takes one seed"),
        (["--axes", '{"num_latents": [1]}', "--slurm", '{"time": 1}'], "executor=local"),
        (["--axes", '{"num_latents": [1]}', "--executor", "slurm", "--gpus", "1"], "set gres"),
        (["--axes", '{"num_latents": [1]}', "--executor", "slurm", "--slurm", '{"tyme": 1}'], "did you mean 'time'"),
    ],
)
def test_mistakes(words, message, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main("sweep", ["--base", "setup.cfg", "--output_dir", str(tmp_path), *words])
    assert message in capsys.readouterr().err
