"""Two real processes evaluate like one, and one goes on where two were killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from forked_python import forked_python
from saved import evaluate, read, save_all, words

from latent_trainer.cli import main
from latent_trainer.evaluation.journal import Journal

ROOT = Path(__file__).resolve().parents[2]
NUMBER = 11  # in batches of 4: two processes have 6 and 5 problems, and each a ragged last batch
RUNS = {
    "controls": {"controls": ["all"]},
    "samples": {"num_samples": 3, "temperature": 30.0, "top_p": 0.9},
    "killed": {"controls": ["noise"]},
}
pytestmark = pytest.mark.distributed


def run(folder: Path) -> None:
    """Make all of ``RUNS`` in this process of several; in the last, the processes die once each has written a batch."""
    for name, options in RUNS.items():
        if name == "killed":
            Journal.append = dying(Journal.append)
        main("evaluate", words(folder, folder / "two" / f"{name}.json", **options))


def dying(append):
    """Return a `Journal.append` that kills its process after the first batch, but waits for a part of the other one."""

    def write(journal, answers, process=0):
        append(journal, answers, process)
        until = time.monotonic() + 120
        while len({place.name[-1] for place in journal.path.parent.glob("*.part-*")}) < 2 and time.monotonic() < until:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)

    return write


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with models, problems and the records of two processes."""
    folder = tmp_path_factory.mktemp("two")
    save_all(folder, NUMBER)
    command = [forked_python(), "-m", "accelerate.commands.launch"]
    command += ["--config_file", ROOT / "accelerate_configs" / "cpu.yaml"]
    command += ["--num_processes", "2", "--main_process_port", "0", Path(__file__), folder]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), str(ROOT)])}
    done = subprocess.run(
        [str(word) for word in command], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode != 0 and "SIGKILL" in done.stderr, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


@pytest.mark.parametrize("name", ["controls", "samples"])
def test_two_processes_equal_one(folder, name):
    found = read(folder / "two" / f"{name}.json")
    assert found == evaluate(folder, folder / "one" / f"{name}.json", **RUNS[name])
    assert found[0]["problems"] == NUMBER


def test_one_process_goes_on_where_two_were_killed(folder):
    output = folder / "two" / "killed.json"
    parts = sorted(output.with_suffix(".answers").iterdir())
    assert not output.exists() and {place.name[-1] for place in parts} == {"0", "1"}
    kept = {json.loads(line)["id"] for place in parts for line in place.read_text().splitlines()[1:]}
    assert 4 <= len(kept) < NUMBER
    assert evaluate(folder, output, **RUNS["killed"]) == evaluate(folder, folder / "one" / "killed.json", **RUNS["killed"])


if __name__ == "__main__":
    run(Path(sys.argv[1]))
