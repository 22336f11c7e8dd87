"""Families of generated exercises: one small function a family, splits that never share parameters.

A family is ``family(rng, hard) -> Exercise``. It draws its parameters from ``rng``, works the answer out exactly (integers
and fractions, never floats) and writes the steps; ``hard`` asks for larger parameters than it ever draws otherwise. Which
split an exercise belongs to is a property of its family and parameters alone, so another phrasing of a training exercise can
never appear in a test.
"""

import json
import random
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from latent_trainer.data.problem import Problem
from latent_trainer.errors import InputError, check_choice
from latent_trainer.options import Positive

SIZES = {"train": 20_000, "validation": 1_000, "test": 1_000, "test_families": 1_000, "test_harder": 1_000}
SHARES = {
    "train": range(0, 90),
    "validation": range(90, 94),
    "test": range(94, 98),
    "test_families": range(0, 100),
    "test_harder": range(98, 100),
}
MAX_REPEATS = 100  # the same exercises again and again: the family has no others
MAX_DRAWS = 5_000


@dataclass(frozen=True)
class Exercise:
    """What a family draws.

    Args:
        question: the text, one of several phrasings.
        steps: the worked solution, one equation or statement a step.
        answer: what is graded: a number, a fraction a/b, yes or no, a tuple, an interval, or a LaTeX expression.
        difficulty: from 1 (one formula) to 5.
        parameters: what decides the answer, plain numbers, texts and lists.
    """

    question: str
    steps: Iterable[str]
    answer: str
    difficulty: int
    parameters: dict


Family = Callable[[random.Random, bool], Exercise]


def loader(dataset: str, registered: dict[str, Family], held_out: Iterable[str]) -> Callable[..., list[Problem]]:
    """Return the ``load`` of a data set made of families; arguments as in `generate`."""

    def load(
        split: str, path: str | None = None, seed: int = 0, size: Positive | None = None, families: list[str] | None = None
    ) -> list[Problem]:
        """Generate different problems, the families in turn.

        Args:
            split: train, validation, test, test_families (families never trained on) or test_harder (larger parameters).
            path: not taken.
            seed: decides which problems are drawn.
            size: number of problems.
            families: draw from these families only.

        Raises:
            ValueError: a path is given, an unknown family, or fewer different problems exist than asked for.
        """
        if path is not None:
            raise InputError(f"dataset '{dataset}' is generated and reads no file; leave dataset_path out")
        return generate(dataset, registered, held_out, split, seed, size, families)

    return load


def generate(
    dataset: str,
    registered: dict[str, Family],
    held_out: Iterable[str],
    split: str,
    seed: int,
    size: int | None = None,
    families: list[str] | None = None,
) -> list[Problem]:
    """Draw different problems from the families in turn.

    Args:
        dataset: the name of the data set, first part of every id.
        registered: the families by name.
        held_out: names of the families that only the split ``test_families`` draws.
        split: a key of ``SIZES``; ``test_harder`` draws larger parameters than every other split.
        seed: decides which problems are drawn.
        size: number of problems.
        families: draw from these only.

    Raises:
        ValueError: an unknown family, one of another split, or fewer different problems exist than asked for.
    """
    own = [name for name in registered if (name in held_out) == (split == "test_families")]
    for name in families or ():
        check_choice("family", name, registered)
        if name not in own:
            raise InputError(f"family '{name}' is not in split '{split}'; test_families holds {', '.join(held_out)}")
    size = SIZES[split] if size is None else size
    streams = {
        name: _draw(dataset, name, registered[name], split, random.Random(f"{dataset}/{name}/{split}/{seed}"))
        for name in families or own
    }
    problems: list[Problem] = []
    while streams and len(problems) < size:
        for name in list(streams)[: size - len(problems)]:
            problem = next(streams[name], None)
            if problem is None:
                del streams[name]
            else:
                problems.append(problem)
    if len(problems) < size:
        raise InputError(f"dataset '{dataset}', split '{split}': size={size} is too many, {len(problems)} problems exist")
    return problems


def _draw(dataset: str, name: str, family: Family, split: str, rng: random.Random):
    seen: set[str] = set()
    repeats = draws = 0
    while repeats < MAX_REPEATS and draws < MAX_DRAWS:
        exercise = family(rng, split == "test_harder")
        parameters = json.dumps(exercise.parameters, sort_keys=True, separators=(",", ":"))
        draws += 1
        if zlib.crc32(f"{name}{parameters}".encode()) % 100 not in SHARES[split]:
            continue
        if parameters in seen:
            repeats += 1
            continue
        seen.add(parameters)
        repeats = draws = 0
        yield Problem(
            question=exercise.question,
            steps=tuple(exercise.steps),
            answer=exercise.answer,
            id=f"{dataset}/{name}/{parameters}",
            family=name,
            difficulty=exercise.difficulty,
        )
