"""Variants: a problem with one thing in its question changed, worked out anew by the data set that it is of."""

import random
import re
from collections.abc import Callable, Iterator
from functools import cache

from latent_trainer.data.generated.families import Family
from latent_trainer.data.problem import Problem
from latent_trainer.errors import InputError

NUMBER = re.compile(r"\d+")
TRIES = 30  # numbers that are put in before a problem is given up
DRAWS = 3_000  # exercises of a family among which variants are looked for
Variants = Callable[[Problem, random.Random], Iterator[Problem]]
Changed = Callable[[Problem, int, int], Problem]


def of_numbers(changed: Changed) -> Variants:
    """Return the variants that have another number of as many digits.

    Args:
        changed: a problem, the place of a number in its question and another number -> that problem, worked out.
    """

    def variants(problem: Problem, rng: random.Random) -> Iterator[Problem]:
        numbers = NUMBER.findall(problem.question)
        for _ in range(TRIES if numbers else 0):
            place = rng.randrange(len(numbers))
            digits = len(numbers[place])
            value = rng.randrange(10 ** (digits - 1) if digits > 1 else 0, 10**digits)
            try:
                variant = changed(problem, place, value)
            except InputError:  # a number that makes no sense there
                continue
            yield variant

    return variants


def of_families(registered: dict[str, Family]) -> Variants:
    """Return the variants among exercises that a problem's family draws: the same words, one number another.

    A number may stand in a question several times; it is then another one everywhere.

    Args:
        registered: the families by name.
    """

    @cache
    def drawn(family: str, hard: bool) -> dict[str, list[tuple[str, int]]]:
        """Return questions with the numbers they are drawn by, by their words."""
        found: dict[str, list[tuple[str, int]]] = {}
        for number in range(DRAWS):
            question = exercise(family, hard, number).question
            found.setdefault(NUMBER.sub("#", question), []).append((question, number))
        return found

    def exercise(family: str, hard: bool, number: int):
        return registered[family](random.Random(f"variants/{family}/{number}"), hard)

    def variants(problem: Problem, rng: random.Random) -> Iterator[Problem]:
        if problem.family not in registered:
            return
        for hard in (False, True):
            alike = drawn(problem.family, hard).get(NUMBER.sub("#", problem.question), [])
            near = [number for question, number in alike if _one_number_differs(problem.question, question)]
            rng.shuffle(near)
            for number in near:
                found = exercise(problem.family, hard, number)
                made = found.question, tuple(found.steps), found.answer, found.question
                yield Problem(*made, family=problem.family, difficulty=found.difficulty)

    return variants


def _one_number_differs(question: str, other: str) -> bool:
    """Return whether questions of the same words differ in one number, wherever it stands."""
    pairs = {
        (before, after) for before, after in zip(*map(NUMBER.findall, (question, other)), strict=True) if before != after
    }
    return len(pairs) == 1
