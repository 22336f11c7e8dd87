"""Real processes, killed, stopped and starved; each goes on from where it was and ends like a run nothing happened to."""

import contextlib
import json
import os
import random
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from processes import finish, start, wait_for, write_recipe
from safetensors.torch import load_file

from latent_trainer.cli import main
from latent_trainer.training.checkpoints import checkpoints, fault

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    """Return the recipe of a tiny run of forty steps."""
    return write_recipe(tmp_path_factory.mktemp("recipe"))


@pytest.fixture(scope="module")
def whole(recipe, tmp_path_factory) -> Path:
    """Return the folder of a run that nothing happened to."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    main("train", ["--config", str(recipe), "--output_dir", str(folder)])
    return folder


def assert_same(folder: Path, whole: Path) -> None:
    """Assert that a run ended with the weights and the losses of another, bit for bit, and left only whole checkpoints."""
    first, second = (load_file(one / "model.safetensors") for one in (folder, whole))
    assert all((first[name] == value).all() for name, value in second.items())
    histories = [json.loads((one / "trainer_state.json").read_text())["log_history"] for one in (folder, whole)]
    losses = [[(row["step"], row["loss"]) for row in history if "loss" in row] for history in histories]
    assert losses[0] == losses[1] and len(losses[1]) == 40
    assert [fault(one) for one in checkpoints(folder)] == [None] * 3


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_kill_nine(recipe, whole, tmp_path, seed):
    """SIGKILL at a random moment after the first step loses at most the steps since the last checkpoint."""
    process = start(recipe, tmp_path / "run")
    wait_for(lambda: (tmp_path / "run").is_dir(), process)
    time.sleep(random.Random(seed).uniform(0.0, 1.5))
    alive = process.poll() is None
    with contextlib.suppress(ProcessLookupError):  # it may have ended by itself
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    before = [one for one in checkpoints(tmp_path / "run") if fault(one) is None]
    assert len(before) == len(checkpoints(tmp_path / "run"))  # a name stands for a whole checkpoint
    if alive:
        code, printed = finish(start(recipe, tmp_path / "run", "--resume_from_checkpoint", "true"))
        assert code == 0, printed[-2000:]
    assert_same(tmp_path / "run", whole)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped(recipe, whole, tmp_path, number):
    """The run saves a checkpoint, says how to go on, and the command it prints ends it like one that was not stopped."""
    process = start(recipe, tmp_path / "run")
    wait_for(lambda: (tmp_path / "run" / "checkpoint-4").is_dir(), process)
    process.send_signal(number)
    code, printed = finish(process)
    assert code == 128 + number, printed[-2000:]
    step = int(re.search(rf"stopped by {signal.Signals(number).name} after step (\d+), checkpoint saved", printed)[1])
    assert fault(tmp_path / "run" / f"checkpoint-{step}") is None and 4 < step < 40
    assert not (tmp_path / "run" / "model.safetensors").exists()
    command = shlex.split(re.search(r"go on with: latent-trainer (.*)", printed)[1])
    main(command[0], command[1:])
    first, second = (load_file(one / "model.safetensors") for one in (tmp_path / "run", whole))
    assert all((first[name] == value).all() for name, value in second.items())


def test_two_processes_stopped(recipe, whole, tmp_path):
    """Every rank stops after the same step."""
    changes = ("--per_device_train_batch_size", "4")
    process = start(recipe, tmp_path / "run", *changes, processes=2)
    wait_for(lambda: (tmp_path / "run" / "checkpoint-4").is_dir(), process)
    process.send_signal(signal.SIGTERM)
    _, printed = finish(process)
    step = int(re.search(r"stopped by SIGTERM after step (\d+), checkpoint saved", printed)[1])
    assert fault(tmp_path / "run" / f"checkpoint-{step}") is None
    code, printed = finish(start(recipe, tmp_path / "run", *changes, "--resume_from_checkpoint", "true", processes=2))
    assert code == 0, printed[-2000:]
    histories = [json.loads((one / "trainer_state.json").read_text())["log_history"] for one in (tmp_path / "run", whole)]
    losses = [[row["loss"] for row in history if "loss" in row] for history in histories]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_dead_rank(recipe, tmp_path):
    """One of two ranks is killed: the other ends with an error instead of waiting, and the run can go on."""
    changes = ("--per_device_train_batch_size", "4", "--max_steps", "400")
    process = start(recipe, tmp_path / "run", *changes, processes=2)
    wait_for(lambda: (tmp_path / "run" / "checkpoint-4").is_dir(), process)
    running = psutil.process_iter(["cmdline"])
    ranks = [one for one in running if str(tmp_path / "run") in (one.info["cmdline"] or ()) and one.pid != process.pid]
    assert len(ranks) == 2, ranks
    ranks[1].kill()
    code, printed = finish(process, seconds=120)
    assert code != 0 and "Signal 9" in printed, printed[-2000:]
    assert all(fault(one) is None for one in checkpoints(tmp_path / "run"))


def test_two_runs(recipe, tmp_path):
    """A second run in the folder of one that trains ends at once with one line; the first goes on."""
    first = start(recipe, tmp_path / "run")
    wait_for(lambda: (tmp_path / "run" / "checkpoint-4").is_dir(), first)
    code, printed = finish(start(recipe, tmp_path / "run", "--resume_from_checkpoint", "true"))
    assert first.poll() is not None or (code == 2 and "another run is training" in printed), printed[-2000:]
    code, printed = finish(first)
    assert code == 0, printed[-2000:]


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_full_disk(recipe, whole, tmp_path):
    """The file system of the run is full at the second checkpoint; with more room the run goes on."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1200k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this machine does not let a test mount a tmpfs")
    try:
        code, printed = finish(start(recipe, disk / "run"))
        assert code == 1, printed[-2000:]
        assert re.search(r"cannot save the checkpoint of step \d+: .*last good checkpoint is .*checkpoint-\d+", printed)
        assert all(fault(one) is None for one in checkpoints(disk / "run")) and checkpoints(disk / "run")
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        code, printed = finish(start(recipe, disk / "run", "--resume_from_checkpoint", "true"))
        assert code == 0, printed[-2000:]
        assert_same(disk / "run", whole)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
