"""What loaders of local files share: reading lines, checking fields, carving a validation split."""

import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from latent_trainer.errors import InputError
from latent_trainer.problem import Problem

VALIDATION_SHARE = 0.05


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


def read_rows(path: str) -> list[tuple[dict, str]]:
    """Return the rows of a ``.jsonl`` or ``.parquet`` file with the place of each.

    Raises:
        ValueError: a malformed file.
        FileNotFoundError: the file does not exist.
    """
    if Path(path).suffix != ".parquet":
        return read_jsonl(path)
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file {path}; check dataset_path")
    try:
        rows = pq.read_table(path).to_pylist()
    except pa.ArrowInvalid as error:
        raise InputError(f"{path}: not a Parquet file ({str(error).splitlines()[0]})") from None
    return [(row, f"{path}:{number}") for number, row in enumerate(rows, 1)]


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
