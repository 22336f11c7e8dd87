"""Splits of problems that come from files: which file a split is read from, and what is carved."""

import random
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

from latent_trainer.data.files import Place, Row, read
from latent_trainer.data.folders import parts
from latent_trainer.data.forms import LeftOut, check_columns, rename
from latent_trainer.data.problem import Problem
from latent_trainer.errors import InputError

VALIDATION_SHARE = 0.05
SPLITS = ("train", "validation", "test")
Reader = Callable[[dict, Place], Problem]


def load_split(
    name: str,
    read_row: Reader,
    split: str,
    seed: int,
    path: str | None,
    validation_path: str | None,
    test_path: str | None,
    columns: dict[str, str] | None = None,
) -> list[Problem]:
    """Read the problems of one split.

    Train rows come from ``path``; validation from ``validation_path``, else a fixed share of the questions in ``path``
    is held out; test from ``test_path``. Where ``path`` is a folder with splits of its own, it stands for the other two.

    Args:
        name: of the data set.
        read_row: makes a problem of a row.
        split: train, validation or test.
        seed: decides what is held out.
        path, validation_path, test_path: files or folders.
        columns: see `forms.rename`.

    Raises:
        InputError: a row that is wrong, no file for the split, or one file for two.
        FileNotFoundError: a file does not exist.
    """
    check_columns(columns, name)
    files = {"train": path, "validation": validation_path, "test": test_path}
    files = {part: str(file) for part, file in files.items() if file is not None}
    refuse_same_file(files)
    readers = {}
    for part, file in files.items():
        found = open_path(file)
        if part == "train" and "" not in found:
            readers |= found
        elif part in found or len(found) == 1:
            readers[part] = found.get(part) or next(iter(found.values()))
        else:
            raise InputError(f"{file}: a folder without a {part} split (it has {', '.join(found)}); give the file")
    source = "train" if split == "validation" and "validation" not in readers else split
    if source not in readers:
        raise InputError(_no_file(name, source, path))
    problems = list(as_read(name, read_row, readers[source](), files.get(source) or files["train"], columns))
    return problems if split == "test" or "validation" in readers else carve(problems, split, seed)


def open_path(path: str) -> dict[str, Callable[[], Iterable[Row]]]:
    """Return what yields the rows of each split of a file or folder; "" for a file, which has none."""
    if not path:
        raise FileNotFoundError("no file ''; check dataset_path")
    return parts(path) if Path(path).is_dir() else {"": lambda: read(path)}


def as_read(name: str, read_row: Reader, rows: Iterable[Row], source: str, columns=None) -> Iterable[Problem]:
    """Yield the problems of rows; what is not read is said once.

    Raises:
        InputError: the first row that is wrong.
    """
    left_out = LeftOut(name)
    for row, place in rows:
        if isinstance(row, InputError):
            raise row
        row = rename(row, columns, name, place) if columns else row
        left_out.note(row)
        yield read_row(row, place)
    left_out.say(source)


def refuse_same_file(files: dict[str, str]) -> None:
    """Refuse a file that is given for two splits.

    Args:
        files: split -> path.

    Raises:
        InputError: names both.
    """
    seen = {}
    for part, file in files.items():
        where = Path(file).resolve()
        if where in seen and not where.is_dir():
            raise InputError(f"{file} is given for {seen[where]} and for {part}; a split needs rows of its own")
        seen[where] = part


def carve(problems: list[Problem], split: str, seed: int) -> list[Problem]:
    """Return the train or the validation part: a fixed share of the different questions, at least one, drawn with ``seed``.

    All problems that ask the same question (see `same_question`) fall on one side; both parts keep the order of the file.
    """
    groups = {}
    keys = [groups.setdefault(same_question(problem.question), len(groups)) for problem in problems]
    if len(groups) < 2:
        return problems if split == "train" else []
    held_out = set(random.Random(seed).sample(range(len(groups)), max(1, int(len(groups) * VALIDATION_SHARE))))
    return [problem for problem, key in zip(problems, keys, strict=True) if (key in held_out) == (split == "validation")]


def same_question(question: str) -> str:
    """Return what two questions have in common if they are the same: case, blanks, Unicode forms and a last stop apart."""
    plain = question.lower() if question.isascii() else unicodedata.normalize("NFKC", question).casefold()
    return " ".join(plain.split()).rstrip(" .?!")


def _no_file(name: str, split: str, path: str | None) -> str:
    if split == "test" and path is not None:
        return (
            f"dataset '{name}' has its test rows in a file of their own, and {path} is read for train and validation; "
            "give dataset_test_path"
        )
    wanted = "dataset_test_path" if split == "test" else "dataset_path"
    return f"dataset '{name}' needs a file; give {wanted}"
