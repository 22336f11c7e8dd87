"""Textbook exercises: entries with ``exercise``, ``text``, ``type`` and ``answer``."""

import random

from transformers.utils import logging

from latent_trainer.data import values
from latent_trainer.data.files import Place, read
from latent_trainer.data.forms import LeftOut, check_form
from latent_trainer.data.problem import Problem
from latent_trainer.data.splits import refuse_same_file, same_question
from latent_trainer.errors import InputError, check_choice

TYPES = ("answer-based", "proof-based", "open-ended")
SHARES = {"validation": 0.1, "test": 0.2}

logger = logging.get_logger(__name__)


def load(
    split: str,
    path: str | None = None,
    seed: int = 0,
    validation_path: str | None = None,
    test_path: str | None = None,
    types: tuple[str, ...] = ("answer-based",),
    validation_exercises: list[str] | None = None,
    test_exercises: list[str] | None = None,
) -> list[Problem]:
    """Read exercises; splits are drawn with ``seed`` (a tenth and a fifth, at least one each) or named by exercise.

    Exercises that ask the same question fall on one side. A split that has a file of its own is not drawn.

    Args:
        split: train, validation or test.
        path: the file.
        seed: draws the splits that are not named.
        validation_path, test_path: files of these splits.
        types: which types of exercise are kept; those without a checkable answer are left out by default.
        validation_exercises, test_exercises: values of ``exercise`` that make up these splits.

    Raises:
        InputError: no path, a bad entry (names its number), an exercise that the file does not hold or that is named twice.
        FileNotFoundError: the file does not exist.
    """
    named = {
        "test": [str(one) for one in test_exercises or []],
        "validation": [str(one) for one in validation_exercises or []],
    }
    files = {"train": path, "validation": validation_path, "test": test_path}
    files = {part: str(file) for part, file in files.items() if file is not None}
    refuse_same_file(files)
    for part in files:
        if named.get(part):
            raise InputError(f"{part}_exercises and a file of the {part} split both say what it is; give one")
    if split != "train" and split in files:
        return _read(files[split], types)
    if "train" not in files:
        raise InputError("dataset 'textbook' needs a file; give dataset_path")
    kept = _read(files["train"], types)
    _check_named(files["train"], kept, named)
    held_out = dict.fromkeys(named["validation"], "validation") | dict.fromkeys(named["test"], "test")
    groups = {}
    for one in kept:
        if one.id not in held_out:
            groups.setdefault(same_question(one.question), []).append(one.id)
    drawn = list(groups.values())
    random.Random(f"textbook/{seed}").shuffle(drawn)
    for part, share in SHARES.items():
        if not named[part] and part not in files and len(drawn) > 1:  # the training split keeps one
            number = max(1, round(share * len(kept)))
            held_out |= dict.fromkeys((one for group in drawn[:number] for one in group), part)
            drawn = drawn[number:]
    return [one for one in kept if held_out.get(one.id, "train") == split]


def _read(path: str, types: tuple[str, ...]) -> list[Problem]:
    """Return the exercises of these types; the others are counted in one line."""
    for kind in types:
        check_choice("type", kind, TYPES)
    kept, others, left_out = [], {}, LeftOut("textbook")
    for row, place in read(path, "exercises"):
        if isinstance(row, InputError):
            raise row
        left_out.note(row)
        kind = entry_type(row, place)
        if kind in types:
            kept.append(problem(row, place))
        else:
            others[kind] = others.get(kind, 0) + 1
    left_out.say(path)
    if others:
        counts = " and ".join(f"{number} {kind}" for kind, number in others.items())
        logger.warning_once(f"{path}: {counts} exercises are left out; dataset_options types=[...] takes them")
    first = {}
    for one in kept:
        if one.id in first:
            raise InputError(
                f"{path}: exercise '{one.id}' appears twice, first in {first[one.id]}; give every exercise its own name"
            )
        first[one.id] = one.place
    return kept


def entry_type(entry: dict, place: Place) -> str:
    """Return the type of an entry.

    Raises:
        InputError: a type the format does not have, or a row of another data set.
    """
    check_form(entry, "textbook", place)
    kind = entry.get("type")
    if kind not in TYPES:
        raise InputError(f"{place}: type {kind!r} is none of {', '.join(TYPES)}")
    return kind


def problem(entry: dict, place: Place) -> Problem:
    """Return an entry as a problem; a field ``steps`` (a list of texts) is taken where there is one.

    Raises:
        InputError: a field is missing, empty or of the wrong kind.
    """
    if entry.get("type") != "answer-based" and entry.get("answer") in (None, ""):
        raise InputError(f"{place}: a {entry.get('type')} exercise without an answer; leave its type out of types")
    return Problem(
        values.text(entry, "text", place),
        values.steps(entry, "steps", place),
        values.answer(entry, "answer", place),
        id=_name(entry, place),
        family=values.optional(entry, "family", place),
        place=str(place),
    )


def _name(entry: dict, place: Place) -> str:
    """Return an exercise's name; a number as it is written, since 3.10 comes after 3.9."""
    return getattr(entry.get("exercise"), "text", None) or values.text(entry, "exercise", place)


def _check_named(path: str, kept: list[Problem], named: dict[str, list[str]]) -> None:
    both = sorted(set(named["validation"]) & set(named["test"]))
    if both:
        raise InputError(f"exercise '{both[0]}' is in validation_exercises and in test_exercises; keep it in one")
    questions = {one.id: same_question(one.question) for one in kept}
    part_of = {}
    for part, exercises in named.items():
        for exercise in exercises:
            if exercise not in questions:
                raise InputError(
                    f"{path}: {part}_exercises names '{exercise}', which the file lacks or whose type is left out"
                )
            part_of[questions[exercise]] = (part, exercise)
    for name, question in questions.items():
        part, exercise = part_of.get(question, ("", ""))
        if part and name not in named[part]:
            raise InputError(
                f"{path}: exercise '{name}' asks the same as '{exercise}' of {part}_exercises; name both there or drop one"
            )
