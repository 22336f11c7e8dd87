"""MATH: competition problems with worked solutions (Hendrycks et al. 2021).

On the Hub as ``EleutherAI/hendrycks_math``, a configuration a subject (``problem``, ``level``, ``type``, ``solution``); the
500 problems of Lightman et al. 2023 are `math500`.
"""

import re

from latent_trainer.data import values
from latent_trainer.data.files import Place
from latent_trainer.data.forms import check_form
from latent_trainer.data.problem import Problem
from latent_trainer.data.published import loader
from latent_trainer.data.reasoning import cut
from latent_trainer.errors import InputError

BOX = re.compile(r"\\(?:boxed|fbox)(?![a-zA-Z])\s*")
UNBRACED = re.compile(r"[^$\n]*")
BRACE = re.compile(r"\\.|[{}]", re.DOTALL)  # an escaped brace closes nothing
UNKNOWN_LEVEL = "Level ?"  # so published


def problem(row: dict, place: Place, name: str = "math") -> Problem:
    """Return a row as a problem: the answer is ``answer`` where there is one, else the last ``\\boxed{}`` of the solution.

    Raises:
        InputError: a field is missing or of the wrong kind, or nothing is boxed.
    """
    check_form(row, name, place)
    solution = values.text(row, "solution", place)
    found = row.get("answer")
    if found in (None, ""):
        found = last_boxed(solution)
        if found is None:
            raise InputError(
                f"{place}: field 'solution' has no \\boxed{{answer}} with closed braces, and there is no 'answer'"
            )
    kind = "subject" if "subject" in row else "type"
    return Problem(
        values.text(row, "problem", place),
        cut(solution),
        values.answer({"answer": " ".join(found.split()) if isinstance(found, str) else found}, "answer", place),
        id=values.optional(row, "unique_id", place, absent=place.id),
        family=values.optional(row, kind, place),
        difficulty=0 if row.get("level") == UNKNOWN_LEVEL else values.difficulty(row, "level", place),
        place=str(place),
    )


def last_boxed(solution: str) -> str | None:
    """Return what the last ``\\boxed{}`` or ``\\fbox{}`` of a text holds, braces matched; None where there is none.

    >>> last_boxed(r"So \\boxed{\\frac{1}{2}}, not \\fbox 3.")
    '3'
    """
    boxes = list(BOX.finditer(solution))
    if not boxes:
        return None
    rest = solution[boxes[-1].end() :]
    if not rest.startswith("{"):  # some rows write \boxed 2$
        return UNBRACED.match(rest).group().rstrip(" .") or None
    depth = 0
    for match in BRACE.finditer(rest):
        depth += 1 if match.group() == "{" else -1 if match.group() == "}" else 0
        if depth == 0:
            return rest[1 : match.start()].strip() or None
    return None


load = loader("math", problem)
