"""A user's own problems: a ``.jsonl`` or ``.parquet`` file with question, steps and answer."""

from pathlib import Path

from latent_trainer.data.files import carve, field, read_rows
from latent_trainer.errors import InputError
from latent_trainer.problem import Problem


def load(split: str, path: str | None = None, seed: int = 0, test_path: str | None = None) -> list[Problem]:
    """Read problems from ``path``; validation is carved from it with a fixed seed, test comes from ``test_path``.

    Args:
        split: train, validation or test.
        path: a ``.jsonl`` or ``.parquet`` file with ``question``, ``answer`` and optionally ``steps`` (a list of texts),
            ``id``, ``family`` (a text) and ``difficulty`` (a whole number).
        seed: decides which rows are held out for validation.
        test_path: the file of the test split; without it ``test`` reads all of ``path``.

    Raises:
        ValueError: no path, a malformed line or a row without an answer; names file and line.
        FileNotFoundError: the file does not exist.
    """
    if path is None:
        raise InputError("dataset 'jsonl' needs a file; give dataset_path")
    if split == "test":
        return [problem(row, place) for row, place in read_rows(test_path or path)]
    return carve([problem(row, place) for row, place in read_rows(path)], split, seed)


def problem(row: dict, place: str) -> Problem:
    """Return a row as a problem.

    Raises:
        ValueError: a field is missing, empty or of the wrong kind.
    """
    steps = row.get("steps")
    steps = [] if steps is None else steps
    if not isinstance(steps, list) or not all(isinstance(step, str) for step in steps):
        raise InputError(f"{place}: field 'steps' must be a list of texts")
    difficulty = row.get("difficulty") or 0
    if not isinstance(difficulty, int):
        raise InputError(f"{place}: field 'difficulty' must be a whole number")
    return Problem(
        field(row, "question", place),
        tuple(steps),
        field(row, "answer", place),
        id=str(row.get("id") or Path(place).name),  # the same wherever the file lies
        family=str(row.get("family") or ""),
        difficulty=difficulty,
    )
