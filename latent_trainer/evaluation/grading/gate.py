r"""The gate before math-verify: what is more than arithmetic and can still be worked out within a moment.

These are sums and products over a range of numbers, and operations on sets of numbers. What passes takes a few hundredths of
a second. Integrals, limits and derivatives do not pass: some keep the parser's library busy for minutes.
"""

import re

from latent_trainer.evaluation.notation import depth

MAX_CHARACTERS = 120
MAX_DEPTH = 3
MAX_OPERATORS = 10
MAX_DIGITS = 3  # of one number: the range of a sum is walked

RANGE = re.compile(r"\\(?:sum|prod)\s*_\s*\{\s*[a-z]\s*=\s*-?[0-9]+\s*\}\s*\^\s*(?:\{\s*[0-9]+\s*\}|[0-9])")
SETS = re.compile(r"\\(?:setminus|cap|cup|mathbb)(?![A-Za-z])")
KNOWN = re.compile(r"\\(?:setminus|cap|cup|mathbb|infty|frac|cdot)(?![A-Za-z])|\\[{}]")
PLAIN = re.compile(r"[0-9A-Za-z{}()\[\]^+\-*/,.\s]*")
OPERATOR = re.compile(r"[-+*/^,]|\\(?:cdot|frac)")
NO_NUMBER = re.compile(
    r"[A-Za-z]{2}|[A-Za-z]\s*\(|\^\s*\{?\s*(?:T|[Cc](?![A-Za-z]))|\^[^{]?[^\^]*\^[^\^]*\^|\^\s*\{[^{}]*\^"
)


def is_beyond_arithmetic(text: str) -> bool:
    """Return whether a cleaned answer holds a sum, a product or an operation on sets."""
    return RANGE.search(text) is not None or SETS.search(text) is not None


def is_judgeable(text: str) -> bool:
    """Return whether a cleaned answer is LaTeX that math-verify reads as it is meant, within the limits.

    A transpose, a complement and a call of a function, which it takes for powers and products, do not pass.
    """
    if len(text) > MAX_CHARACTERS or depth(text) > MAX_DEPTH or len(RANGE.findall(text)) > 1:
        return False
    rest = KNOWN.sub(" ", RANGE.sub(" ", text))
    if "\\" in rest or not PLAIN.fullmatch(rest) or NO_NUMBER.search(rest) or len(OPERATOR.findall(text)) > MAX_OPERATORS:
        return False
    return max((len(digits) for digits in re.findall("[0-9]+", text)), default=0) <= MAX_DIGITS
