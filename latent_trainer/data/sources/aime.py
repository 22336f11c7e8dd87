"""AIME: the thirty problems a year of the American Invitational Mathematics Examination; answers are 0 to 999.

On the Hub, all of them test rows: 2024 is ``Maxwell-Jia/AIME_2024`` (``ID``, ``Problem``, ``Solution``, ``Answer``), 2025
``math-ai/aime25`` and 2026 ``math-ai/aime26`` (``problem``, ``answer``, ``id``). Files may have either spelling, and so may
those of MathArena (``problem_idx``) and of ``HuggingFaceH4/aime_2024``.
"""

import re
from typing import Literal

from latent_trainer.data import values
from latent_trainer.data.files import Place
from latent_trainer.data.forms import check_form
from latent_trainer.data.problem import Problem
from latent_trainer.data.published import HUB, from_hub
from latent_trainer.data.reasoning import cut
from latent_trainer.data.splits import load_split
from latent_trainer.errors import InputError

ANSWER = re.compile(r"[0-9]{1,3}")


def load(
    split: str,
    path: str | None = None,
    seed: int = 0,
    validation_path: str | None = None,
    test_path: str | None = None,
    columns: dict[str, str] | None = None,
    year: Literal[2024, 2025, 2026] = 2024,
) -> list[Problem]:
    """Load the problems from files or folders of published rows, or a year's from the Hub where no file is given.

    Args:
        split: train, validation or test; the Hub has test rows only.
        path: train rows.
        seed: decides which questions are held out for validation.
        validation_path: the file of the validation split; without it a part of ``path`` is held out.
        test_path: the file of the test split.
        columns: field -> column, for files with other names.
        year: which examination is read from the Hub.

    Raises:
        InputError: no rows for the split, or a row that is wrong; names file and row.
        FileNotFoundError: a file does not exist.
    """
    if (path, validation_path, test_path) == (None, None, None):
        return from_hub("aime", problem, HUB[f"aime_{year}"], split, seed)
    return load_split("aime", problem, split, seed, path, validation_path, test_path, columns)


def problem(row: dict, place: Place) -> Problem:
    """Return a row as a problem; an answer with leading zeros, 025, is the number.

    Raises:
        InputError: a field is missing or of the wrong kind, or the answer is no whole number from 0 to 999.
    """
    check_form(row, "aime", place)
    fields = ("Problem", "Answer", "Solution", "ID") if "Problem" in row else ("problem", "answer", "solution", "id")
    question, answer, solution, name = fields
    found = values.answer(row, answer, place)
    if not ANSWER.fullmatch(found):
        raise InputError(f"{place}: field '{answer}' is '{found}', and answers of AIME are whole numbers from 0 to 999")
    return Problem(
        values.text(row, question, place).strip(),
        cut(values.optional(row, solution, place)),
        str(int(found)),
        id=values.optional(row, name, place, absent=place.id),
        place=str(place),
    )
