"""What README says runs: every command, its lines of Python, every link; numbers come from results/."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import torch
from conftest import make_base
from forked_python import forked_python

import latent_trainer
from latent_trainer.cli import COMMANDS, main
from latent_trainer.data.generated import combinatorics, convex
from latent_trainer.data.tokenizer import train_tokenizer
from latent_trainer.methods.presets import METHODS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHORT = "num_train_epochs=5, per_device_train_batch_size=16, log_level='error')"
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)


def blocks(language: str) -> list[str]:
    """Return the code blocks of a language."""
    return [text for kind, text in BLOCKS if kind == language]


def test_tour(tmp_path, monkeypatch, problems):
    """The program of docs/start.md runs as printed, on a tiny GPT-2 and the built-in problems instead of downloads."""
    page = (ROOT / "docs" / "start.md").read_text(encoding="utf-8")
    tour = re.search(r"<!-- run by tests/test_readme.py -->\n```python\n(.*?)```", page, re.DOTALL)[1]
    tokenizer = train_tokenizer([" ".join([row["question"], *row["steps"], "###"]) for row in problems])
    make_base("gpt2", vocab_size=len(tokenizer), dtype=torch.float32).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    replaced = {
        '"openai-community/gpt2"': repr(str(tmp_path / "base")),
        '"gsm8k", split="train"': '"arithmetic", split="train", size=32',
        '"gsm8k", split="validation"': '"arithmetic", split="validation", size=8',
        "epochs_per_stage=3)": f"epochs_per_stage=1, {SHORT}",
    }
    monkeypatch.chdir(tmp_path)
    names = run(tour, replaced, {})
    assert names["model"].config.stage == 4 and names["model"].config.num_latents == 6  # it was trained to think in six
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()


def test_program(tmp_path, monkeypatch, problems):
    """The lines of Python in README run as printed, with the names that docs/start.md gives them."""
    (lines,) = blocks("python")
    tokenizer = train_tokenizer([" ".join([row["question"], *row["steps"], "###"]) for row in problems])
    make_base("gpt2", vocab_size=len(tokenizer), dtype=torch.float32).save_pretrained(tmp_path / "base")
    replaced = {
        '"openai-community/gpt2"': repr(str(tmp_path / "base")),
        "epochs_per_stage=3)": f"epochs_per_stage=1, {SHORT}",
    }
    monkeypatch.chdir(tmp_path)
    given = {"tokenizer": tokenizer, "problems": problems.select(range(32))}
    names = run(lines, replaced, given | {name: getattr(latent_trainer, name) for name in latent_trainer.__all__})
    assert names["trainer"].state.global_step > 0


def run(code: str, replaced: dict[str, str], names: dict) -> dict:
    """Run a block with some of its texts replaced; return its names."""
    for old, new in replaced.items():
        assert old in code
        code = code.replace(old, new)
    exec(compile(code, "README.md", "exec"), names)
    return names


def test_commands(tmp_path, monkeypatch, capsys):
    """The three commands of the example work one after the other, here with two steps in the last stage."""
    commands = [line for line in blocks("bash")[2].splitlines() if line]
    assert [shlex.split(line)[:2] for line in commands] == [
        ["latent-trainer", name] for name in ("train", "generate", "evaluate")
    ]
    monkeypatch.chdir(tmp_path)
    shorter = {
        "train": "--max_steps 2 --first_stage 3 --eval_steps 2 --max_eval_problems 8 --log_level error",
        "evaluate": "--max_eval_problems 8",
        "generate": "",
    }
    for command in commands:
        words = shlex.split(command)
        main(words[1], [*words[2:], *shorter[words[1]].split()])
    printed = capsys.readouterr().out
    assert "accuracy" in printed and "what the latents do" in printed
    assert "7 +3 x7 -5" in printed


def test_every_block_is_known():
    """Installation, the two commands that set up everything, the example and pushing.

    tests/test_wheel.py and tests/hub/test_docs.py try the first and last; the second are how this test is run.
    """
    assert blocks("bash")[0] == "pip install .\n"
    assert [line.split("#")[0].strip() for line in blocks("bash")[1].splitlines()] == ["make demo", "make test"]
    assert len(blocks("bash")) == 4 and blocks("bash")[3].startswith("latent-trainer push ")
    assert len(BLOCKS) == len(blocks("bash")) + len(blocks("python"))


def test_make_targets():
    """Every target that README and the pages name exists."""
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    pages = [README, *(page.read_text(encoding="utf-8") for page in (ROOT / "docs").rglob("*.md"))]
    named = {target for page in pages for target in re.findall(r"(?:`|^)make ([a-z-]+)", page, re.MULTILINE)}
    assert {"demo", "test", "pretrained", "site", "benchmark"} <= named <= targets


def test_methods_and_commands_are_listed():
    """The tables of methods and of papers have a row for every preset, and no other; README names every command."""
    own = {name for name in METHODS if METHODS.origin(name) is None}
    page = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", page.partition("Below, one section")[0], re.MULTILINE)) - {"method"} == own
    assert own == set(re.findall(r"\(`(\w+)`\)", " ".join(re.findall(r"^## .*", page, re.MULTILINE))))
    papers = (ROOT / "docs" / "papers.md").read_text(encoding="utf-8")
    assert own == set(re.findall(r"^\| [^|]* \| `(\w+)` \|", papers, re.MULTILINE)) - {"method"}
    assert set(re.search(r"`latent-trainer\s\{([\w,]+)\}`", README)[1].split(",")) == set(COMMANDS)


def test_number_of_families():
    """README counts the generated families as they are."""
    assert f"{len(combinatorics.FAMILIES) + len(convex.FAMILIES)} generated families" in README


def test_links():
    """Every relative link points to a file."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    assert len(pages) > 20
    for page in pages:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if not link.startswith("http"):
                assert (page.parent / link).exists(), f"{page.name}: {link}"


@pytest.mark.skipif(not (ROOT / "results" / "demo.json").exists(), reason="make demo has not been run in this checkout")
def test_numbers_come_from_results():
    """The generated parts of the pages are what docs/build.py writes."""
    done = subprocess.run(
        [forked_python(), "docs/build.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
