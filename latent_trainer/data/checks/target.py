"""Expressions that must come to a target with given numbers: what the checks of Countdown and Game 24 have in common."""

import re
from collections import Counter
from collections.abc import Callable
from fractions import Fraction

from latent_trainer.data.checks.expression import NoExpressionError, evaluate
from latent_trainer.errors import InputError

PARAMETERS = re.compile(r"(\d{1,9}) from (\d{1,9}(?: \d{1,9}){0,11})")


def make(name: str, parameters: str, all_of_them: bool) -> Callable[[str], bool]:
    """Return what tells whether an answer is a right expression.

    Args:
        name: of the check, for messages.
        parameters: ``"65 from 19 36 55 7"``, the target and the numbers.
        all_of_them: whether every number must be used; each is used at most once, or as often as it is given.

    Raises:
        InputError: parameters of another form.
    """
    found = PARAMETERS.fullmatch(parameters)
    if found is None:
        raise InputError(
            f"check '{name} {parameters}': expected '{name} TARGET from NUMBERS', as in '{name} 65 from 19 36 55'"
        )
    target, given = Fraction(found[1]), Counter(map(Fraction, found[2].split()))

    def is_right(answer: str) -> bool:
        sides = answer.split("=")  # 55 + 36 - 7 - 19 = 65 says what it comes to, and so does 65 = 55 + 36 - 7 - 19
        try:
            read = [evaluate(side) for side in sides[:2]]
        except NoExpressionError:
            return False
        if len(sides) > 2 or any(value != target for value, _ in read):
            return False
        used = [Counter(numbers) for _, numbers in read]
        return any(one == given if all_of_them else one <= given for one in used)

    return is_right
