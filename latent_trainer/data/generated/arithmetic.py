"""Generated chains of arithmetic modulo ten: every step exact, any size, from a seed.

A chain such as ``7 +3 x7 -5`` is worked from left to right; each step is the running value. The maps do not commute, so the
answer cannot be had by adding things up in any order.
"""

import random
import zlib
from typing import Annotated

from latent_trainer.data.problem import Problem
from latent_trainer.errors import InputError
from latent_trainer.options import Bounds, Positive

SIZES = {"train": 50_000, "validation": 1_000, "test": 1_000}
SHARES = {"train": range(0, 90), "validation": range(90, 95), "test": range(95, 100)}
Length = Annotated[int, Bounds(least=1, most=1000)]  # operations of a chain; beyond any context
OPERATIONS = {
    "+": lambda value, operand: (value + operand) % 10,
    "-": lambda value, operand: (value - operand) % 10,
    "x": lambda value, operand: (value * operand) % 10,
}
OPERANDS = {"+": range(1, 10), "-": range(1, 10), "x": (3, 7, 9)}  # multipliers that can be undone modulo ten


def load(
    split: str, path: str | None = None, seed: int = 0, size: Positive | None = None, operations: Length = 6
) -> list[Problem]:
    """Generate different problems; which split a problem belongs to is a property of its text.

    Args:
        split: train, validation or test; disjoint for every size and seed.
        path: not taken.
        seed: decides which problems are drawn.
        size: number of problems.
        operations: operations per problem.

    Raises:
        ValueError: a path is given, or fewer different problems exist than asked for.
    """
    if path is not None:
        raise InputError("dataset 'arithmetic' is generated and reads no file; leave dataset_path out")
    possible = 10 * sum(map(len, OPERANDS.values())) ** operations * len(SHARES[split]) // 100
    size = min(SIZES[split], possible // 2) if size is None else size
    if size > possible // 2:
        raise InputError(f"size={size} is too many for operations={operations}: about {possible} different problems exist")
    rng = random.Random(f"arithmetic/{split}/{seed}/{operations}")
    problems = {}
    while len(problems) < size:
        problem = _draw(rng, operations)
        if zlib.crc32(problem.question.encode()) % 100 in SHARES[split]:
            problems.setdefault(problem.question, problem)
    return list(problems.values())


def _draw(rng: random.Random, operations: int) -> Problem:
    value = rng.randrange(10)
    words, steps = [str(value)], []
    for _ in range(operations):
        sign = rng.choice(sorted(OPERATIONS))
        operand = rng.choice(OPERANDS[sign])
        value = OPERATIONS[sign](value, operand)
        words.append(f"{sign}{operand}")
        steps.append(str(value))
    question = " ".join(words)
    return Problem(question, tuple(steps), str(value), question)


def continued(problem: Problem, step: int, value: str) -> str:
    """Return the answer of a problem whose step number ``step``, from 0, had arrived at ``value`` instead."""
    result = int(value)
    for word in problem.question.split()[step + 2 :]:
        result = OPERATIONS[word[0]](result, int(word[1:]))
    return str(result)


def changed(problem: Problem, place: int, value: int) -> Problem:
    """Return the problem with another number in its question, worked out anew.

    Args:
        problem: of this data set.
        place: which number of the question, from 0.
        value: what stands there instead.

    Raises:
        InputError: no such number, or one that this data set never has there.
    """
    start, *words = problem.question.split()
    if not 0 <= place <= len(words):
        raise InputError(f"place={place}: the question has {len(words) + 1} numbers, counted from 0")
    allowed = range(10) if place == 0 else OPERANDS[words[place - 1][0]]
    if value not in allowed:
        raise InputError(f"value={value} cannot stand at place={place} of '{problem.question}'; take one of {[*allowed]}")
    if place == 0:
        start = str(value)
    else:
        words[place - 1] = f"{words[place - 1][0]}{value}"
    result, steps = int(start), []
    for word in words:
        result = OPERATIONS[word[0]](result, int(word[1:]))
        steps.append(str(result))
    question = " ".join([start, *words])
    return Problem(question, tuple(steps), str(result), question)
