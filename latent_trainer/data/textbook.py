"""Textbook exercises: a JSON list of entries with ``exercise``, ``text``, ``type`` and ``answer``."""

import json
import random
from pathlib import Path

from latent_trainer.data.files import field
from latent_trainer.errors import InputError, check_choice
from latent_trainer.problem import Problem

TYPES = ("answer-based", "proof-based", "open-ended")
SHARES = {"validation": 0.1, "test": 0.2}


def load(
    split: str,
    path: str | None = None,
    seed: int = 0,
    types: tuple[str, ...] = ("answer-based",),
    validation_exercises: list[str] | None = None,
    test_exercises: list[str] | None = None,
) -> list[Problem]:
    """Read exercises; splits are drawn with ``seed`` (a tenth and a fifth, at least one each) or named by exercise.

    Args:
        split: train, validation or test.
        path: the file.
        seed: draws the splits that are not named.
        types: which types of exercise are kept; those without a checkable answer are left out by default.
        validation_exercises, test_exercises: values of ``exercise`` that make up these splits.

    Raises:
        ValueError: no path, a bad entry (names its number), an exercise that the file does not hold or that is named twice.
        FileNotFoundError: the file does not exist.
    """
    if path is None:
        raise InputError("dataset 'textbook' needs a file; give dataset_path")
    for kind in types:
        check_choice("type", kind, TYPES)
    rows = read_entries(path)
    kept = [problem(row, place) for row, place in rows if entry_type(row, place) in types]
    named = {"test": test_exercises or [], "validation": validation_exercises or []}
    _check_named(path, [one.id for one in kept], named)
    held_out = dict.fromkeys(named["validation"], "validation") | dict.fromkeys(named["test"], "test")
    drawn = [one.id for one in kept if one.id not in held_out]
    random.Random(f"textbook/{seed}").shuffle(drawn)
    for part, share in SHARES.items():
        if not named[part] and len(drawn) > 1:  # the training split keeps one
            number = max(1, round(share * len(kept)))
            held_out |= dict.fromkeys(drawn[:number], part)
            drawn = drawn[number:]
    return [one for one in kept if held_out.get(one.id, "train") == split]


def read_entries(path: str) -> list[tuple[dict, str]]:
    """Return the entries of a textbook file with the place of each, "file: entry 3".

    Raises:
        ValueError: not a JSON list of objects.
        FileNotFoundError: the file does not exist.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file {path}; check dataset_path")
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        place = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise InputError(f"{path}: malformed JSON{place}; expected a list of exercises") from None
    if not isinstance(entries, list):
        raise InputError(f"{path}: expected a JSON list of exercises, found {type(entries).__name__}")
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            raise InputError(f"{path}: entry {number}: expected an object, found {type(entry).__name__}")
    return [(entry, f"{path}: entry {number}") for number, entry in enumerate(entries, 1)]


def entry_type(entry: dict, place: str) -> str:
    """Return the type of an entry.

    Raises:
        ValueError: a type the format does not have.
    """
    kind = entry.get("type")
    if kind not in TYPES:
        raise InputError(f"{place}: type {kind!r} is none of {', '.join(TYPES)}")
    return kind


def problem(entry: dict, place: str) -> Problem:
    """Return an entry as a problem; a field ``steps`` (a list of texts) is taken where there is one.

    Raises:
        ValueError: a field is missing, empty or of the wrong kind.
    """
    steps = entry.get("steps") or []
    if not isinstance(steps, list) or not all(isinstance(step, str) for step in steps):
        raise InputError(f"{place}: field 'steps' must be a list of texts")
    texts = {name: field(entry, name, place) for name in ("exercise", "text", "answer")}
    return Problem(texts["text"], tuple(steps), texts["answer"], id=texts["exercise"], family=entry.get("family") or "")


def _check_named(path: str, ids: list[str], named: dict[str, list[str]]) -> None:
    twice = sorted({one for one in ids if ids.count(one) > 1})
    if twice:
        raise InputError(f"{path}: exercise '{twice[0]}' stands there twice; give every exercise its own name")
    for part, exercises in named.items():
        for exercise in exercises:
            if exercise not in ids:
                raise InputError(
                    f"{path}: {part}_exercises names '{exercise}', which the file lacks or whose type is left out"
                )
    both = sorted(set(named["validation"]) & set(named["test"]))
    if both:
        raise InputError(f"exercise '{both[0]}' is in validation_exercises and in test_exercises; keep it in one")
