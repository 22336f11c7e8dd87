"""What README says runs: the tour, every command, every link and every path of the tree; its numbers come from results/."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import torch
from conftest import make_base
from forked_python import forked_python

from latent_trainer.cli import COMMANDS, main
from latent_trainer.data.generated import combinatorics, convex
from latent_trainer.data.tokenizer import train_tokenizer
from latent_trainer.methods.presets import METHODS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)


def blocks(language: str) -> list[str]:
    """Return the code blocks of a language."""
    return [text for kind, text in BLOCKS if kind == language]


def test_tour(tmp_path, monkeypatch, problems):
    """The five-minute tour runs as printed, on a tiny GPT-2 and the built-in problems instead of downloads."""
    (tour,) = blocks("python")
    tokenizer = train_tokenizer([" ".join([row["question"], *row["steps"], "###"]) for row in problems])
    make_base("gpt2", vocab_size=len(tokenizer), dtype=torch.float32).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    replaced = {
        '"openai-community/gpt2"': repr(str(tmp_path / "base")),
        '"gsm8k", split="train"': '"arithmetic", split="train", size=32',
        '"gsm8k", split="validation"': '"arithmetic", split="validation", size=8',
        "epochs_per_stage=3)": "epochs_per_stage=1, num_train_epochs=5, per_device_train_batch_size=16, log_level='error')",
    }
    for old, new in replaced.items():
        assert old in tour
        tour = tour.replace(old, new)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(tour, "README.md", "exec"), names)
    assert names["model"].config.stage == 4 and names["model"].config.num_latents == 6  # it was trained to think in six
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()


def test_commands(tmp_path, monkeypatch, capsys):
    """The three commands after the tour work one after the other, here with two steps."""
    commands = [line for line in blocks("bash")[1].splitlines() if line]
    assert len(commands) == 3
    monkeypatch.chdir(ROOT)
    folder = "runs/tiny/arithmetic-coconut"
    shorter = {
        "recipes/train.py": ["--max_steps", "2", "--eval_steps", "2", "--max_eval_problems", "8", "--log_level", "error"],
        "recipes/evaluate.py": ["--max_eval_problems", "8"],
        "latent-trainer": [],
    }
    for command in commands:
        words = [word.replace(folder, str(tmp_path / "run")) for word in shlex.split(command)]
        if words[0] == "accelerate":
            assert words[:2] == ["accelerate", "launch"]
            assert (ROOT / words[words.index("--config_file") + 1]).is_file()
            script = next(word for word in words if word.startswith("recipes/") and word.endswith(".py"))
            argv = words[words.index(script) + 1 :]
            if script == "recipes/train.py":
                argv += ["--output_dir", str(tmp_path / "run")]
            main(Path(script).stem, argv + shorter[script])
        else:
            main(words[1], words[2:])
    printed = capsys.readouterr().out
    assert "accuracy" in printed
    assert "7 +3 x7 -5" in printed


def test_make_targets():
    """The two commands and those of make help exist."""
    targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert re.findall(r"^make ([a-z-]+)", blocks("bash")[0], re.MULTILINE) == ["demo", "test"]
    assert {"demo", "test", "help", "lint", "format", "docs", "benchmark"} <= set(targets)


def test_methods_and_commands_are_listed():
    """The table of methods has a row for every preset, and no other; so have the commands."""
    assert set(re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE)) - {"method"} == set(METHODS)
    assert set(re.search(r"`latent-trainer \{([\w,]+)\}`", README)[1].split(",")) == set(COMMANDS)
    sections = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    assert set(METHODS) == set(re.findall(r"\(`(\w+)`\)", " ".join(re.findall(r"^## .*", sections, re.MULTILINE))))


def test_number_of_families():
    """README counts the generated families as they are."""
    assert f"{len(combinatorics.FAMILIES) + len(convex.FAMILIES)} generated families" in README


def test_links_and_tree():
    """Every relative link points to a file, and every name of the tree exists."""
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if not link.startswith("http"):
                assert (page.parent / link).exists(), f"{page.name}: {link}"
    folder = ROOT
    for line in blocks("")[-1].splitlines():
        folder = ROOT / "latent_trainer" if line.startswith("  ") else ROOT
        for name in line.split("#")[0].split():
            assert (folder / name).exists(), name


@pytest.mark.skipif(not (ROOT / "results" / "demo.json").exists(), reason="make demo has not been run in this checkout")
def test_numbers_come_from_results():
    """The generated parts of the pages are what docs/build.py writes."""
    done = subprocess.run(
        [forked_python(), "docs/build.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
