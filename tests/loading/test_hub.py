"""Data sets of the Hub, from folders that stand for its repositories: rows, splits, and names that stay the same."""

import json

import datasets
import pytest

from latent_trainer.data import as_problems, load_problems
from latent_trainer.data.sources import gsm8k, gsm8k_aug, gsm8k_aug_nl


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Return a function that writes a repository of a data set and has a module load it."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)

    def write(module, config: str, parts: dict[str, list[dict]]) -> None:
        folder = tmp_path / "me" / "data"
        folder.mkdir(parents=True)
        lines = [f"  - split: {part}\n    path: {part}.jsonl" for part in parts]
        (folder / "README.md").write_text(
            f"---\nconfigs:\n- config_name: {config}\n  data_files:\n" + "\n".join(lines) + "\n---\n"
        )
        for part, rows in parts.items():
            (folder / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        monkeypatch.setattr(module, "HUB_ID", str(folder))

    return write


def test_gsm8k(repository):
    rows = [{"question": f"q {n}", "answer": f"a <<1+{n}={n + 1}>>\n#### {n + 1},000"} for n in range(30)]
    repository(gsm8k, "main", {"train": rows[:20], "test": rows[20:]})
    parts = {split: as_problems(load_problems("gsm8k", split)) for split in ("train", "validation", "test")}
    assert {split: len(own) for split, own in parts.items()} == {"train": 19, "validation": 1, "test": 10}
    last = parts["test"][-1]
    assert (last.question, last.steps, last.answer, last.id) == ("q 29", ("<<1+29=30>>",), "30000", "test:9")


@pytest.mark.parametrize(("name", "module"), [("gsm8k_aug", gsm8k_aug), ("gsm8k_aug_nl", gsm8k_aug_nl)])
def test_gsm8k_aug(repository, name, module):
    steps = ["<<1+1=2>>", ""] if name == "gsm8k_aug" else ["He has 2."]
    rows = {part: [{"question": part, "steps": steps, "answer": "1,002"}] for part in ("train", "validation", "test")}
    repository(module, "default", rows)
    for split in rows:
        (problem,) = as_problems(load_problems(name, split))
        assert (problem.question, problem.steps, problem.answer) == (split, tuple(steps[:1]), "1002")
        assert problem.id.endswith(f"me/data/{split}:0")
