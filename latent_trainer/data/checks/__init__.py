"""Checks: what makes an answer right where many are, as a text that a problem carries with it.

``"countdown 65 from 19 36 55 7"`` names a check and gives it what it needs, so that a problem is graded alike wherever it is
read: in this process or another one, from a data set, a file or a record. One file a check, one line below; a check is
``make(parameters) -> (answer -> bool)``, refuses parameters that it cannot read, and never an answer: what a model writes is
right or wrong, quickly, and is never run as a program.
"""

from collections.abc import Callable
from functools import lru_cache

from latent_trainer.data.checks import choice, countdown, game24, within
from latent_trainer.errors import check_choice

CHECKS: dict[str, Callable[[str], Callable[[str], bool]]] = {
    "choice": choice.make,
    "countdown": countdown.make,
    "game24": game24.make,
    "within": within.make,
}


@lru_cache(maxsize=10_000)
def check_of(text: str) -> Callable[[str], bool]:
    """Return the function (answer -> bool) that a problem's ``check`` stands for.

    Args:
        text: name of a check and its parameters.

    Raises:
        InputError: no such check, or parameters that it cannot read.
    """
    name, _, parameters = text.strip().partition(" ")
    check_choice("check", name, CHECKS)
    return CHECKS[name](parameters)
