"""A tiny run as a process of its own, so that it can be killed, starved and damaged."""

import os
import signal
import subprocess
import time
from pathlib import Path

import torch
import yaml
from conftest import make_base
from forked_python import forked_python
from training import make_tokenizer

ROOT = Path(__file__).resolve().parents[2]
RECIPE = {
    "dataset": "arithmetic",
    "dataset_options": {"size": 60, "operations": 3},
    "template": "plain",
    "per_device_train_batch_size": 8,
    "max_steps": 40,
    "steps_per_stage": 9,
    "save_steps": 4,
    "save_total_limit": 3,
    "logging_steps": 1,
    "report_to": "none",
    "disable_tqdm": True,
    "use_cpu": True,
}


def write_recipe(folder: Path, **changes) -> Path:
    """Write a tiny base model and a recipe that trains it; return the recipe."""
    make_base(vocab_size=len(make_tokenizer()), dtype=torch.float32).save_pretrained(folder / "base")
    make_tokenizer().save_pretrained(folder / "base")
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({**RECIPE, "model_name_or_path": str(folder / "base"), **changes}))
    return path


def start(recipe: Path, output: Path, *words: str, processes: int = 1) -> subprocess.Popen:
    """Start ``recipes/train.py`` in a process, or in several under ``accelerate launch``."""
    launcher = [forked_python()]
    if processes > 1:
        launcher += ["-m", "accelerate.commands.launch", "--config_file", str(ROOT / "accelerate_configs" / "cpu.yaml")]
        launcher += ["--num_processes", str(processes), "--main_process_port", "0"]
    return subprocess.Popen(
        [*launcher, str(ROOT / "recipes" / "train.py"), "--config", str(recipe), "--output_dir", str(output), *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for(condition, process: subprocess.Popen, seconds: float = 180) -> None:
    """Wait until a condition holds; the process must be alive until then."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[0][-2000:]
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def finish(process: subprocess.Popen, seconds: float = 300) -> tuple[int, str]:
    """Return the exit status and what was printed; a process that hangs is killed and fails the test."""
    try:
        printed, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise AssertionError("the run hangs: " + process.communicate()[0][-2000:]) from None
    return process.returncode, printed
