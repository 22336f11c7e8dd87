"""Real processes: a sweep of training runs that is killed and continued, and job arrays on a Slurm that only records."""

import csv
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from filelock import FileLock
from forked_python import forked_python

from latent_trainer.cli import main
from latent_trainer.cli.arguments import parse
from latent_trainer.cli.sweep import SweepArguments
from latent_trainer.errors import InputError
from latent_trainer.sweep.launch import LocalLauncher, SlurmLauncher
from latent_trainer.sweep.loop import run_sweep
from latent_trainer.sweep.points import Space
from latent_trainer.sweep.state import SweepState

ROOT = Path(__file__).resolve().parents[2]
SWEEPS = sorted((ROOT / "recipes" / "sweeps").glob("*.yaml"))

BASE = """
model_config: {model_type: gpt2, n_embd: 16, n_layer: 1, n_head: 2, n_positions: 64}
dataset: arithmetic
dataset_options: {operations: 2, size: 40}
max_eval_problems: 4
template: plain
max_steps: 1
last_stage: 0
per_device_train_batch_size: 4
max_new_tokens: 4
save_strategy: "no"
report_to: none
log_level: error
"""


def test_number_of_sweeps():
    assert len(SWEEPS) == 6


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_shipped_sweeps(path, monkeypatch):
    """A shipped sweep says what it is, and its options, base and number of jobs hold."""
    monkeypatch.chdir(ROOT)
    name = str(path.relative_to(ROOT))
    header = path.read_text()
    for part in ("# Reproduces: ", f"# Launch: latent-trainer sweep {name}", "# Hardware and time: "):
        assert part in header
    (args,) = parse("sweep", (SweepArguments,), ["--config", name])
    assert args.output_dir == f"runs/sweeps/{path.stem}"
    assert (ROOT / args.base).is_file()
    if args.executor == "slurm":
        assert len(args.space.listed()) == int(re.search(r"(\d+) jobs", header)[1])


def test_a_killed_sweep_goes_on(tmp_path, capfd):
    """Four runs of training, two at a time; the sweep is killed after the first. No point is trained twice."""
    (tmp_path / "base.yaml").write_text(BASE)
    sweep = {"base": str(tmp_path / "base.yaml"), "output_dir": str(tmp_path / "out"), "parallel": 2}
    sweep["axes"] = {"learning_rate": [0.001, 0.01], "latents_per_step": [1, 2]}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    points = tmp_path / "out" / "points"
    process = subprocess.Popen([forked_python(), "recipes/sweep.py", str(tmp_path / "sweep.yaml")], cwd=ROOT)
    deadline = time.monotonic() + 200
    while not list(points.glob("*/outcome.json")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with FileLock(tmp_path / "out" / ".lock", timeout=20):
        pass  # a forked program ends a moment after what stands for it
    done = {path: path.stat().st_mtime_ns for path in points.glob("*/outcome.json")}
    assert 1 <= len(done) < 4
    main("sweep", [str(tmp_path / "sweep.yaml")])
    assert {path: path.stat().st_mtime_ns for path in done} == done
    rows = list(csv.DictReader((tmp_path / "out" / "results.csv").read_text().splitlines()))
    assert len(rows) == 4
    assert {(row["learning_rate"], row["latents_per_step"]) for row in rows} == {
        (rate, size) for rate in ("0.001", "0.01") for size in ("1", "2")
    }
    assert {row["state"] for row in rows} == {"complete"}
    assert all((points / f"{number:04}" / "model" / "model.safetensors").is_file() for number in range(4))
    assert len(list((tmp_path / "out" / "jobs").glob("*_submitted.pkl"))) == 4
    assert (tmp_path / "out" / "axis-learning_rate.png").is_file()
    assert "eval_accuracy, best first" in capfd.readouterr().out


def test_local_jobs_are_followed_and_ended(tmp_path):
    """A job is found again by its process, as a later sweep does, and none is left after they are cancelled."""
    scope = {"__name__": "__main__"}
    exec("def wait(spec):\n    import time\n    time.sleep(600)\n", scope)
    launcher = LocalLauncher(tmp_path / "jobs", parallel=1)
    (job,) = launcher.submit(scope["wait"], [{}])
    later = LocalLauncher(tmp_path / "jobs", parallel=1)
    assert launcher.alive(job)
    assert later.alive(later.attach(job.job_id))
    assert not later.alive(later.attach(str(os.getpid())))  # a process of somebody else
    launcher.cancel([job])
    assert not launcher.alive(job)
    assert not later.alive(later.attach(job.job_id))


SBATCH = """#!/bin/bash
cp "$1" "$RECORD/script.sh"
echo "Submitted batch job $FAKE_JOB"
[ -n "$RUNS" ] || exit 0
for number in 0 1; do
  export SLURM_JOB_ID=7$number SLURM_ARRAY_JOB_ID=$FAKE_JOB SLURM_ARRAY_TASK_ID=$number
  SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NTASKS=1 bash "$RECORD/script.sh" >> "$RECORD/log" 2>&1 &
done
"""
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do if [[ $1 == --unbuffered ]]; then shift; else shift 2; fi; done
exec "$@"
"""
SACCT = """#!/bin/bash
echo "JobID|State|NodeList"
for number in 0 1; do echo "${FAKE_JOB}_$number|$STATE|"; done
"""
SCANCEL = """#!/bin/bash
echo "$@" >> "$RECORD/cancelled"
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A Slurm of four scripts: it records what is submitted, and runs a job array in the background where told to."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, text in {"sbatch": SBATCH, "srun": SRUN, "sacct": SACCT, "scancel": SCANCEL}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name, value in {"RECORD": str(folder), "STATE": "RUNNING", "RUNS": "", "FAKE_JOB": "4241"}.items():
        monkeypatch.setenv(name, value)
    return folder


def test_slurm_runs_an_array(tmp_path, slurm, monkeypatch):
    """Two points become one job array with the options asked for, and what they leave behind is found."""
    monkeypatch.setenv("RUNS", "yes")
    options = {"account": "lab", "partition": "gpu", "gres": "gpu:2", "time": 90, "mem_gb": 32, "cpus_per_task": 4}
    folder = tmp_path / "sweep"
    state = SweepState(folder, Space(axes={"size": [1, 2]}), {"metric": "score"})
    launcher = SlurmLauncher(folder / "jobs", options, parallel=8)
    run_sweep(state, launcher, by_value(), folder, {"metric": "score"}, poll=0.2)
    assert [trial.value for trial in state.trials()] == [1.0, 2.0]
    assert [trial.user_attrs["job"] for trial in state.trials()] == ["4241_0", "4241_1"]
    script = (slurm / "script.sh").read_text()
    wanted = [
        "account=lab",
        "partition=gpu",
        "gres=gpu:2",
        "time=90",
        "mem=32GB",
        "cpus-per-task=4",
        "array=0-1%2",
        "requeue",
    ]
    flags = [line.removeprefix("#SBATCH --").replace("'", "") for line in script.splitlines() if line.startswith("#SBATCH")]
    assert set(wanted) <= set(flags)
    assert any(
        flag.startswith("signal=USR2@") for flag in flags
    )  # a warning before the end, so that the job is queued again
    assert "srun" in script and "submitit.core._submit" in script


def test_slurm_tells_of_death_and_cancels(tmp_path, slurm, monkeypatch):
    monkeypatch.setenv("FAKE_JOB", "4250")
    monkeypatch.setenv("STATE", "CANCELLED by 0")
    launcher = SlurmLauncher(tmp_path / "jobs", {}, parallel=8)
    jobs = launcher.submit(by_value(), [{"folder": "a"}, {"folder": "b"}])
    assert not launcher.alive(jobs[0])
    assert launcher.attach(jobs[1].job_id).job_id == "4250_1"
    launcher.cancel(jobs)
    assert (slurm / "cancelled").read_text().split() == ["4250_0", "4250_1"]
    monkeypatch.setenv("FAKE_JOB", "4260")
    monkeypatch.setenv("STATE", "PENDING")
    waiting = launcher.submit(by_value(), [{"folder": "a"}, {"folder": "b"}])
    assert all(map(launcher.alive, waiting))


def test_no_slurm_here(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="has no srun"):
        SlurmLauncher(tmp_path, {})


def by_value():
    """Return a function that is sent whole: the job does not find the tests."""
    source = "def function(spec):\n    return {'score': float(spec['settings']['size'])}\n"
    scope = {"__name__": "__main__"}
    exec(source, scope)
    return scope["function"]
