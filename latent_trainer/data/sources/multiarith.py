"""MultiArith: word problems of two or more operations (Roy and Roth 2015).

On the Hub as ``ChilleD/MultiArith``: ``question``, ``final_ans``, 420 train and 180 test rows. The original JSON, with
``sQuestion`` and ``lSolutions``, loads too.
"""

from latent_trainer.data import values
from latent_trainer.data.files import Place
from latent_trainer.data.forms import check_form
from latent_trainer.data.problem import Problem
from latent_trainer.data.published import loader
from latent_trainer.errors import InputError


def problem(row: dict, place: Place) -> Problem:
    """Return a row as a problem without steps.

    Raises:
        InputError: a field is missing or of the wrong kind, or there is not one solution.
    """
    check_form(row, "multiarith", place)
    question, name = ("sQuestion", "lSolutions") if "sQuestion" in row else ("question", "final_ans")
    found = row.get(name)
    if name == "lSolutions":
        if not isinstance(found, list) or len(found) != 1:
            raise InputError(f"{place}: field 'lSolutions' must be a list of one number; found {found!r}")
        found = found[0]
    answer = values.without_thousands(values.answer({name: found}, name, place))
    if answer.endswith(".0"):
        answer = answer[:-2]
    return Problem(" ".join(values.text(row, question, place).split()), (), answer, place.id, place=str(place))


load = loader("multiarith", problem)
