r"""Numbers as they are written: grouped digits, decimals that repeat, mixed numbers, numerals in another base."""

import re
from fractions import Fraction
from functools import lru_cache

MAX_DIGITS = 4_000  # of a plain number; its power of ten is at most 999
MAX_PERIOD = 40

WHOLE = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,3}(?: [0-9]{3})+(?![0-9 /])|[0-9]+)"
DECIMAL = re.compile(
    rf"(?P<whole>{WHOLE})?(?:\.(?P<rest>[0-9]*))?"
    r"(?:(?:[eE]|\s*(?:\\cdot|\*|[xX])\s*10\s*\^)\s*\{?\s*(?P<power>[+-]?[0-9]{1,3})\s*\}?)?"
)
OVER = re.compile(
    r"(?:(?P<units>[0-9]+)\s*)?(?:\\frac\s*\{(?P<a>[^{}]+)\}\s*\{(?P<b>[^{}]+)\}|\\frac\s*(?P<c>[0-9])\s*(?P<d>[0-9]))"
)
SLASHED = re.compile(r"(?:(?P<units>[0-9]+)\s+(?=[0-9]+/))?(?P<a>[0-9.,]+)\s*/\s*(?P<b>-?[0-9.,]+)")
REPEATING = re.compile(
    r"(?<![0-9.])([0-9]*)\.([0-9]*)"
    r"(?:\\(?:overline|bar)\s*\{\s*([0-9]+)\s*\}|\\(?:overline|bar)\s*([0-9])(?![0-9])|\(([0-9]+)\)(?![0-9^!])"
    r"|((?:\\dot\s*\{[0-9]\}|\\dot\s*[0-9])(?:[0-9]*(?:\\dot\s*\{[0-9]\}|\\dot\s*[0-9]))?))"
)
ENDLESS = re.compile(r"(?<![0-9.])([0-9]*)\.([0-9]+)\s*(?:\.\.\.|\\l?dots(?![A-Za-z])|\\cdots(?![A-Za-z]))")
PERIOD = re.compile(r"([0-9]{1,20}?)\1+$")
BASE_NAMES = {
    name: base for base, name in enumerate(["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"], 2)
}
BASE_NAMES["sixteen"] = 16
BASE_NAME = "|".join(BASE_NAMES)
BASED = re.compile(
    r"(?<![0-9A-Za-z_.}^\\])\(?([0-9][0-9A-Fa-f]*(?:\.[0-9A-F]+)?|[A-F][A-F]*[0-9][0-9A-F]*)\)?"
    r"(?:\s*_\s*(?:\{\s*\(?([0-9]{1,2})\)?\s*\}|([0-9]{1,2})(?![0-9])"
    rf"|\{{?\s*\\text\s*\{{\s*({BASE_NAME})\s*\}}\s*\}}?)"
    rf"| (?:in |\()?base (?:([0-9]{{1,2}})(?![0-9])|({BASE_NAME})\b)\)?)"
)
MIXED = re.compile(
    r"(?<![0-9A-Za-z.,/^_})\]])(?<![0-9] )([0-9]{1,9}) ([0-9]{1,9})/([0-9]{1,9})"
    r"(?= ?[-+*=<>),\]]| \\(?:cdot|le|ge|ne)| ?$)"
)
TIGHT = re.compile(r"(?<=[0-9]),(?=[0-9])")


@lru_cache(maxsize=500)  # a member of a set is compared with many
def number(text: str) -> Fraction | None:
    r"""Return the exact number an answer is, None where it is none: 1,000.50, -7/3, \frac{1}{2}, 2 1/2, 1.5e3.

    Args:
        text: a cleaned answer; a number beyond `MAX_DIGITS` digits is left to the comparison of texts.
    """
    text = text.strip()
    sign = -1 if text.startswith("-") else 1
    text = text[1:].lstrip() if text[:1] in ("-", "+") else text
    if text.startswith("(") and text.endswith(")") and "(" not in text[1:]:
        inner = text[1:-1].strip()
        value = None if inner.startswith("(") or "," in inner else number(inner)
        return None if value is None else sign * value
    if "/" in text or "\\frac" in text:
        return _quotient(text, sign)
    value = _decimal(text)
    return None if value is None else sign * value


def _quotient(text: str, sign: int) -> Fraction | None:
    for pattern in (OVER, SLASHED):
        if found := pattern.fullmatch(text):
            group = found.groupdict()
            above, below = _signed(group["a"] or group["c"]), _signed(group["b"] or group["d"])
            units = _decimal(group["units"] or "0")
            if above is None or not below or units is None or (group["units"] and not 0 <= above < below):
                return None
            return sign * (units + above / below)
    return None


def _signed(text: str) -> Fraction | None:
    text = text.strip()
    value = _decimal(text.lstrip("+-"))
    return value if value is None or text[:1] != "-" else -value


def _decimal(text: str) -> Fraction | None:
    found = DECIMAL.fullmatch(text) if len(text) <= 2 * MAX_DIGITS else None
    if found is None or not (found["whole"] or found["rest"]):
        return None
    whole, rest = re.sub("[, ]", "", found["whole"] or ""), found["rest"] or ""
    if len(whole + rest) > MAX_DIGITS:
        return None
    try:
        return Fraction(int(whole + rest)) * Fraction(10) ** (int(found["power"] or 0) - len(rest))
    except ValueError:  # Python's own limit on digits is set lower
        return None


def resolved(text: str) -> str:
    r"""Return a cleaned answer with its special numerals as ordinary ones, wherever they stand.

    Repeating decimals and mixed numbers become fractions, numerals with a base decimal numbers (``1010_2`` is 10), and
    commas between groups of three digits go.
    """
    if "." in text:
        text = ENDLESS.sub(_endless, REPEATING.sub(_repeating, text))
    if "_" in text or "base" in text:
        text = BASED.sub(_based, text)
    text = _ungrouped(text) if "," in text else text
    return MIXED.sub(_mixed, text) if "/" in text else text


def _mixed(found: re.Match) -> str:
    units, above, below = map(int, found.groups())
    return rf"\frac{{{units * below + above}}}{{{below}}}" if above < below else found[0]


def _repeating(found: re.Match) -> str:
    period = re.sub("[^0-9]", "", found[3] or found[4] or found[5] or found[6])
    return _periodic(found[1], found[2], period) or found[0]


def _endless(found: re.Match) -> str:
    """Write 0.1666... as a fraction where a period is written at least twice."""
    digits = found[2][-MAX_PERIOD:]
    period = PERIOD.search(digits)
    if period is None:
        return found[0]
    return _periodic(found[1], found[2][: len(found[2]) - len(period[0])], period[1]) or found[0]


def _periodic(whole: str, rest: str, period: str) -> str | None:
    if len(whole + rest + period) > 3 * MAX_PERIOD:
        return None
    value = int((whole or "0") + rest) + Fraction(int(period), 10 ** len(period) - 1)
    value /= 10 ** len(rest)
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"


def _based(found: re.Match) -> str:
    base = int(found[2] or found[3] or found[5] or 0) or BASE_NAMES[found[4] or found[6]]
    if not 2 <= base <= 16 or len(found[1]) > 200 or found[0].count("(") != found[0].count(")"):
        return found[0]
    try:
        whole, _, rest = found[1].partition(".")
        if not rest:
            return str(int(whole, base))
        value = Fraction(int(whole + rest, base), base ** len(rest))
        return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"
    except ValueError:  # a digit that the base does not have
        return found[0]


def _ungrouped(text: str) -> str:
    r"""Take commas out of numbers: ``1,234, 5,678`` and ``(1,000, 500)``, not ``(100,200)``.

    In brackets a comma groups digits only where another one, with a space behind it, separates. Everywhere all the commas
    between digits must group, or none does.
    """
    if not TIGHT.search(text):
        return text
    levels, spans = [[0, False, []]], []  # each: where it starts, whether brackets stand around it, its own commas
    for index, letter in enumerate(text):
        if letter in "([{":
            tex = letter == "{" and text[:index].rstrip()[-1:] not in ("", "\\", ",", "(", "[", "{", "=") and index > 0
            levels.append([index, not tex, []])
        elif letter in ")]}" and len(levels) > 1:
            spans.append((*levels.pop(), index))
        elif letter == ",":
            levels[-1][2].append(index)
    spans += [(*level, len(text)) for level in levels]
    dropped = set()
    for _start, bracketed, commas, _end in spans:
        tight = {index for index in commas if TIGHT.match(text, index)}
        spaced = any(text[index + 1 : index + 2] in (" ", "\\") or text[index - 1 : index] == " " for index in commas)
        grouping = {index for index in tight if _groups(text, index, tight)}
        if tight and grouping == tight and (spaced or not bracketed):
            dropped |= tight
    return "".join(letter for index, letter in enumerate(text) if index not in dropped)


def _groups(text: str, index: int, tight: set[int]) -> bool:
    """Return whether a comma has exactly three digits behind it, and one to three, or another such comma, before it."""
    before = re.search(r"(?<![0-9])([0-9]{1,3})$", text[max(0, index - 4) : index])
    after = re.match(r"[0-9]{3}(?![0-9])", text[index + 1 : index + 5])
    if not before or not after:
        return False
    first = index - len(before[1])
    if first - 1 in tight:
        return len(before[1]) == 3
    return before[1][0] != "0" and not re.search(r"[0-9]\.$", text[max(0, first - 2) : first])
