"""Data sets of the Hub, from folders that stand for its repositories: rows, splits, and names that stay the same."""

import json
from dataclasses import replace

import datasets
import pytest

from latent_trainer.data import as_problems, load_problems
from latent_trainer.data.published import HUB
from latent_trainer.errors import InputError


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Return a function that writes a repository and has a data set load it instead of its own."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)

    def write(name: str, parts: dict[str, list[dict]]) -> None:
        folder = tmp_path / "me" / "data"
        folder.mkdir(parents=True)
        readme = "---\nconfigs:\n"
        for config in HUB[name].configs:
            readme += f"- config_name: {config or 'default'}\n  data_files:\n"
            for part, rows in parts.items():
                own = [row for row in rows if row.get("type", config) == config]
                file = f"{config}-{part}.jsonl"
                (folder / file).write_text("".join(json.dumps(row) + "\n" for row in own))
                readme += f"  - split: {part}\n    path: {file}\n"
        (folder / "README.md").write_text(readme + "---\n")
        monkeypatch.setitem(HUB, name, replace(HUB[name], name=str(folder)))

    return write


def test_gsm8k(repository):
    rows = [{"question": f"q {n}", "answer": f"a <<1+{n}={n + 1}>>\n#### {n + 1},000"} for n in range(30)]
    repository("gsm8k", {"train": rows[:20], "test": rows[20:]})
    parts = {split: as_problems(load_problems("gsm8k", split)) for split in ("train", "validation", "test")}
    assert {split: len(own) for split, own in parts.items()} == {"train": 19, "validation": 1, "test": 10}
    last = parts["test"][-1]
    assert (last.question, last.steps, last.answer, last.id) == ("q 29", ("<<1+29=30>>",), "30000", "test:9")


@pytest.mark.parametrize("name", ["gsm8k_aug", "gsm8k_aug_nl"])
def test_gsm8k_aug(repository, name):
    steps = ["<<1+1=2>>", ""] if name == "gsm8k_aug" else ["He has 2."]
    rows = {part: [{"question": part, "steps": steps, "answer": "1,002"}] for part in ("train", "validation", "test")}
    repository(name, rows)
    for split in rows:
        (problem,) = as_problems(load_problems(name, split))
        assert (problem.question, problem.steps, problem.answer) == (split, tuple(steps[:1]), "1002")
        assert problem.id.endswith(f"me/data/{split}:0")


ROWS = {  # a row of each repository, and what it is read as
    "aqua": ({"question": "{}", "options": ["A)1", "B)2"], "rationale": "r", "correct": "B"}, "B"),
    "math500": ({"problem": "{}", "solution": "s", "answer": "\\frac{1}{2}", "unique_id": "{}"}, "\\frac{1}{2}"),
    "multiarith": ({"question": "  {}", "final_ans": "18"}, "18"),
    "gsm_hard": ({"input": "{}", "code": "c", "target": -9867630.0}, "-9867630"),
    "svamp": ({"ID": "chal-{}", "Body": "b.", "Question": "{}", "Answer": "3.0", "Equation": "( 1.0 + 2.0 )"}, "3"),
    "aime_2024": ({"ID": "2024-I-{}", "Problem": "{}", "Solution": "s", "Answer": 33}, "33"),
    "aime_2026": ({"id": "{}", "problem": "{}", "answer": "033"}, "33"),
}


@pytest.mark.parametrize("key", ROWS)
def test_a_data_set_of_rows(repository, key):
    """Every split that is published loads, one that is not is refused with the file to give instead."""
    row, answer = ROWS[key]
    hub, name = HUB[key], key.partition("_20")[0]
    options = {"year": int(key[-4:])} if name == "aime" else {}
    parts = {part for own in hub.splits.values() for part in own}
    made = {
        part: [{k: v.replace("{}", f"{part}{n}") if isinstance(v, str) else v for k, v in row.items()} for n in range(30)]
        for part in parts
    }
    repository(key, made)
    for split in ("train", "validation", "test"):
        if split not in hub.splits and "train" not in hub.splits:
            with pytest.raises(InputError, match=f"no train rows on the Hub|no {split} rows on the Hub"):
                load_problems(name, split, **options)
            continue
        problems = as_problems(load_problems(name, split, **options))
        carved = "validation" not in hub.splits and split != "test"
        assert len(problems) == ({"train": 29, "validation": 1}[split] if carved else 30)
        assert {problem.answer for problem in problems} == {answer}
        assert len({problem.id for problem in problems}) == len(problems)


def test_all_rows_of_svamp(repository):
    """CODI's test set is both published splits."""
    row = {"Body": "b.", "Question": "q?", "Answer": "3.0", "Equation": "( 1.0 + 2.0 )"}
    repository("svamp", {part: [{**row, "ID": f"{part}-{n}"} for n in range(3)] for part in ("train", "test")})
    assert load_problems("svamp", "test", all_rows=True)["id"] == [
        f"{part}-{n}" for part in ("train", "test") for n in range(3)
    ]
    with pytest.raises(InputError, match="has no train rows on the Hub"):
        load_problems("svamp", "train", all_rows=True)


def test_math_of_all_subjects(repository):
    """A configuration a subject, one after the other; ids tell them apart."""
    rows = [{"problem": f"p {s}", "solution": "\\boxed{2}", "level": "Level 2", "type": s} for s in HUB["math"].configs]
    repository("math", {"train": rows, "test": rows})
    problems = as_problems(load_problems("math", "test"))
    assert [problem.family for problem in problems] == list(HUB["math"].configs)
    assert problems[0].id == "test-algebra:0" and len({problem.id for problem in problems}) == 7
