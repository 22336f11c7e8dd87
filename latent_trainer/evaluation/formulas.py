r"""The gate in front of the formula parser: LaTeX that is short, shallow and made of known commands, or nothing.

A parser's time grows without bound with brackets in brackets, and evaluation with 9^{9^{9^9}}; what passes here is read and
evaluated in milliseconds, and the time limit of `latent_trainer.evaluation.workers` is left for what nobody thought of.
"""

import re

from latent_trainer.evaluation.notation import MAX_DEPTH, closing, depth

MAX_FORMULA_CHARACTERS = 300
MAX_FORMULA_DIGITS = 30
MAX_OPERATORS = 30  # the parser takes a hundredth of a second for each
MAX_COMMAS = 8  # of max and min, which the parser compares each with each
MAX_EXPONENT_DEPTH = 2  # 2^{2^n} passes, 9^{9^{9^9}} does not
MAX_OPERAND_DIGITS = 4  # of numbers in exponents, factorials and binomials

FUNCTIONS = "max|min|log|ln|exp|sqrt|sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|sinh|cosh|tanh|frac|binom|pi|infty"
NAMES = "alpha|beta|gamma|delta|theta|lambda|mu|sigma|cdot|div|le|ge|ne|lt|gt|lfloor|rfloor|lceil|rceil"
KNOWN_COMMAND = re.compile(rf"\\(?:{FUNCTIONS}|{NAMES})(?![A-Za-z])")
PLAIN_NAME = re.compile(rf"(?<![\\A-Za-z])({FUNCTIONS}|abs|floor|ceil)(?![A-Za-z])")
OPERATOR = re.compile(r"[-+*/^!]|\\(?:cdot|frac|binom|sqrt)")
WORDS = {"yes", "no", "not", "none"}
ALLOWED = re.compile(r"[0-9A-Za-z\\{}()\[\]^_+\-*/!|,.<>=\s]+")
CALLS = {  # how a call in plain text is written in LaTeX
    r"\sqrt": (r"\sqrt{", "}"),
    r"\abs": ("|", "|"),
    r"\floor": (r"\lfloor ", r"\rfloor "),
    r"\ceil": (r"\lceil ", r"\rceil "),
}


def formula(text: str) -> str | None:
    r"""Return LaTeX that is safe to hand to a parser, None where the answer is no formula or beyond the limits.

    Plain text is translated on the way: sqrt(2), C(n, k), n choose k, max(x, 0), 2^(n+1), 0.5. Decimals become fractions, so
    that nothing is rounded; a logarithm without base is the natural one.

    Args:
        text: a cleaned answer.
    """
    if len(text) > MAX_FORMULA_CHARACTERS or not ALLOWED.fullmatch(text):
        return None
    if "!!" in text.replace(" ", "") or text.count("|") % 2:  # a double factorial would be read as two
        return None
    if text.count(",") > MAX_COMMAS or len(OPERATOR.findall(text)) > MAX_OPERATORS:
        return None
    text = re.sub(r"(?<![\\A-Za-z0-9])([A-Za-z0-9]+) choose ([A-Za-z0-9]+)", r"\\binom{\1}{\2}", text)
    text = PLAIN_NAME.sub(r"\\\1", text).replace(r"\{", "(").replace(r"\}", ")")
    text = re.sub(r"(?<![\\A-Za-z])(?:C|\\binom)(?=\([^()]+,[^()]+\))", r"\\binom", text)
    text = re.sub(r"\\binom\(([^(),]+),([^(),]+)\)", r"\\binom{\1}{\2}", text)
    text = re.sub(r"(?<!\\sqrt)\[([^\[\]]*)\]", r"(\1)", text)
    for command, (left, right) in CALLS.items():
        text = _rebracketed(text, command + "(", left, right)
    text = _rebracketed(text, "^(", "^{", "}")
    for command in ("exp", "ln", "log", "max", "min", "sin", "cos", "tan"):
        text = _rebracketed(text, "\\" + command + "{", "\\" + command + "(", ")")
    text = re.sub(r"\\(frac|binom|sqrt)\s*([0-9A-Za-z])", r"\\\1{\2}", text)
    text = re.sub(r"(\\(?:frac|binom)\s*\{[^{}]*\})\s*([0-9A-Za-z])", r"\1{\2}", text)
    text = re.sub(r"\^\s*(-?[0-9]+|-[A-Za-z])", r"^{\1}", text)
    text = re.sub(r"(?<![0-9.])([0-9]*)\.([0-9]+)(?![0-9.])", _as_fraction, text)
    text = re.sub(r"\\log(?![A-Za-z])(?!\s*_)", r"\\ln ", text).replace("*", r"\cdot ")
    return text if _is_bounded(text) else None


def _as_fraction(found: re.Match) -> str:
    return rf"(\frac{{{int(found[1] + found[2])}}}{{{10 ** len(found[2])}}})"


def _rebracketed(text: str, opening: str, left: str, right: str) -> str:
    """Write the brackets of every call that begins with ``opening`` as ``left`` and ``right``."""
    start = text.rfind(opening)
    while start >= 0:
        end = closing(text, start + len(opening) - 1)
        if end is not None:
            text = text[:start] + left + text[start + len(opening) : end] + right + text[end + 1 :]
        start = text.rfind(opening, 0, start)
    return text


def _is_bounded(text: str) -> bool:
    """Return whether LaTeX is short, shallow, made of known commands, and holds no number that grows out of hand."""
    if len(text) > 2 * MAX_FORMULA_CHARACTERS or depth(text) > MAX_DEPTH or "." in text:
        return False
    letters = KNOWN_COMMAND.sub(" ", text)
    if "\\" in letters or re.search(r"[A-Za-z]{4}", letters) or text.casefold() in WORDS:
        return False
    longest = max((len(digits) for digits in re.findall("[0-9]+", text)), default=0)
    grows = "!" in text or r"\binom" in text or "^" in text
    if longest > MAX_FORMULA_DIGITS or (grows and longest > MAX_OPERAND_DIGITS and _long_operand(text)):
        return False
    if re.search(r"\^\s*(?:\{[^{}]*\}|[0-9A-Za-z])\s*\^", text):  # a^b^c means different things to different readers
        return False
    return _exponent_depth(text) <= MAX_EXPONENT_DEPTH


def _long_operand(text: str) -> bool:
    """Return whether a factorial, a binomial or an exponent holds a number of more than `MAX_OPERAND_DIGITS` digits."""
    long = rf"[0-9]{{{MAX_OPERAND_DIGITS + 1},}}"
    return bool("!" in text or r"\binom" in text or re.search(rf"\^\s*(?:{long}|\{{[^{{}}]*{long}|\{{[^{{}}]*\{{)", text))


def _exponent_depth(text: str) -> int:
    r"""Return how many exponents stand on top of each other."""
    deepest = 0
    levels = [0]
    for index, letter in enumerate(text):
        if letter in "([{":
            levels.append(levels[-1] + (text[:index].rstrip().endswith("^")))
            deepest = max(deepest, levels[-1])
        elif letter in ")]}" and len(levels) > 1:
            levels.pop()
        elif letter == "^":
            deepest = max(deepest, levels[-1] + 1)
    return deepest
