"""A number within a tolerance of another: how answers are graded that are published as floats."""

import re
from collections.abc import Callable
from fractions import Fraction

from latent_trainer.data.checks.expression import NoExpressionError, evaluate
from latent_trainer.errors import InputError

NUMBER = r"-?\d{1,300}(?:\.\d{1,300})?"
PARAMETERS = re.compile(rf"({NUMBER}) of ({NUMBER})")
THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


def make(parameters: str) -> Callable[[str], bool]:
    """Return what tells whether an answer lies near enough.

    Args:
        parameters: ``"0.001 of 13333.333333333334"``, the tolerance and the number.

    Raises:
        InputError: parameters of another form.
    """
    found = PARAMETERS.fullmatch(parameters)
    if found is None:
        raise InputError(f"check 'within {parameters}': expected 'within TOLERANCE of NUMBER', as in 'within 0.001 of 2.5'")
    tolerance, number = map(Fraction, found.groups())

    def is_right(answer: str) -> bool:
        try:
            value, _ = evaluate(THOUSANDS.sub("", answer.replace("\\$", "").replace("$", "")))
        except NoExpressionError:
            return False
        return abs(value - number) < tolerance

    return is_right
