"""Checking files: which data set reads them, and everything in them that training or evaluation would refuse."""

from collections.abc import Callable
from dataclasses import dataclass

from latent_trainer.data.files import Place
from latent_trainer.data.forms import LeftOut, check_columns, rename
from latent_trainer.data.problem import Problem
from latent_trainer.data.sources import SOURCES, textbook
from latent_trainer.data.sources.auto import recognise_file
from latent_trainer.data.splits import open_path, same_question
from latent_trainer.data.template import Template
from latent_trainer.data.thought_tokens import LATENT_TOKEN
from latent_trainer.errors import InputError


def _exercise(row: dict, place: Place) -> Problem | None:
    """Return an entry of a textbook; None for a proof or an open question without an answer, which loading leaves out."""
    if textbook.entry_type(row, place) != "answer-based" and row.get("answer") in (None, ""):
        return None
    return textbook.problem(row, place)


READERS: dict[str, Callable[[dict, Place], Problem | None]] = {
    **{name: source.problem for name, source in SOURCES.items()},
    "textbook": _exercise,
}


@dataclass
class Checked:
    """What a check found in a file, or in one split of a folder.

    Args:
        source: the file, with the split of a folder.
        dataset: the data set that reads it.
        problems: those with nothing wrong.
        faults: one line each.
        rows: how many rows there are, faulty ones included.
        not_read: fields that are left out.
    """

    source: str
    dataset: str
    problems: list[Problem]
    faults: list[str]
    rows: int
    not_read: tuple[str, ...]


def validate(path: str, template: Template, dataset: str = "auto", columns: dict[str, str] | None = None) -> list[Checked]:
    """Check a file, or every split of a folder.

    Args:
        path: file or folder.
        template: references must be gradable under it, and texts free of its thought tokens.
        dataset: the data set that is to read it; "auto" recognises it from the first row.
        columns: see `forms.rename`.

    Raises:
        InputError: a file of no known form, or one that cannot be read at all.
        FileNotFoundError: the file does not exist.
    """
    name = recognise_file(path, columns) if dataset == "auto" else dataset
    check_columns(columns, name)
    return [
        _check(rows(), f"{path} ({split})" if split else path, name, template, columns)
        for split, rows in open_path(path).items()
    ]


def _check(rows, source: str, name: str, template: Template, columns: dict[str, str] | None) -> Checked:
    checked, left_out, ids, questions = Checked(source, name, [], [], 0, ()), LeftOut(name), {}, {}
    for row, place in _all(rows):
        checked.rows += 1
        try:
            if isinstance(row, InputError):
                raise row
            row = rename(row, columns, name, place) if columns else row
            left_out.note(row)
            problem = READERS[name](row, place)
            if problem is None:
                continue
            faults = list(_unusable(problem, template))
        except InputError as error:
            checked.faults.append(str(error))
            continue
        for what, key, seen in (
            (f"the id '{problem.id}'", problem.id, ids),
            ("the same question", same_question(problem.question), questions),
        ):
            if key in seen:
                faults.append(f"{place}: {what} as {seen[key]}")
            seen.setdefault(key, place)
        checked.faults += faults[:1]
        if not faults:
            checked.problems.append(problem)
    checked.not_read = tuple(left_out.fields)
    return checked


def _all(rows):
    """Yield rows; what ends the reading of a file is its last fault."""
    try:
        yield from rows
    except InputError as error:
        yield error, None


def _unusable(problem: Problem, template: Template):
    """Yield why a problem cannot be trained on or graded under a template."""
    texts = {"question": problem.question, "answer": problem.answer} | {
        f"steps, item {number}": step for number, step in enumerate(problem.steps, 1)
    }
    for name, text in texts.items():
        for token in (LATENT_TOKEN, template.bot, template.eot):
            if token in text:
                yield f"{problem.place}: field '{name}' holds the thought token {token}; take it out"
    if fault := template.fault(problem):
        yield f"{problem.place}: {fault}"


def overlaps(files: list[Checked]) -> list[tuple[Checked, Checked, list[tuple[str, str]]]]:
    """Return every two files that ask the same questions, with the places of each.

    Args:
        files: what `validate` returned.
    """
    asked = []
    for file in files:
        asked.append({})
        for problem in file.problems:
            asked[-1].setdefault(same_question(problem.question), problem.place)
    found = []
    for second in range(len(files)):
        for first in range(second):
            both = [(place, asked[second][key]) for key, place in asked[first].items() if key in asked[second]]
            if both:
                found.append((files[first], files[second], both))
    return found
