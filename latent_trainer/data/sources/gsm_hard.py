"""GSM-Hard: the test questions of GSM8K with larger numbers (Gao et al. 2023, "PAL").

On the Hub as ``reasoning-machines/gsm-hard``, 1,319 rows of ``input``, ``code`` and ``target`` in one split named train,
which is the test split here. Targets are floats: a whole one, 2435123.0, is graded as the number it is; one with a fraction
is right within 0.001, as in the published evaluation, since its last digits are rounding. CODI reads the copy
``juyoung-trl/gsm-hard``: columns input=instruction,target=response.
"""

import math
from decimal import Decimal

from latent_trainer.data import values
from latent_trainer.data.files import Place
from latent_trainer.data.forms import check_form
from latent_trainer.data.problem import Problem
from latent_trainer.data.published import loader
from latent_trainer.errors import InputError

TOLERANCE = 0.001


def problem(row: dict, place: Place) -> Problem:
    """Return a row as a problem without steps; ``code``, a program, is not read.

    Raises:
        InputError: a field is missing or of the wrong kind, or the target is no number.
    """
    check_form(row, "gsm_hard", place)
    number = _number(row, place)
    rounding = math.ulp(float(number))  # of the float that was published; above 2**53 even a whole one is rounded
    is_exact = number == number.to_integral_value() and rounding <= 1
    answer = f"{number:.0f}" if is_exact else f"{number:f}"
    check = "" if is_exact else f"within {Decimal(str(max(TOLERANCE, rounding))):f} of {answer}"
    question = values.text(row, "input", place).strip()
    return Problem(question, (), answer, place.id, place=str(place), check=check)


def _number(row: dict, place: Place) -> Decimal:
    """Return the target as it is written."""
    found = row.get("target")
    if isinstance(found, float) and math.isfinite(found):
        return Decimal(repr(float(found)))
    text = values.without_thousands(values.answer(row, "target", place).rpartition("####")[2].strip())
    try:
        number = Decimal(text)
    except ArithmeticError:
        number = Decimal("nan")
    if not number.is_finite():
        raise InputError(f"{place}: field 'target' is '{text}', which is no number")
    return number


load = loader("gsm_hard", problem)
