"""Reading a written answer: one spelling for the many ways to write it, exact numbers, units and collections.

Everything here works on texts of bounded length and looks for no more than their outer structure.
"""

import re
import unicodedata
from fractions import Fraction

MAX_CHARACTERS = 1000  # a longer answer equals its own copy only
MAX_DIGITS = 400  # digits of a plain number, and the size of its power of ten
MAX_DEPTH = 6  # nested brackets; the parser's time grows quickly with them
MAX_PARTS = 50  # members of a tuple, set or list

RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿᵏ"
LOWERED = str.maketrans(RAISED, "0123456789+-nk")
SYMBOLS = str.maketrans(
    dict.fromkeys("\u2212\u2010\u2011\u2012\u2013\u2014", "-")
    | dict.fromkeys("\u2044\u2215\u00f7", "/")
    | dict.fromkeys("\u00d7\u00b7\u22c5", r"\cdot ")
    | {"≤": r"\le ", "≥": r"\ge ", "∞": r"\infty ", "π": r"\pi ", "√": r"\sqrt ", "\u222a": r"\cup ", "∈": r"\in "}
    | {
        "⌊": r"\lfloor ",
        "⌋": r"\rfloor ",
        "⌈": r"\lceil ",
        "⌉": r"\rceil ",
        "∅": r"\emptyset ",
        "°": r"^\circ ",
        "±": r"\pm ",
    }
)
SPELLINGS = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|textstyle|limits)(?![A-Za-z])\.?", ""),
        (r"\\(?:[,;:! ]|q?quad(?![A-Za-z]))|~", " "),
        (r"\{,\}", ","),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\[dt]binom(?![A-Za-z])", r"\\binom"),
        (r"\\(?:lbrace)(?![A-Za-z])", r"\\{"),
        (r"\\(?:rbrace)(?![A-Za-z])", r"\\}"),
        (r"\\(?:lvert|rvert|vert|mid)(?![A-Za-z])", "|"),
        (r"\\(?:times|ast)(?![A-Za-z])", r"\\cdot "),
        (r"\\(?:leq|leqslant)(?![A-Za-z])|<=", r"\\le "),
        (r"\\(?:geq|geqslant)(?![A-Za-z])|>=", r"\\ge "),
        (r"\\varnothing(?![A-Za-z])|\\\{\s*\\\}", r"\\emptyset "),
        (r"\\operatorname\*?\{([a-z]+)\}", r"\\\1 "),
        (r"\\(?:mathrm|mathbf|mathit|textrm|textbf|textit|mbox|mathsf|textnormal)(?=\{)", r"\\text"),
        (r"(?<![0-9})])(?<![0-9})] )\\text\{([A-Za-z])\}|\\text\{(e)\}", r"\1\2"),
        (r"\\text\{\s*(?:and|or)\s*\}|(?<![A-Za-z,])\s+(?:and|or)\s+(?=[-+\\0-9(\[{A-Za-z])", ", "),
        (r"\\in(?![A-Za-z])", r"\\in "),
        (r"\*\*", "^"),
    )
]
WRAPPERS = [
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r"\*\*(.+)\*\*",
        r"`(.+)`",
        r"\$\$([^$]+)\$\$",
        r"\$([^$]+)\$",
        r"\\\((.+)\\\)",
        r"\\\[(.+)\\\]",
        r"\+\s*(.+)",
    )
]
ENCLOSED = re.compile(r"\\(?:boxed|fbox|text)\s*\{")
NAMED = re.compile(r"([A-Za-z](?:_\{?\w+\}?)?|[A-Za-z]\([A-Za-z]\))\s*(?:=|\\in)(?!=)\s*(.+)", re.DOTALL)

WHOLE = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)"
DECIMAL = re.compile(
    rf"(?P<whole>{WHOLE})?(?:\.(?P<rest>[0-9]*))?(?:(?:[eE]|\s*(?:\\cdot|\*)\s*10\s*\^)\s*\{{?(?P<power>[+-]?[0-9]{{1,4}})\}}?)?"
)
OVER = re.compile(
    r"(?:(?P<units>[0-9]+)\s*)?(?:\\frac\s*\{(?P<a>[^{}]+)\}\s*\{(?P<b>[^{}]+)\}|\\frac\s*(?P<c>[0-9])\s*(?P<d>[0-9]))"
)
SLASHED = re.compile(r"(?:(?P<units>[0-9]+)\s+)?(?P<a>[0-9.,]+)\s*/\s*(?P<b>-?[0-9.,]+)")

UNIT = re.compile(
    r"(?P<body>.*[0-9})])(?:"
    r"(?P<unit>\s*(?:\\?%|\\text\{[^{}]*\}|\s[A-Za-z./ -]+|[A-Za-z]{2,3})(?:\^\{?[23]\}?)?)"
    r"|(?P<degree>\s*\^\s*\{?\\circ\s*\}?\s*[CF]?))"
)
CURRENCY = re.compile(r"(-?)\s*(\\?\$|€|£)\s*(-?.+)", re.DOTALL)
UNIT_NAMES = {"$": "dollar", "€": "euro", "£": "pound"}
SHORT_UNIT = re.compile(r"[kcmdn]?m|[km]?g|ft|in|mi|yd|lb|oz|[mcd]?l|hr|ms|[kmgt]b|hz|k[wj]|[ap]m|[mk]ph|usd|eur|gbp")
FILLER = {"a", "an", "of", "in", "to", "on", "at", "by", "per", "s", "h"}
NO_UNIT = {
    "pi",
    "inf",
    "infty",
    "infinity",
    "choose",
    "alpha",
    "beta",
    "gamma",
    "theta",
    "lambda",
    "mu",
    "sigma",
    "and",
    "or",
}

BRACKETS = {"(": ")", "[": "]", "{": "}"}


def clean(text: str) -> str | None:
    r"""Return an answer in one spelling, without markup around it; None where it is longer than `MAX_CHARACTERS`.

    Args:
        text: an answer in plain text, Markdown, Unicode or LaTeX.
    """
    if len(text) > MAX_CHARACTERS:
        return None
    text = re.sub(f"[{RAISED}]+", lambda found: "^{" + found[0].translate(LOWERED) + "}", text)
    text = unicodedata.normalize("NFKC", text.translate(SYMBOLS)).translate(SYMBOLS)
    kinds = {letter: unicodedata.category(letter) for letter in set(text)}
    text = "".join(" " if kinds[letter] == "Cc" else letter for letter in text if kinds[letter] != "Cf")
    if len(text) > MAX_CHARACTERS:  # one ligature may stand for a sentence
        return None
    before = None
    while before != text:
        before = text
        text = _unwrapped(text.strip())
    text = " ".join(text.split())
    for pattern, replacement in SPELLINGS:
        text = pattern.sub(replacement, text)
    return _unwrapped(" ".join(text.split()))


def _unwrapped(text: str) -> str:
    """Take one layer of markup off: emphasis, maths delimiters, a box, a full stop."""
    if text.endswith(".") and not text.endswith(".."):
        text = text[:-1].rstrip()
    for wrapper in WRAPPERS:
        if found := wrapper.fullmatch(text):
            return found[1].strip()
    if (found := ENCLOSED.match(text)) and closing(text, found.end() - 1) == len(text) - 1:
        return text[found.end() : -1].strip()
    return text


def closing(text: str, start: int) -> int | None:
    """Return the index of the bracket that closes the one at ``start``, None where it stays open."""
    left, right, depth = text[start], BRACKETS[text[start]], 0
    for index in range(start, len(text)):
        depth += (text[index] == left) - (text[index] == right)
        if depth == 0:
            return index
    return None


def depth(text: str) -> int:
    """Return how deeply brackets of any kind are nested."""
    deepest = now = 0
    for letter in text:
        now += (letter in "([{") - (letter in ")]}")
        deepest = max(deepest, now)
    return deepest


def compact(text: str) -> str:
    """Return a cleaned answer as a key: without spaces that separate nothing; letters alone in lower case."""
    text = re.sub(r" (?![0-9A-Za-z])|(?<![0-9A-Za-z]) ", "", text)
    return text.casefold() if re.fullmatch(r"[A-Za-z][A-Za-z' -]*", text) else text


def named(text: str) -> tuple[str | None, str]:
    r"""Split "x = 5" and "x \in [0, 1]" into the name and what it is; the name is None where there is none."""
    found = NAMED.fullmatch(text)
    if found is None or re.search(r"[=<>]|\\(?:le|ge|lt|gt)(?![A-Za-z])", found[2]):
        return None, text
    return found[1], found[2]


def measured(text: str) -> tuple[str, str | None]:
    r"""Split "5 cm", "$18", "12\%" and "3\text{ m}" into the amount and the unit; None where there is no unit.

    A unit follows a number or a closing bracket. A letter on its own is a variable, unless LaTeX sets it as text.
    """
    if found := CURRENCY.fullmatch(text):
        amount, unit = measured(found[1] + found[3])
        return amount, unit or UNIT_NAMES[found[2].removeprefix("\\")]
    found = UNIT.fullmatch(text)
    if found is None:
        return text, None
    if found["degree"] or "%" in found["unit"]:
        return found["body"], "degree" if found["degree"] else "percent"
    unit = found["unit"].strip().lower()
    if unit.startswith(r"\text"):
        unit = unit[6:].replace("}", "", 1).strip()
    elif not _is_unit(unit, glued=not found["unit"][0].isspace()):
        return text, None
    return found["body"], re.sub(r"(?<=[a-z]{2})s\b", "", unit.replace(".", "")) or None


def _is_unit(text: str, glued: bool) -> bool:
    """Return whether words behind a number are a unit and no variables; without a space only a known abbreviation is one."""
    words = re.findall("[a-z]+", text)
    if glued:
        return len(words) == 1 and len(words[0]) > 1 and SHORT_UNIT.fullmatch(words[0]) is not None
    if not words or len(words) > 6 or NO_UNIT.intersection(words) or len(text) == 1:
        return False
    return all(len(word) > 2 or word in FILLER or SHORT_UNIT.fullmatch(word) for word in words)


def number(text: str) -> Fraction | None:
    r"""Return the exact number an answer is, None where it is none: 1,000.50, -7/3, \frac{1}{2}, 2 1/2, 1.5e3.

    Args:
        text: a cleaned answer; a number beyond `MAX_DIGITS` digits is left to the comparison of texts.
    """
    text = text.strip()
    sign = -1 if text.startswith("-") else 1
    text = text[1:].lstrip() if text[:1] in ("-", "+") else text
    if text.startswith("(") and text.endswith(")") and "(" not in text[1:]:
        return None if (inner := number(text[1:-1])) is None else sign * inner
    for pattern in (OVER, SLASHED):
        if found := pattern.fullmatch(text):
            group = found.groupdict()
            above, below = number(group["a"] or group["c"]), number(group["b"] or group["d"])
            units = number(group["units"] or "0")
            if above is None or not below or units is None or (group["units"] and min(above, below) < 0):
                return None
            return sign * (units + above / below)
    value = _decimal(text)
    return None if value is None else sign * value


def _decimal(text: str) -> Fraction | None:
    found = DECIMAL.fullmatch(text)
    if found is None or len(text) > MAX_DIGITS or not (found["whole"] or found["rest"]):
        return None
    power = int(found["power"] or 0)
    if abs(power) > MAX_DIGITS:
        return None
    whole, rest = (found["whole"] or "").replace(",", ""), found["rest"] or ""
    return Fraction(int(whole + rest)) * Fraction(10) ** (power - len(rest))


def parts(text: str) -> tuple[str, list[str]] | None:
    r"""Return what kind of collection an answer is and its members, None where it is none.

    Kinds are the brackets of tuples and intervals ("()", "[]", "(]", "[)"), "{}" for a set, "" for a list without brackets
    and "cup" for a union. Inside brackets a comma separates members; on its own "1,000" is a number.
    """
    if text.startswith(r"\pm "):
        return "", [text[4:], "-" + text[4:]]
    pieces = _split(text, r"\cup")
    if len(pieces) > 1:
        return "cup", pieces
    pieces = _split(text, ",")
    if len(pieces) > 1:
        return "", pieces
    inner = text.replace(r"\{", "{").replace(r"\}", "}")
    left, right = inner[:1], inner[-1:]
    if left not in BRACKETS or right not in ")]}" or (left == "{") != (right == "}"):
        return None
    pieces = _split(inner[1:-1], ",")
    if len(pieces) == 1 and left != "{":
        return None
    return left + right, pieces


def _split(text: str, separator: str) -> list[str]:
    r"""Split at separators outside brackets; one piece where brackets do not match or there are too many members."""
    pieces, level, start, index = [], 0, 0, 0
    while index < len(text):
        level += (text[index] in "([{") - (text[index] in ")]}")
        if level < 0:
            return [text]
        if level == 0 and text.startswith(separator, index):
            pieces.append(text[start:index].strip())
            start = index + len(separator)
        index += 1
    pieces.append(text[start:].strip())
    return pieces if level == 0 and all(pieces) and len(pieces) <= MAX_PARTS else [text]
