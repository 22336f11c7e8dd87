"""Fixtures of the Hub's tests: a Hub on loopback, trained folders, and machines that have only some packages."""

import json
import os
import re
import subprocess
import sys
import venv
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
import transformers.utils.hub
from conftest import make_base
from packaging.requirements import Requirement
from peft import LoraConfig
from server import MY_TOKEN, Repository, loopback_hub
from transformers import AutoModelForCausalLM

from latent_trainer import LatentForCausalLM, LatentTrainer, LatentTrainingArguments, load_problems
from latent_trainer.cli import main
from latent_trainer.data.tokenizer import train_tokenizer

ROOT = Path(__file__).resolve().parents[2]
QUESTION = "7 +3 x7 -5"


@pytest.fixture(scope="session")
def server():
    """The Hub; it holds the plain base model me/base."""
    with loopback_hub() as hub:
        yield hub


@pytest.fixture
def hub(server, monkeypatch, tmp_path):
    """The Hub, with this process logged in to it and nothing asked yet."""
    enter(server, monkeypatch, tmp_path)
    yield server
    server.failures = []


def enter(server, monkeypatch, folder: Path) -> None:
    """Point this process at the Hub, as HF_ENDPOINT, HF_HOME, HF_HUB_DISABLE_XET and HF_TOKEN do for a fresh one."""
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(transformers.utils.hub, "_hf_api", None)
    monkeypatch.setenv("HF_TOKEN", MY_TOKEN)
    server.forget()


@pytest.fixture(scope="session")
def trained(server, tmp_path_factory):
    """Folders training left: "full", from a recipe and evaluated with controls, and "adapter", LoRA on me/base."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as monkeypatch:
        enter(server, monkeypatch, folder)
        full = str(folder / "full")
        argv = ["--config", str(ROOT / "recipes/tiny/arithmetic-coconut.yaml"), "--output_dir", full, "--max_steps", "4"]
        argv += ["--eval_steps", "2", "--logging_steps", "1", "--max_eval_problems", "8", "--max_train_problems", "64"]
        main("train", [*argv, "--log_level", "error", "--disable_tqdm", "true", "--save_strategy", "no"])
        data = ["--dataset", "arithmetic", "--dataset_options", '{"operations": 3}', "--max_eval_problems", "8"]
        controls = ["--num_latents", "2", "--controls", "zero", "shuffle"]
        main("evaluate", ["--model", full, *data, *controls, "--output", full + ".json"])
        train_adapter(server, folder)
    return folder


def train_adapter(server, folder: Path) -> None:
    """Train LoRA, the thought tokens' rows and a projection on a base model of the Hub."""
    problems = load_problems("arithmetic", "train", size=32, operations=3)
    tokenizer = train_tokenizer([" ".join([row["question"], *row["steps"], "###", row["answer"]]) for row in problems])
    make_base("gpt2", vocab_size=len(tokenizer), dtype=torch.float32).save_pretrained(folder / "base")
    server.repositories["me/base"] = repository = Repository()
    card = b"---\nlicense: mit\n---\n# base\n"
    repository.add({path.name: path.read_bytes() for path in (folder / "base").iterdir()} | {"README.md": card})
    base = AutoModelForCausalLM.from_pretrained("me/base", cache_dir=folder / "cache")
    model = LatentForCausalLM.from_base(base, tokenizer=tokenizer)
    args = LatentTrainingArguments(
        str(folder / "adapter"),
        method="codi",
        num_latents=2,
        learning_rate=0.05,
        max_new_tokens=5,
        max_steps=3,
        report_to="none",
        disable_tqdm=True,
        save_strategy="no",
        per_device_train_batch_size=8,
    )
    trainer = LatentTrainer(
        model, args, train_dataset=problems, processing_class=tokenizer, peft_config=LoraConfig(r=2, lora_alpha=8)
    )
    trainer.train()
    trainer.save_model()
    trainer.save_state()


def clean_machine(folder: Path, *packages: str) -> Path:
    """Return the Python of a virtual environment that has these packages and what they require, and nothing else.

    Their files are linked, not copied, so it is made in a second and a later session finds it ready.
    """
    python = folder / "bin" / "python"
    if (folder / "ready").exists():
        return python
    venv.create(folder, with_pip=False, clear=True, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    seen, waiting = set(), list(packages)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            found = distribution(name)
        except PackageNotFoundError:  # an optional requirement that is not installed here either
            continue
        wanted = [Requirement(text) for text in found.requires or ()]
        waiting += [one.name for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
        for top in {file.parts[0] for file in found.files or ()}:
            source, link = Path(found.locate_file(top)), site / top
            if not top.startswith(("..", "__pycache__")) and not top.endswith(".pth") and not link.exists():
                link.symlink_to(source, target_is_directory=source.is_dir())
    (folder / "ready").touch()
    return python


def environment(server, folder: Path) -> dict[str, str]:
    """Return the environment of a fresh process that is logged in to the Hub."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHON", "TRANSFORMERS_"))}
    settings = {"HF_ENDPOINT": server.url, "HF_HOME": str(folder / "home"), "HF_TOKEN": MY_TOKEN}
    return kept | settings | {"HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def run_program(program: str, *words: str, python=sys.executable, server, folder: Path, library: bool) -> dict:
    """Run a program in a fresh process and return the JSON of its last line; without the library it cannot be imported."""
    path = {"PYTHONPATH": str(ROOT)} if library else {}
    done = subprocess.run(
        [str(python), "-c", program, *words],
        env=environment(server, folder) | path,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert MY_TOKEN not in done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])
