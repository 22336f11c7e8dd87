"""SVAMP: elementary word problems with varied wording (Patel et al. 2021).

On the Hub as ``ChilleD/SVAMP``, 700 train and 300 test rows of the 1,000 published ones (``ID``, ``Body``, ``Question``,
``Equation``, ``Answer``, ``Type``, ``question_concat``). CODI and SIM-CoT report accuracy on all 1,000.
"""

import re
from dataclasses import replace

from latent_trainer.data import values
from latent_trainer.data.files import Place
from latent_trainer.data.forms import check_form
from latent_trainer.data.problem import Problem
from latent_trainer.data.published import HUB, from_hub
from latent_trainer.data.splits import load_split
from latent_trainer.errors import InputError

WHOLE = re.compile(r"(?<=\d)\.0+(?!\d)")  # 8.0 is 8


def load(
    split: str,
    path: str | None = None,
    seed: int = 0,
    validation_path: str | None = None,
    test_path: str | None = None,
    columns: dict[str, str] | None = None,
    all_rows: bool = False,
) -> list[Problem]:
    """Load the problems from files or folders of published rows, or from the Hub where no file is given.

    Args:
        split: train, validation or test.
        path: train rows.
        seed: decides which questions are held out for validation.
        validation_path: the file of the validation split; without it a part of ``path`` is held out.
        test_path: the file of the test split.
        columns: field -> column, for files with other names.
        all_rows: from the Hub, all 1,000 rows are the test split, and there is no other.

    Raises:
        InputError: no rows for the split, or a row that is wrong; names file and row.
        FileNotFoundError: a file does not exist.
    """
    if (path, validation_path, test_path) == (None, None, None):
        hub = replace(HUB["svamp"], splits={"test": ("train", "test")}) if all_rows else HUB["svamp"]
        return from_hub("svamp", problem, hub, split, seed)
    if all_rows:
        raise InputError("all_rows joins the two splits of the Hub; leave it out, and give one file with all rows")
    return load_split("svamp", problem, split, seed, path, validation_path, test_path, columns)


def problem(row: dict, place: Place) -> Problem:
    """Return a row as a problem; its equation, ``( 8.0 - 5.0 )``, is the one step ``<<8-5=3>>``.

    Raises:
        InputError: a field is missing or of the wrong kind.
    """
    check_form(row, "svamp", place)
    question = f"{values.text(row, 'Body', place).strip()} {values.text(row, 'Question', place).strip()}"
    answer = values.answer(row, "Answer", place)
    answer = WHOLE.sub("", values.without_thousands(answer))
    equation = WHOLE.sub("", values.optional(row, "Equation", place)).replace(" ", "")
    if equation.startswith("(") and equation.find(")") == len(equation) - 1:
        equation = equation[1:-1]
    return Problem(
        question,
        (f"<<{equation}={answer}>>",) if equation else (),
        answer,
        id=values.optional(row, "ID", place, absent=place.id),
        family=values.optional(row, "Type", place),
        place=str(place),
    )
