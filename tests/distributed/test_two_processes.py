"""Two real processes (gloo, on the CPU) train and evaluate exactly like one with the same global batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from train_and_evaluate import RUNS, run

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.distributed


def launch(config: str, *words) -> None:
    """Run a script in two processes with an accelerate configuration as it is shipped."""
    launcher = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--config_file",
        str(ROOT / "accelerate_configs" / config),
    ]
    command = [*launcher, "--num_processes", "2", "--main_process_port", "0", *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[Path, Path]:
    """Return the folders of the runs with one and with two processes."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    launch("cpu.yaml", Path(__file__).with_name("train_and_evaluate.py"), two, 4)
    run(one, 8)
    return one, two


@pytest.fixture(scope="module")
def records(folders) -> tuple[dict, dict]:
    """Return what one and what two processes wrote down."""
    one, two = (json.loads((folder / "record.json").read_text()) for folder in folders)
    assert (one["processes"], two["processes"]) == (1, 2)
    return one, two


def timeless(history: list[dict]) -> list[dict]:
    """Return a history without what a clock says."""
    entries = [entry for entry in history if "train_runtime" not in entry]
    return [{name: value for name, value in entry.items() if "seconds" not in name} for entry in entries]


@pytest.mark.parametrize("name", [*RUNS, *(f"{name}, one problem" for name in RUNS)])
def test_histories(records, name):
    """Losses, gradient norms, stages and the metrics of every evaluation are the same."""
    one, two = (timeless(record[name]) for record in records)
    assert len(one) == len(two)
    for first, second in zip(one, two, strict=True):
        assert second == pytest.approx(first, rel=1e-5, abs=1e-7)


def test_what_was_compared(records):
    """Stages changed in every run, there were evaluations with generated answers, and gradients were not zero."""
    for name in RUNS:
        history = records[1][name]
        assert len({entry["stage"] for entry in history}) > 2, name
        assert {entry["eval_problems"] for entry in history if "eval_loss" in entry} == {7}, name
        assert all(entry["grad_norm"] > 1e-3 for entry in history if "loss" in entry), name
        assert records[1][f"{name}, one problem"][0]["eval_problems"] == 1


def test_resumed_in_the_middle_of_an_epoch(records):
    for record in records:
        assert timeless(record["resumed"]) == timeless(record["epochs"])


def test_evaluation_of_a_saved_model(folders):
    one, two = (json.loads((folder / "evaluation.json").read_text()) for folder in folders)
    assert one["problems"] == 7
    for name in ("accuracy", "accuracy_stderr", "tokens_written", "latents", "problems", "data_hash"):
        assert one[name] == two[name], name
