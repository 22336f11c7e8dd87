"""The result record: what was measured, on what, with what."""

import hashlib
import json
import platform
import resource
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import torch

from latent_trainer.data.problem import Problem
from latent_trainer.local_names import without_folders
from latent_trainer.whole_files import write_json

PACKAGES = ("latent_trainer", "torch", "transformers", "accelerate", "datasets", "peft")


def write_record(path: str, metrics: dict, config: dict, problems: list[Problem] | None = None) -> dict:
    """Write metrics with all that is needed to reproduce them, in one piece, and return the record.

    Args:
        path: JSON file; written under a temporary name and renamed.
        metrics: what was measured.
        config: the settings of the run.
        problems: what it was measured on; the record keeps a hash.
    """
    record = {**metrics, "config": without_folders(config), **environment()}
    if problems is not None:
        record["data_hash"] = data_hash(problems)
    write_json(path, record, indent=2, sort_keys=True)
    return record


def environment() -> dict:
    """Return versions, device, git commit and date."""
    return {
        "versions": {name: version(name) for name in PACKAGES} | {"python": platform.python_version()},
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu, {torch.get_num_threads()} threads",
        "git_commit": _git("rev-parse", "HEAD"),
        "git_dirty": bool(_git("status", "--porcelain", "--", ":/", ":(top,exclude)results")),
        "date": time.strftime("%Y-%m-%d"),
    }


def peak_memory() -> float:
    """Return the most memory this process has held, in GB: of the accelerator where there is one, else resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def data_hash(problems: list[Problem]) -> str:
    """Return the SHA-256 of problems in order."""
    digest = hashlib.sha256()
    for problem in problems:
        digest.update(json.dumps([problem.question, problem.steps, problem.answer]).encode())
        digest.update(problem.check.encode())
    return digest.hexdigest()


def _git(*words: str) -> str | None:
    """Return a git command's output for the library's own checkout, None where it is not one."""
    try:
        done = subprocess.run(["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    except FileNotFoundError:  # no git on this machine
        return None
    return done.stdout.strip() if done.returncode == 0 else None
