"""A user's own problems: one JSON object a line, with question, steps and answer."""

import json
import random
from pathlib import Path

from latent_trainer.errors import InputError
from latent_trainer.problem import Problem

VALIDATION_SHARE = 0.05


def load(split: str, path: str | None = None, seed: int = 0, test_path: str | None = None) -> list[Problem]:
    """Read problems from ``path``; validation is carved from it with a fixed seed, test comes from ``test_path``.

    Args:
        split: train, validation or test.
        path: a ``.jsonl`` file with ``question``, ``answer`` and optionally ``steps`` (a list of texts) and ``id``.
        seed: decides which rows are held out for validation.
        test_path: the file of the test split; without it ``test`` reads all of ``path``.

    Raises:
        ValueError: no path, a malformed line or a row without an answer; names file and line.
        FileNotFoundError: the file does not exist.
    """
    if path is None:
        raise InputError("dataset 'jsonl' needs a file; give dataset_path")
    if split == "test":
        return [_problem(row, place) for row, place in read_jsonl(test_path or path)]
    return carve([_problem(row, place) for row, place in read_jsonl(path)], split, seed)


def read_jsonl(path: str) -> list[tuple[dict, str]]:
    """Return the objects of a ``.jsonl`` file with the place of each, "file:line".

    Raises:
        ValueError: a line that is not a JSON object.
        FileNotFoundError: the file does not exist.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file {path}; check dataset_path")
    rows = []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(f"{path}:{number}: malformed JSON ({error.msg} at column {error.colno})") from None
            if not isinstance(row, dict):
                raise InputError(f"{path}:{number}: expected a JSON object, found {type(row).__name__}")
            rows.append((row, f"{path}:{number}"))
    return rows


def carve(problems: list[Problem], split: str, seed: int) -> list[Problem]:
    """Return the train or the validation part: a fixed share, at least one, drawn with ``seed`` and kept in file order."""
    if len(problems) < 2:
        return problems if split == "train" else []
    held_out = set(random.Random(seed).sample(range(len(problems)), max(1, int(len(problems) * VALIDATION_SHARE))))
    return [problem for index, problem in enumerate(problems) if (index in held_out) == (split == "validation")]


def field(row: dict, name: str, place: str) -> str:
    """Return a row's text field.

    Raises:
        ValueError: the field is absent, empty or no text.
    """
    value = row.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{place}: field '{name}' is missing or empty; every problem needs a question and an answer")
    return value


def _problem(row: dict, place: str) -> Problem:
    steps = row.get("steps") or []
    if not isinstance(steps, list) or not all(isinstance(step, str) for step in steps):
        raise InputError(f"{place}: field 'steps' must be a list of texts")
    return Problem(field(row, "question", place), tuple(steps), field(row, "answer", place), str(row.get("id") or place))
