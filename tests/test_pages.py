"""Every code block of the user pages runs as printed, on tiny models and few steps; what cannot says why, and is counted.

A comment before a block says where it runs (``<!-- run by tests/FILE -->``, a test that reads the page) or why it does not
(``<!-- not run: REASON -->``). A block that begins with ``# NAME.yaml`` or ``# NAME.py`` is a file that later blocks use.
"""

import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from forked_python import forked_python

ROOT = Path(__file__).resolve().parents[1]
PAGES = {str(path.relative_to(ROOT)): path for path in sorted((ROOT / "docs").rglob("*.md")) if path.name != "log.md"}
BLOCK = re.compile(r"(?:<!-- (?P<mark>[^\n]*) -->\n+)?```(?P<language>\w+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
REASONS = ("network", "weights", "GPU", "server", "time")
NOT_RUN = 15  # blocks; a page that adds one says so here
MODEL = "runs/tiny/arithmetic-coconut"
SHORT = {
    "train": "--max_steps 2 --first_stage 3 --eval_steps 2 --max_train_problems 64 --max_eval_problems 8",
    "evaluate": "--max_eval_problems 8",
    "reinforce": "--max_steps 1 --per_device_train_batch_size 8 --max_train_problems 16 --use_cpu true",
    "reward": "--max_train_problems 60 --max_eval_problems 8",
    "audit": "--max_eval_problems 24 --most 8",
    "probe": "--max_eval_problems 24 --most 8",
}


@dataclass
class Block:
    """A code block, its language and the comment before it."""

    mark: str
    language: str
    text: str

    @property
    def file(self) -> str | None:
        """Return the name of the file that the block is."""
        named = re.match(r"file .*/([\w.]+)", self.mark) or re.match(r"# ([\w-]+\.(?:ya?ml|py))\n", self.text)
        return named[1] if named else None

    @property
    def runs_here(self) -> bool:
        """Return whether this file runs the block."""
        return self.language in ("bash", "python") and not self.file and not self.mark.startswith(("run by", "not run"))


def blocks(page: str) -> list[Block]:
    """Return the blocks of a page that are in a language."""
    return [Block(one["mark"] or "", one["language"], one["text"]) for one in BLOCK.finditer(PAGES[page].read_text())]


def run(words: list[str], place: Path) -> str:
    """Return what a Python program prints; it must end well."""
    done = subprocess.run([forked_python(), *words], cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def run_command(line: str, place: Path) -> None:
    """Run a line of a shell in a process of its own, with fewer steps and problems where it trains or evaluates."""
    words = shlex.split(line, comments=True)
    target = None
    if ">" in words:
        words, target = words[: words.index(">")], place / words[-1]
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:.*##", (ROOT / "Makefile").read_text(), re.MULTILINE), line
        return
    if words[:3] == ["python", "-m", "pytest"]:
        run(["-m", "pytest", "-q", "-p", "no:cacheprovider", *words[3:]], place)
        return
    if words[:2] == ["accelerate", "launch"]:  # one process; several run in tests/distributed
        script = next(word for word in words if word.startswith("recipes/") and word.endswith(".py"))
        assert (ROOT / words[words.index("--config_file") + 1]).is_file() and (ROOT / script).is_file()
        words = ["latent-trainer", Path(script).stem, *words[words.index(script) + 1 :]]
    assert words[0] == "latent-trainer", f"no way to run: {line}"
    printed = run(["-m", "latent_trainer", *words[1:], *SHORT.get(words[1], "").split()], place)
    if target:
        target.write_text(printed)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder with what the pages speak of: a trained model, records, files of problems."""
    place = tmp_path_factory.mktemp("pages")
    run_command(f"latent-trainer train --config recipes/tiny/arithmetic-coconut.yaml --output_dir {MODEL}", place)
    (place / "runs" / "demo").mkdir()
    for name in ("latent", "pause"):
        (place / "runs" / "demo" / name).symlink_to(place / MODEL)
    for name in ("a", "b"):
        run_command(f"latent-trainer evaluate --model {MODEL} --dataset arithmetic --output results/{name}.json", place)
    for split in ("train", "test"):
        words = f"latent-trainer data export --dataset arithmetic --split {split} --size 60 --output {split}.jsonl"
        run_command(words, place)
    return place


@pytest.fixture
def names(place, monkeypatch):
    """Return names that Python blocks may use, in the folder of the pages."""
    import numpy
    from transformers import AutoTokenizer

    monkeypatch.chdir(place)
    return {"numpy": numpy, "tokenizer": AutoTokenizer.from_pretrained(MODEL)}


RUN = [page for page in PAGES if any(block.runs_here for block in blocks(page))]


@pytest.mark.parametrize("page", RUN)
def test_page(page, place, names, tmp_path):
    if page == "docs/start.md":  # it trains the model that the others find trained
        place = tmp_path
    for block in blocks(page):
        if block.file:
            (place / block.file).write_text(block.text)
        elif block.runs_here and block.language == "python":
            exec(compile(block.text, page, "exec"), names)
        elif block.runs_here:
            for line in block.text.splitlines():
                run_command(line, place)


def test_every_block_runs_or_says_why_not():
    every = [(page, block) for page in PAGES for block in blocks(page)]
    assert len(RUN) >= 8 and sum(block.runs_here for _, block in every) >= 20
    for page, block in every:
        assert block.language in ("bash", "python", "yaml", "toml", "json", "text"), f"{page}: ```{block.language}"
        if block.mark.startswith("run by "):
            test = ROOT / block.mark.removeprefix("run by ")
            assert f'"{Path(page).name}"' in test.read_text() or page in test.read_text(), (
                f"{page}: {test.name} does not read it"
            )
    left = [(page, block.mark) for page, block in every if block.mark.startswith("not run")]
    for page, mark in left:
        reason, _, test = mark.removeprefix("not run: ").partition("; ")
        assert reason in REASONS, f"{page}: {mark}"
        assert not test or (ROOT / test.removesuffix(" does the same")).is_file(), f"{page}: {mark}"
    assert len(left) == NOT_RUN, left
