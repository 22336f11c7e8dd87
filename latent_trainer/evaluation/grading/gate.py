r"""The gate before math-verify: LaTeX of bounded size about more than arithmetic, made of commands it knows.

Its parser's time grows without bound with brackets in brackets and its evaluation with 9^{9^{9^9}}; what passes here takes a
tenth of a second as a rule, and the limits of `verify_worker` are left for what nobody thought of.
"""

import re

from latent_trainer.evaluation.notation import depth

MAX_CHARACTERS = 200
MAX_DEPTH = 4
MAX_OPERATORS = 15
MAX_DIGITS = 6  # of one number: the range of a sum is walked

BEYOND = re.compile(r"\\(?:sum|prod|int|lim|setminus|cap|cup|mathbb|frac\s*\{\s*d\s*\}\s*\{\s*d)")
KNOWN = re.compile(
    r"\\(?:sum|prod|int|lim|setminus|cap|cup|mathbb|emptyset|infty|to|in|frac|sqrt|binom|cdot|log|ln|exp|sin|cos|tan|pi|le|ge|ne"
    r"|alpha|beta|gamma|delta|theta|lambda|mu|sigma)(?![A-Za-z])|\\[{}]"
)
PLAIN = re.compile(r"[0-9A-Za-z{}()\[\]^_+\-*/!|,.<>=\s]*")
OPERATOR = re.compile(r"[-+*/^!,]|\\(?:cdot|frac|binom|sqrt|sum|prod|int|lim)")
MEANT_OTHERWISE = re.compile(
    r"\^\s*\{?\s*(?:T|C|c)(?![A-Za-z])|!\s*!|[\^!]\s*\}*\s*\^|\^\s*\{[^{}]*\^|[A-Za-z]{4}|[fghFGHPEV]\s*\("
)


def is_beyond_arithmetic(text: str) -> bool:
    """Return whether a cleaned answer holds a sum, product, integral, limit, derivative or an operation on sets."""
    return BEYOND.search(text) is not None


def is_judgeable(text: str) -> bool:
    """Return whether a cleaned answer is LaTeX that math-verify reads as it is meant, and within the limits.

    A transpose, a double factorial and a call of a function, which it takes for products, are not.
    """
    if len(text) > MAX_CHARACTERS or depth(text) > MAX_DEPTH or len(OPERATOR.findall(text)) > MAX_OPERATORS:
        return False
    rest = KNOWN.sub(" ", text)
    if "\\" in rest or not PLAIN.fullmatch(rest) or MEANT_OTHERWISE.search(rest):
        return False
    return max((len(digits) for digits in re.findall("[0-9]+", text)), default=0) <= MAX_DIGITS
