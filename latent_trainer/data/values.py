"""The values of a row: texts, answers, steps and difficulties, or one line that says why they are none."""

import math
import re
from dataclasses import dataclass
from decimal import Decimal

from latent_trainer.data.thought_tokens import LATENT_TOKEN
from latent_trainer.errors import InputError

MAX_DIGITS = 4300  # Python's own limit for reading an integer
TOO_LARGE = 10**MAX_DIGITS
WHOLE = 2**53  # below it every whole number is a float
MAX_DIFFICULTY = 1000
INVISIBLE = re.compile("[\\s\u00ad\u200b-\u200f\u2060-\u2064\ufeff]*")  # blanks, and what has no width
UNFIT = re.compile(f"[\0-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]|{re.escape(LATENT_TOKEN)}")
NOT_FINITE = {f"{sign}{name}" for sign in ("", "+", "-") for name in ("nan", "inf")} | {"<na>"}
LEVEL = re.compile(r"(?:level\s*)?(\d{1,4})(?:\.0*)?", re.IGNORECASE)
THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
KINDS = {type(None): "null", bool: "true or false", list: "a list", tuple: "a list", dict: "an object"}


@dataclass(frozen=True)
class Unreadable:
    """A value that a file holds and Python cannot: what a message says of it."""

    what: str


def text(row: dict, name: str, place) -> str:
    """Return a row's text field; a number is the text it was written as.

    Args:
        row: the fields.
        name: which of them.
        place: of the row, for messages.

    Raises:
        InputError: the field is missing, empty or no text, or holds what no text may.
    """
    value = row.get(name)
    if not isinstance(value, str):
        value = _as_text(value, name, place, row)
    if INVISIBLE.fullmatch(value):
        raise InputError(_missing(row, name, place))
    if found := UNFIT.search(value):
        raise InputError(f"{place}: field '{name}' holds {_unfit(found.group())}")
    return value


def answer(row: dict, name: str, place) -> str:
    """Return a row's answer without blanks around it.

    Raises:
        InputError: as for `text`, and where it goes over several lines, is not finite or has thousands of digits.
    """
    value = text(row, name, place).strip()
    if len(value.splitlines()) > 1:
        raise InputError(f"{place}: field '{name}' goes over {len(value.splitlines())} lines; an answer is one line")
    if value.lower() in NOT_FINITE:
        raise InputError(f"{place}: field '{name}' is '{value}', which is not a value; write the answer, or remove the row")
    if len(value) > MAX_DIGITS and re.search(rf"\d{{{MAX_DIGITS + 1}}}", value):
        raise InputError(f"{place}: field '{name}' is a number of more than {MAX_DIGITS} digits, which cannot be graded")
    return value


def steps(row: dict, name: str, place) -> tuple[str, ...]:
    """Return a row's list of texts; one that is absent is empty.

    Raises:
        InputError: no list, or an item that is no text or blank.
    """
    value = row.get(name)
    if value is None:
        return ()
    if hasattr(value, "tolist"):  # an array of numpy
        value = value.tolist()
    if not isinstance(value, list | tuple):
        hint = "; a text to be cut into steps is 'cot'" if name == "steps" else ""
        raise InputError(f"{place}: field '{name}' must be a list of texts, not {_kind(value)}{hint}")
    for number, step in enumerate(value, 1):
        if not isinstance(step, str):
            raise InputError(f"{place}: field '{name}' must be a list of texts; item {number} is {_kind(step)}")
        if not step.strip():
            raise InputError(f"{place}: field '{name}' has a blank text as item {number}; remove it")
        if found := UNFIT.search(step):
            raise InputError(f"{place}: field '{name}', item {number}, holds {_unfit(found.group())}")
    return tuple(value)


def optional(row: dict, name: str, place, absent: str = "") -> str:
    """Return a text field that a row need not have; 0 is a value.

    Raises:
        InputError: it is no text.
    """
    value = row.get(name)
    return absent if value is None or value == "" else text(row, name, place)


def difficulty(row: dict, name: str, place) -> int:
    """Return a whole number: 3, 3.0, "3" and "Level 3" are all 3; 0 where there is none.

    Raises:
        InputError: anything else.
    """
    value = row.get(name)
    if value is None or value == "":
        return 0
    value = value.item() if hasattr(value, "item") else value
    level = LEVEL.fullmatch(value.strip()) if isinstance(value, str) else None
    number = int(level.group(1)) if level else value
    if isinstance(number, bool) or not isinstance(number, int | float) or number % 1 or not 0 <= number <= MAX_DIFFICULTY:
        shown = f"'{value}'" if isinstance(value, str | int | float) and not isinstance(value, bool) else _kind(value)
        raise InputError(
            f"{place}: field '{name}' is {shown}; it must be a whole number, 1 for easy to 5 for hard, or be left out "
            f"with columns {name}="
        )
    return int(number)


def without_thousands(number: str) -> str:
    """Return a number without the commas that group its digits; other commas stay."""
    return THOUSANDS.sub("", number)


def _as_text(value, name: str, place, row: dict) -> str:
    """Return a number as a text, exactly."""
    value = value.item() if hasattr(value, "item") else value  # a number of numpy
    if value is None:
        raise InputError(_missing(row, name, place))
    if isinstance(value, Unreadable):
        raise InputError(f"{place}: field '{name}' is {value.what}, which Python does not read; shorten or drop it")
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise InputError(f"{place}: field '{name}' is {_kind(value)}, not a text; write it as one text")
    if isinstance(value, int):
        if abs(value) >= TOO_LARGE:
            raise InputError(f"{place}: field '{name}' is an integer of more than {MAX_DIGITS} digits")
        return str(value)
    shown = getattr(value, "text", str(value))  # as a JSON file has it
    if not math.isfinite(value):
        raise InputError(f"{place}: field '{name}' is {shown}, not a finite number; write a value, or remove the row")
    exact = Decimal(str(value) if isinstance(value, Decimal) else repr(float(value)))
    whole = exact == exact.to_integral_value()
    if isinstance(value, float) and (Decimal(shown) != exact or (whole and abs(exact) >= WHOLE)):
        raise InputError(f"{place}: field '{name}' is {shown}, more digits than a float keeps; write it in quotes")
    return str(int(exact)) if whole else f"{exact.normalize():f}"


def _missing(row: dict, name: str, place) -> str:
    message = f"{place}: field '{name}' is missing or empty; every problem needs a question and an answer"
    if name in row or not row:
        return message
    return f"{message} (the row has {', '.join(map(str, list(row)[:8]))}; say what is what with columns {name}=...)"


def _kind(value) -> str:
    if isinstance(value, Unreadable):
        return value.what
    return KINDS.get(type(value)) or ("a text" if isinstance(value, str) else type(value).__name__)


def _unfit(found: str) -> str:
    if found == LATENT_TOKEN:
        return f"{LATENT_TOKEN}, which stands for a latent, not for text; take it out"
    if found >= "\ud800":
        return f"the lone surrogate \\u{ord(found):04x}, half a character of UTF-16, which UTF-8 cannot write; fix the text"
    names = {"\b": " (from an unescaped \\b of LaTeX?)", "\f": " (from an unescaped \\f of LaTeX?)", "\0": " (NUL)"}
    return f"the control character U+{ord(found):04X}{names.get(found, '')}; take it out or escape the backslash"
