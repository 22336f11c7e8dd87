"""AQuA: algebra word problems with five options (Ling et al. 2017)."""

import re

from latent_trainer.data import values
from latent_trainer.data.files import Place
from latent_trainer.data.forms import check_form
from latent_trainer.data.problem import Problem
from latent_trainer.data.published import loader
from latent_trainer.data.reasoning import cut
from latent_trainer.errors import InputError

OPTION = re.compile(r"\s*\(?([A-Z])\s*[).:]\s*(.*)", re.DOTALL)


def problem(row: dict, place: Place) -> Problem:
    """Return a row as a problem: the options stand under the question, one a line, and the answer is a letter.

    The question shows its options as ``B) 12``, and a model may answer so: the check takes that as it takes ``B``.

    Raises:
        InputError: a field is missing or of the wrong kind, or the letter names no option.
    """
    check_form(row, "aqua", place)
    texts = values.steps(row, "options", place)
    options = dict(option.groups() for option in map(OPTION.match, texts) if option)
    if len(options) != len(texts):
        raise InputError(
            f"{place}: field 'options' must be texts that begin with a letter each, 'A)12'; found {list(texts)}"
        )
    letter = values.answer(row, "correct", place)
    if letter not in options:
        raise InputError(f"{place}: field 'correct' is '{letter}', which is none of the options {', '.join(options)}")
    question = values.text(row, "question", place).strip()
    return Problem(
        "\n".join([question, *(f"{name}) {option.strip()}" for name, option in options.items())]),
        cut(values.optional(row, "rationale", place)),
        letter,
        id=values.optional(row, "id", place, absent=place.id),
        place=str(place),
        check=f"choice {letter} of {' '.join(options)}",
    )


load = loader("aqua", problem)
