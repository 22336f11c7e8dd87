"""Data sets: every loader returns a `datasets.Dataset` with the columns of a `Problem`.

One file a data set, one line below. A loader is ``load(split, path=None, seed=0, **options) -> list[Problem]``. A loader of
files says in `forms.FORMS` what its rows look like.
"""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any

from datasets import Dataset

from latent_trainer.data.collator import LatentCollator
from latent_trainer.data.encoding import EncodedProblem, Encoder, View, encode_prompts
from latent_trainer.data.generated import arithmetic, combinatorics, convex, countdown, game24, prontoqa, prosqa, stories
from latent_trainer.data.given import as_problems
from latent_trainer.data.problem import Problem
from latent_trainer.data.sources import (
    aime,
    aqua,
    auto,
    competition_math,
    gsm8k,
    gsm8k_aug,
    gsm8k_aug_nl,
    gsm_hard,
    jsonl,
    math500,
    multiarith,
    svamp,
    textbook,
)
from latent_trainer.data.splits import SPLITS
from latent_trainer.data.template import TEMPLATES, Template, resolve_template
from latent_trainer.data.variants import Variants, of_families, of_numbers
from latent_trainer.errors import InputError, check_choice
from latent_trainer.options import check_options
from latent_trainer.registry import Registry

__all__ = [
    "CONTINUATIONS",
    "COUNTERFACTUALS",
    "DATASETS",
    "SPLITS",
    "TEMPLATES",
    "VARIANTS",
    "EncodedProblem",
    "Encoder",
    "LatentCollator",
    "Template",
    "View",
    "as_problems",
    "encode_prompts",
    "load_problems",
    "resolve_template",
]


def take_dataset(name: str, entry: Any) -> Callable[..., Any]:
    """Return a loader that a plug-in registers: a function ``load(split, path=None, seed=0, **options)``."""
    taken = list(inspect.signature(entry).parameters) if callable(entry) and not isinstance(entry, type) else []
    missing = [one for one in ("split", "path", "seed") if one not in taken]
    if missing:
        raise InputError(
            f"dataset '{name}' must be a function load(split, path=None, seed=0, **options); {missing[0]} is missing"
        )
    return entry


OWN = {
    "aime": aime.load,
    "aqua": aqua.load,
    "arithmetic": arithmetic.load,
    "auto": auto.load,
    "combinatorics": combinatorics.load,
    "convex": convex.load,
    "countdown": countdown.load,
    "game24": game24.load,
    "gsm8k": gsm8k.load,
    "gsm8k_aug": gsm8k_aug.load,
    "gsm8k_aug_nl": gsm8k_aug_nl.load,
    "gsm_hard": gsm_hard.load,
    "jsonl": jsonl.load,
    "math": competition_math.load,
    "math500": math500.load,
    "multiarith": multiarith.load,
    "prontoqa": prontoqa.load,
    "prosqa": prosqa.load,
    "stories": stories.load,
    "svamp": svamp.load,
    "textbook": textbook.load,
}
DATASETS = Registry("dataset", OWN, take_dataset)
# of a problem from another value of a step, where it can be computed
CONTINUATIONS = {"arithmetic": arithmetic.continued, "stories": stories.continued}
# a problem with another number in its question, worked out anew, where it can be
COUNTERFACTUALS = {"arithmetic": arithmetic.changed, "stories": stories.changed}
# problems with one thing in the question changed, and worked out anew: a number, or an edge of a graph
VARIANTS: dict[str, Variants] = {
    **{name: of_numbers(changed) for name, changed in COUNTERFACTUALS.items()},
    "combinatorics": of_families(combinatorics.FAMILIES),
    "convex": of_families(convex.FAMILIES),
    "prosqa": prosqa.variants,
}
MORE_SPLITS = {
    **dict.fromkeys(("combinatorics", "convex"), ("test_families", "test_harder")),
    "stories": ("test_templates",),
}


def load_problems(name: str, split: str = "train", path: str | None = None, seed: int = 0, **options) -> Dataset:
    """Load the problems of a data set.

    Args:
        name: a key of ``DATASETS``, or ``package.module:load``.
        split: train, validation, test, or one of the data set's ``MORE_SPLITS``.
        path: local file or folder instead of the Hub, where the loader has one.
        seed: decides generated problems and the carved validation split.
        options: passed to the loader; those of files have ``validation_path``, ``test_path`` and ``columns``.

    Returns:
        A data set with a column for every field of a `Problem`; ``check`` where a problem has one.

    Raises:
        ValueError: unknown name or split, an option the loader does not have, or no problems.
    """
    DATASETS.choose("dataset", name)
    check_choice("split", split, SPLITS + MORE_SPLITS.get(name, ()))
    options = check_options(f"dataset '{name}'", DATASETS[name], options, ("split", "path", "seed"), "dataset_options")
    problems = DATASETS[name](split, path=path, seed=seed, **options)
    if DATASETS.origin(name) is not None:
        if not isinstance(problems, Iterable) or isinstance(problems, str | dict):
            raise InputError(
                f"dataset '{name}' returns {type(problems).__name__}; return a list of problems or dictionaries"
            )
        problems = as_problems(problems)  # a plug-in may return dictionaries
    if not problems and split == "validation" and path is not None:
        raise InputError(f"{path} has too few different questions to hold one out; give dataset_validation_path")
    if not problems:
        raise InputError(f"dataset '{name}', split '{split}' ({path or 'no path'}) is empty; give it at least one problem")
    columns = {field.name: [getattr(problem, field.name) for problem in problems] for field in fields(Problem)}
    if not any(columns["check"]):
        del columns["check"]
    return Dataset.from_dict({**columns, "steps": [list(steps) for steps in columns["steps"]]})
