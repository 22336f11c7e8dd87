"""How launched processes end: out of their group before Python does, and with the reason in the launcher's last lines."""

import os
import subprocess
from pathlib import Path

import pytest
from forked_python import forked_python

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = ("-m", "accelerate.commands.launch", "--num_processes", "2", "--main_process_port", "0")
pytestmark = pytest.mark.distributed

# What is registered first is called last: after everything the library does when the program ends.
LAST = """
import atexit, contextlib, os
from accelerate import PartialState
from torch import distributed
def say(when):  # in one write, for two processes speak at once
    os.write(1, f"in a group{when}: {distributed.is_initialized()}\\n".encode())
atexit.register(say, " at the end")
PartialState(cpu=True)
say("")
"""
DOORS = {
    "training": "from latent_trainer import LatentTrainingArguments\nLatentTrainingArguments('out', report_to='none')",
    "evaluation": "from latent_trainer.evaluation.evaluator import Evaluator\n"
    "with contextlib.suppress(AttributeError):\n    Evaluator(None, None, [], 0, 0, 1, 1)",
    "nothing of the library": "",
}


def run(folder: Path, program: str, *words, launcher=()) -> subprocess.CompletedProcess:
    """Run a program, by itself or under a launcher."""
    (folder / "program.py").write_text(program)
    command = [forked_python(), *launcher, folder / "program.py", *words]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "MASTER_ADDR": "127.0.0.1"}
    return subprocess.run(
        list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.parametrize("door", DOORS)
def test_the_group_is_left_before_python_ends(tmp_path, door):
    """Threads of gloo that free a tensor later than that abort the process; stock torch stays in the group."""
    done = run(tmp_path, LAST + DOORS[door], launcher=[*LAUNCH, "--config_file", ROOT / "accelerate_configs" / "cpu.yaml"])
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("in a group: True") == 2
    assert done.stdout.count(f"in a group at the end: {not DOORS[door]}") == 2


FAILURES = {
    "refused": ("train", "InputError('this clashes with that')", "latent-trainer: this clashes with that", "2"),
    "cannot go on": ("train", "TrainingError('a loss\\nof nan')", "latent-trainer: a loss of nan", "1"),
    "not foreseen": ("train", "KeyError('what nobody caught')", "KeyError: 'what nobody caught'", "1"),
    "no such command": ("trian", "None", "'trian'", "2"),
}


@pytest.mark.parametrize("why", FAILURES)
def test_the_last_lines_say_why(tmp_path, why):
    """One rank fails and the other waits for it: the launcher ends with what the failing rank said."""
    command, error, line, status = FAILURES[why]
    program = f"""
import os, sys, time
from latent_trainer.cli import main, train
from latent_trainer.errors import InputError, TrainingError
def run(argv):
    if os.environ["RANK"] == "0":
        time.sleep(100)
    raise {error}
train.run = run
main("{command}", [])
"""
    done = run(tmp_path, program, launcher=[*LAUNCH, "--config_file", ROOT / "accelerate_configs" / "cpu.yaml"])
    assert done.returncode == 1
    root = [one for one in done.stderr.partition("Root Cause")[2].splitlines() if one.strip()]
    assert line in root[-2] and set(root[-1]) == {"="}, root
    assert any(part.split()[:3] == ["exitcode", ":", status] for part in root)
    assert "Traceback" not in "".join(root) or why == "not foreseen"


def test_without_a_launcher_nothing_is_written(tmp_path):
    done = run(tmp_path, "from latent_trainer.cli import main\nmain('trian', [])")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["program.py"]
