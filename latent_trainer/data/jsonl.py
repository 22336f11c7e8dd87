"""A user's own problems: one JSON object a line, with question, steps and answer."""

from latent_trainer.data.files import carve, field, read_jsonl
from latent_trainer.errors import InputError
from latent_trainer.problem import Problem


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


def _problem(row: dict, place: str) -> Problem:
    steps = row.get("steps") or []
    if not isinstance(steps, list) or not all(isinstance(step, str) for step in steps):
        raise InputError(f"{place}: field 'steps' must be a list of texts")
    return Problem(field(row, "question", place), tuple(steps), field(row, "answer", place), str(row.get("id") or place))
