"""Errors a user can act on: one line that names what clashes and what to change."""

import difflib
import inspect
import json
from collections.abc import Callable, Iterable


class InputError(ValueError):
    """Settings or data that cannot work as they are; the command line prints its message without a traceback."""


class TrainingError(RuntimeError):
    """A run that cannot go on; its message says at which step, why, and which checkpoint it can go on from."""


def nearest(value: str, choices: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the choice closest to ``value``, or an empty string."""
    close = difflib.get_close_matches(str(value), list(choices), n=1, cutoff=0.4)
    return f"; did you mean '{close[0]}'?" if close else ""


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Raise a one-line `InputError` that lists the choices unless ``value`` is one of them."""
    choices = list(choices)
    if value not in choices:
        raise InputError(f"{name}='{value}' is not one of {', '.join(choices)}{nearest(value, choices)}")


def check_options(name: str, call: Callable, options: Iterable[str], taken: tuple[str, ...]) -> None:
    """Raise a one-line `InputError` unless ``call`` has every option, those ``taken`` by its caller apart."""
    known = [option for option in inspect.signature(call).parameters if option not in taken]
    for option in options:
        if option not in known:
            raise InputError(f"{name} has no option '{option}'{nearest(option, known)}")


def parse_json(name: str, text: str) -> dict:
    """Return the mapping an option's JSON text stands for; raise a one-line `InputError` where it is none."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{name}={text}: malformed JSON ({error.msg} at column {error.colno})") from None
    if not isinstance(value, dict):
        raise InputError(f"{name}={text}: expected a JSON object, found {type(value).__name__}")
    return value
