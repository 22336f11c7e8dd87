"""One of several options that a question lists under letters: named by its letter, with or without what stands behind it."""

import re
from collections.abc import Callable

from latent_trainer.errors import InputError

MAX_LENGTH = 400  # characters; an option with its text
PARAMETERS = re.compile(r"([A-Z]) of ([A-Z](?: [A-Z]){0,25})")
NAMED = re.compile(
    r"\s*(?:(?:the\s+)?(?:(?:correct|final|right)\s+)?(?:answer|option|choice)\s*(?:is\s|:)?\s*)?\(?\s*([A-Z])\s*(?:[).:]|\Z)",
    re.IGNORECASE,
)


def make(parameters: str) -> Callable[[str], bool]:
    """Return what tells whether an answer names the right option and no other.

    Args:
        parameters: ``"B of A B C D E"``, the letter and all there are.

    Raises:
        InputError: parameters of another form, or a letter that is none of them.
    """
    found = PARAMETERS.fullmatch(parameters)
    if found is None or found[1] not in found[2].split():
        raise InputError(f"check 'choice {parameters}': expected 'choice LETTER of LETTERS', as in 'choice B of A B C D E'")
    letter = found[1]
    others = "".join(set(found[2].split()) - {letter})
    other = re.compile(rf"(?<![A-Za-z0-9])[{others}](?:\s*[).:]|\s*\Z)") if others else None

    def is_right(answer: str) -> bool:
        named = NAMED.match(answer) if len(answer) <= MAX_LENGTH else None
        if named is None or named[1].upper() != letter:
            return False
        return other is None or other.search(answer, named.end()) is None

    return is_right
