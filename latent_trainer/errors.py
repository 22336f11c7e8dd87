"""Errors a user can act on: one line that names what clashes and what to change."""

import difflib
from collections.abc import Container, Iterable


class InputError(ValueError):
    """Settings or data that cannot work as they are; the command line prints its message without a traceback."""


class TrainingError(RuntimeError):
    """A run that cannot go on; its message says at which step, why, and which checkpoint it can go on from."""


def nearest(value: str, choices: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the choice closest to ``value``, or an empty string."""
    close = difflib.get_close_matches(str(value), list(choices), n=1, cutoff=0.4)
    return f"; did you mean '{close[0]}'?" if close else ""


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Raise a one-line `InputError` that lists the choices unless ``value`` is one of them.

    Args:
        name: what a message calls the setting.
        value: what somebody set it to.
        choices: the values it takes; a registry, which may find a value in a plug-in, is listed after it was asked.
    """
    choices = choices if isinstance(choices, Container) else list(choices)
    if value not in choices:
        choices = list(choices)
        raise InputError(f"{name}={str(value)!r} is not one of {', '.join(choices)}{nearest(value, choices)}")
