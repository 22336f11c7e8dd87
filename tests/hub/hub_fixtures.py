"""Fixtures of the Hub's tests: a Hub on loopback and trained folders."""

from pathlib import Path

import pytest
import torch
from conftest import make_base, sharpen
from hub_machines import enter
from hub_server import Repository, loopback_hub
from peft import LoraConfig
from transformers import AutoModelForCausalLM

from latent_trainer import LatentForCausalLM, LatentTrainer, LatentTrainingArguments, load_problems
from latent_trainer.cli import main
from latent_trainer.data.tokenizer import train_tokenizer

ROOT = Path(__file__).resolve().parents[2]


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


@pytest.fixture(scope="session")
def trained(server, tmp_path_factory):
    """Folders training left: "full", from a recipe and evaluated with controls, and "adapter", LoRA on me/base."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as monkeypatch:
        enter(server, monkeypatch, folder)
        full = str(folder / "full")
        argv = [
            "--config",
            str(ROOT / "recipes/tiny/arithmetic-coconut.yaml"),
            "--output_dir",
            full,
            "--max_steps",
            "4",
            "--first_stage",
            "2",
        ]
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
    base = sharpen(make_base("gpt2", vocab_size=len(tokenizer), dtype=torch.float32))
    base.save_pretrained(folder / "base")
    server.repositories["me/base"] = repository = Repository()
    card = b"---\nlicense: mit\n---\n# base\n"
    repository.add({path.name: path.read_bytes() for path in (folder / "base").iterdir()} | {"README.md": card})
    base = AutoModelForCausalLM.from_pretrained("me/base", cache_dir=folder / "cache")
    model = LatentForCausalLM.from_base(base, tokenizer=tokenizer)
    args = LatentTrainingArguments(
        str(folder / "adapter"),
        method="codi",
        num_latents=2,
        learning_rate=1e-3,
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
