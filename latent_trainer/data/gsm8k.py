"""GSM8K: grade-school word problems (Cobbe et al. 2021)."""

import re
from pathlib import Path

from latent_trainer.data.files import carve, field, read_jsonl
from latent_trainer.errors import InputError, check_choice
from latent_trainer.problem import Problem

HUB_ID = "openai/gsm8k"
EQUATION = re.compile(r"<<([^<>]*)>>")


def load(
    split: str, path: str | None = None, seed: int = 0, test_path: str | None = None, steps: str = "equations"
) -> list[Problem]:
    """Load GSM8K from the Hub, or from local ``.jsonl`` files of the same rows.

    Args:
        split: train and validation are carved from the published train rows, test is the published test set.
        path: the published ``train.jsonl``; None downloads ``openai/gsm8k``.
        seed: decides which train rows are held out for validation.
        test_path: the published ``test.jsonl``; by default the file of that name beside ``path``.
        steps: "equations" keeps the ``<<a=b>>`` annotations as steps, "text" the sentences without them.

    Raises:
        ValueError: a malformed row; names file and line.
    """
    check_choice("steps", steps, ("equations", "text"))
    if split == "test":
        file = None if path is None else str(test_path or Path(path).with_name("test.jsonl"))
        return [_problem(row, place, steps) for row, place in _rows("test", file)]
    return carve([_problem(row, place, steps) for row, place in _rows("train", path)], split, seed)


def _rows(split: str, path: str | None) -> list[tuple[dict, str]]:
    if path is not None:
        return read_jsonl(path)
    from datasets import load_dataset

    return [(row, f"{HUB_ID}/{split}:{number}") for number, row in enumerate(load_dataset(HUB_ID, "main", split=split))]


def _problem(row: dict, place: str, kind: str) -> Problem:
    solution, separator, answer = field(row, "answer", place).rpartition("####")
    if not separator or not answer.strip():
        raise InputError(f"{place}: the answer does not end in '#### value'")
    if kind == "equations":
        steps = [f"<<{equation}>>" for equation in EQUATION.findall(solution)]
    else:
        steps = [EQUATION.sub("", line).strip() for line in solution.splitlines() if line.strip()]
    name = f"{Path(place.rpartition(':')[0]).name}:{place.rpartition(':')[2]}"
    return Problem(field(row, "question", place), tuple(steps), answer.strip().replace(",", ""), name)
