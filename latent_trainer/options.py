"""Options checked against annotations: type, range and choice are stated once, where an option is declared.

A plug-in's options are its constructor's parameters, a loader's are its own, a command's are fields of a dataclass. In all
three an annotation says what an option takes: ``int``, ``float``, ``bool``, ``str``, ``list[int]``, ``tuple[str, ...]``,
``dict``, ``Literal["a", "b"]``, unions of these and ``None``, and a range by ``Annotated[int, Bounds(least=1)]``.
"""

import functools
import inspect
import json
import math
import operator
import os
from collections.abc import Callable, Container
from dataclasses import MISSING, dataclass, fields
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from latent_trainer.errors import InputError, check_choice, nearest

TRUE, FALSE = ("true", "yes", "on", "t", "y", "1"), ("false", "no", "off", "f", "n", "0")  # words for a boolean option
UNSET = ("None", "null", "~")  # what people write for an option they leave unset
NAMES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    list: "a list",
    tuple: "a list",
    dict: "a mapping",
    NoneType: "null",
}


@dataclass(frozen=True)
class Bounds:
    """The range of a number.

    Args:
        least: smallest value allowed.
        above: or every allowed value lies above this.
        most: largest value allowed.
        below: or every allowed value lies below this.
    """

    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None

    def check(self, name: str, value: float) -> None:
        """Raise a one-line `InputError` unless ``value`` lies in the range."""
        limits = [
            ("at least", self.least, operator.ge),
            ("above", self.above, operator.gt),
            ("at most", self.most, operator.le),
            ("below", self.below, operator.lt),
        ]
        stated = [(words, limit, holds) for words, limit, holds in limits if limit is not None]
        if all(holds(value, limit) for _, limit, holds in stated):
            return
        says = "be " + " and ".join(f"{words} {limit}" for words, limit, _ in stated)
        if self.least is not None and self.most is not None:
            says = f"lie between {self.least} and {self.most}"
        raise InputError(f"{name}={value} must {says}")


Count = Annotated[int, Bounds(least=0)]
Positive = Annotated[int, Bounds(least=1)]
Seed = Annotated[int, Bounds(least=0, most=2**32 - 1)]  # what numpy takes
Share = Annotated[float, Bounds(least=0, most=1)]
Weight = Annotated[float, Bounds(least=0)]
Scale = Annotated[float, Bounds(above=0)]
Inside = Annotated[float, Bounds(above=0, below=1)]
Mass = Annotated[float, Bounds(above=0, most=1)]
Dropout = Annotated[float, Bounds(least=0, below=1)]


def truth(text: str) -> bool | None:
    """Return the truth value a word stands for, None where it stands for neither."""
    word = text.strip().lower()
    return True if word in TRUE else False if word in FALSE else None


def conform(name: str, value, hint, bounds: Bounds | None = None) -> Any:
    """Return a value as its annotation has it: a word for a boolean as that boolean, one entry for a list as a list.

    Args:
        name: what a message calls the option.
        value: what somebody set it to.
        hint: the annotation; one that holds another type than those this module names is not checked.
        bounds: a range on top of the annotation's own.

    Raises:
        InputError: another type, a number that is not finite or out of range, or none of the choices; in one line.
    """
    alternatives = _alternatives(hint)
    if alternatives is None:
        return value
    kinds = [get_origin(kind) or kind for kind, _ in alternatives]
    if isinstance(value, str) and NoneType in kinds and value in UNSET:
        raise InputError(f"{name}={value!r} is a text; leave the option out, or write null in a file, to leave it unset")
    if isinstance(value, str) and bool in kinds and str in kinds and truth(value) is not None:
        raise InputError(f"{name}={value!r} may be a text or a truth value; give it as true or false without quotes")
    for kind, own in alternatives:
        taken, result = _taken(name, value, kind)
        if taken:
            for one in (own, bounds):
                if one is not None and result is not None:
                    one.check(name, result)
            return result
    choices = [choice for kind, _ in alternatives if get_origin(kind) is Literal for choice in get_args(kind)]
    expected = [NAMES[kind] for kind in kinds if kind in NAMES and kind is not NoneType]
    if choices and not expected and isinstance(value, str):
        check_choice(name, value, choices)
    raise InputError(f"{name}={_short(value)}: expected {' or '.join([*expected, *map(repr, choices)])}")


def admits(hint, kind: type) -> bool:
    """Return whether an annotation admits a type."""
    return any((get_origin(one) or one) is kind for one, _ in _alternatives(hint) or ())


def _alternatives(hint) -> list[tuple[Any, Bounds | None]] | None:
    """Return the types an annotation admits, each with its range; None where one of them is not known here."""
    if get_origin(hint) is Annotated:
        kind, *notes = get_args(hint)
        bounds = next((note for note in notes if isinstance(note, Bounds)), None)
        inner = _alternatives(kind)
        return inner and [(one, own or bounds) for one, own in inner]
    if get_origin(hint) in (Union, UnionType):
        parts = [_alternatives(part) for part in get_args(hint)]
        return None if None in parts else [one for part in parts for one in part or ()]
    hint = NoneType if hint is None else hint
    if get_origin(hint) in (list, tuple) and _alternatives(get_args(hint)[0]) is None:
        return None
    return [(hint, None)] if (get_origin(hint) or hint) in (*NAMES, Literal) else None


def _taken(name: str, value, kind) -> tuple[bool, Any]:
    """Return whether a value is of a type, and the value as that type has it."""
    origin = get_origin(kind) or kind
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in get_args(kind)), value
    if origin is bool:
        word = truth(value) if isinstance(value, str) else None
        return (True, word) if word is not None else (isinstance(value, bool), value)
    if origin is int:
        return isinstance(value, Integral) and not isinstance(value, bool), value
    if origin is float:
        if not isinstance(value, Real) or isinstance(value, bool):
            return False, value
        if not math.isfinite(value):
            raise InputError(f"{name}={value} must be finite; give a number")
        return True, value
    if origin is str:
        return isinstance(value, str | os.PathLike), os.fspath(value) if isinstance(value, os.PathLike) else value
    if origin in (list, tuple):
        if isinstance(value, dict) or value is None:
            return False, value
        entries = value if isinstance(value, list | tuple) else [value]
        inner = get_args(kind)[:1]
        at = f"{name}={_short(value)}, entry"
        return True, origin(conform(f"{at} {n}", one, inner[0]) if inner else one for n, one in enumerate(entries, 1))
    return isinstance(value, origin), value


def _short(value) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def check_options(name: str, call: Callable, options: dict, taken: tuple[str, ...] = (), setting: str = "") -> dict:
    """Return keyword arguments of ``call`` as its annotations have them.

    Args:
        name: what has the options, "feedback 'soft'".
        call: a class or function; its parameters are the options.
        options: what somebody set.
        taken: parameters that its caller fills in.
        setting: the setting the options are given by, "feedback_options"; messages name an option in full with it.

    Raises:
        InputError: an option ``call`` does not have or cannot do without, or a value its annotation does not admit; in one
            line.
    """
    setting = setting or f"options of {name}"
    if not isinstance(options, dict):
        raise InputError(f"{setting}={_short(options)}: expected a mapping of options")
    parameters = inspect.signature(call, eval_str=True).parameters.values()
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    known = {one.name: one for one in parameters if one.name not in ("self", *taken) and one.kind not in several}
    for option in options:
        if option not in known:
            raise InputError(f"{setting}: {name} has no option '{option}'{nearest(option, known)}")
    for option, parameter in known.items():
        if parameter.default is inspect.Parameter.empty and option not in options:
            raise InputError(f"{name} needs its option '{option}', which has no default; give {setting}.{option}")
    return {option: conform(f"{setting}.{option}", value, known[option].annotation) for option, value in options.items()}


def checked(build: Callable) -> Callable:
    """Decorate a constructor so that it takes only what its annotations admit, whoever calls it."""
    signature = inspect.signature(build, eval_str=True)

    @functools.wraps(build)
    def build_checked(self, *args, **kwargs):
        given = signature.bind(self, *args, **kwargs)
        for name in [*given.arguments][1:]:
            given.arguments[name] = conform(name, given.arguments[name], signature.parameters[name].annotation)
        build(*given.args, **given.kwargs)

    return build_checked


def check_fields(instance, bounds: dict[str, Bounds] | None = None, only: Container[str] | None = None) -> None:
    """Bring the fields of a dataclass instance into the form its annotations state; untouched defaults are left alone.

    Args:
        instance: of a dataclass; changed in place.
        bounds: ranges of fields whose annotations are somebody else's.
        only: names of the fields that are checked; by default all.

    Raises:
        InputError: a value that its annotation does not admit; in one line.
    """
    hints = get_type_hints(type(instance), include_extras=True)
    for one in fields(instance):
        default = one.default if one.default_factory is MISSING else one.default_factory()
        value = getattr(instance, one.name)
        if only is not None and one.name not in only:
            continue
        if one.init and not (type(value) is type(default) and value == default):
            setattr(instance, one.name, conform(one.name, value, hints[one.name], (bounds or {}).get(one.name)))


def parse_json(name: str, text: str) -> dict:
    """Return the mapping an option's JSON text stands for.

    Raises:
        InputError: it stands for none, names a key twice, or holds a number JSON does not have (NaN, Infinity); in one line.
    """

    def unique(pairs: list[tuple]) -> dict:
        keys = [key for key, _ in pairs]
        if len(set(keys)) < len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            raise InputError(f"{name}: key '{twice}' appears twice in {text}; keep one")
        return dict(pairs)

    def refuse(number: str):
        raise InputError(f"{name}: {number} in {text} is not a finite number; give one")

    try:
        value = json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise InputError(f"{name}={text}: malformed JSON ({error.msg} at column {error.colno})") from None
    except (RecursionError, ValueError) as error:  # brackets in thousands; numbers of thousands of digits
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name}: its JSON is nested too deep or holds a number of thousands of digits") from None
    if not isinstance(value, dict):
        raise InputError(f"{name}={text}: expected a JSON object, found {type(value).__name__}")
    return value
