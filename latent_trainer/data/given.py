"""Problems from what a program has in memory: a `datasets` data set, streamed or not, dictionaries, or problems."""

from collections.abc import Iterable
from dataclasses import dataclass

from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict

from latent_trainer.data.files import Place
from latent_trainer.data.folders import dataset_rows
from latent_trainer.data.forms import LeftOut, check_columns, recognise, rename
from latent_trainer.data.problem import Problem
from latent_trainer.data.sources import jsonl
from latent_trainer.errors import InputError


def as_problems(rows: Iterable[Problem | dict], columns: dict[str, str] | None = None) -> list[Problem]:
    """Return problems from a data set's rows or from problems.

    Args:
        rows: a `datasets.Dataset` or `datasets.IterableDataset` (read to its end), or a list of dictionaries or problems;
            with the fields of a `Problem`, or ``cot`` for steps in one text.
        columns: field -> column, for rows with other names: ``{"question": "problem", "answer": "solution"}``.

    Raises:
        InputError: a row lacks a question or an answer, holds a value that is none, or is of another data set's form.
    """
    check_columns(columns, "jsonl")
    if isinstance(rows, DatasetDict | IterableDatasetDict):
        raise InputError(
            f"several splits ({', '.join(rows)}) where rows belong; give one, such as data['{next(iter(rows))}']"
        )
    is_data_set = isinstance(rows, Dataset | IterableDataset)
    numbered = dataset_rows(rows, "", first=0, kind="row") if isinstance(rows, Dataset) else _numbered(rows)
    problems, left_out = [], LeftOut("jsonl", ("place",))
    for row, place in numbered:
        if not isinstance(row, Problem):
            row = rename(row, columns, "jsonl", place) if columns else row
            left_out.note(row)
            row = _problem(row, place, is_data_set or columns is not None)
        problems.append(row)
    left_out.say("given rows")
    return problems


@dataclass(frozen=True, slots=True)
class _Given:
    """The place of a row that was read before: where it stood then, and its number among the rows given."""

    text: str
    id: str

    def __str__(self):
        return self.text


def _numbered(rows: Iterable):
    for number, row in enumerate(rows):
        if not isinstance(row, Problem | dict):
            raise InputError(f"row {number} is {type(row).__name__}, not a problem or a dictionary with question and answer")
        yield row, Place("", number, "row")


def _problem(row: dict, place: Place, numbers: bool) -> Problem:
    """Return a row as a problem.

    Args:
        row: the fields.
        place: number of the row.
        numbers: whether a number is taken for a text, as in files; a dictionary of a program's own has texts.
    """
    if isinstance(row.get("place"), str) and row["place"]:
        place = _Given(row["place"], place.id)
    absent = [name for name in ("question", "answer") if row.get(name) in (None, "")]
    if absent and recognise(row) in (None, "jsonl"):
        has = f" (it has {', '.join(map(str, list(row)[:8]))}; say what is what with columns)" if row else ""
        raise InputError(f"{place} has no {' and no '.join(absent)}; every problem needs both{has}")
    for name in () if numbers or absent else ("question", "answer"):
        if not isinstance(row[name], str):
            raise InputError(f"{place}: field '{name}' is empty or not a text; give it a text")
    return jsonl.problem(row, place)
