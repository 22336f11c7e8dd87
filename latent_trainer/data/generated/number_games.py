"""Puzzles of the kind "make 24 of 4, 7, 8 and 8": drawn from a solution, and carried with a check for every other one."""

import operator
import random
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from latent_trainer.data.problem import Problem
from latent_trainer.errors import InputError

OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
SIGNS = "".join(OPERATIONS)
SHARES = {"train": range(0, 90), "validation": range(90, 95), "test": range(95, 100)}
MAX_DRAWS = 50_000  # without a new puzzle: there are no others


@dataclass(frozen=True)
class Term:
    """A part of a solution.

    Args:
        value: what it comes to.
        text: how it is written.
        sign: the operation it ends with, "" for a given number.
    """

    value: Fraction
    text: str
    sign: str = ""

    def beside(self, sign: str, right: bool) -> str:
        """Return the text as it stands beside a sign, in brackets where it must."""
        weak = self.sign in ("+", "-") and (sign in ("*", "/") or (sign == "-" and right))
        return f"({self.text})" if weak or (self.sign in ("*", "/") and sign == "/" and right) else self.text

    @property
    def operand(self) -> str:
        """The value as a step writes it."""
        return f"({self.value})" if self.value.denominator > 1 or self.value < 0 else str(self.value)

    def joined(self, sign: str, other: "Term") -> "Term":
        """Return two terms as one."""
        value = OPERATIONS[sign](self.value, other.value)
        return Term(value, f"{self.beside(sign, right=False)} {sign} {other.beside(sign, right=True)}", sign)


@dataclass(frozen=True)
class Solution:
    """One way to a target: the last term, and one equation a step, ``91-7=84``."""

    term: Term
    steps: tuple[str, ...]
    signs: str
    is_whole: bool


Number = int | Fraction
Wanted = Callable[[tuple[int, ...], int], bool]
Choice = tuple[int, int, str]  # places of two numbers and the sign between them; the result goes to the end


def draw(
    rng: random.Random, numbers: tuple[int, ...], is_target: Callable[[Number], bool], fractions: bool = False
) -> Solution | None:
    """Join numbers at random until two are left, and those so that they come to a target; None where they cannot.

    Args:
        rng: decides order and signs.
        numbers: each is used once.
        is_target: which values are wanted.
        fractions: whether values in between may be fractions or negative.
    """
    values: list[Number] = list(numbers)
    choices: list[Choice] = []
    while len(values) > 2:
        one, other = rng.sample(range(len(values)), 2)
        sign = SIGNS[int(rng.random() * len(SIGNS))]
        value = _value(values[one], sign, values[other], fractions)
        if value is None:
            return None
        choices.append((one, other, sign))
        values = [kept for place, kept in enumerate(values) if place not in (one, other)] + [value]
    ends = []
    for one, other in ((0, 1), (1, 0)):
        for sign in SIGNS:
            value = _value(values[one], sign, values[other], fractions)
            if value is not None and is_target(value):
                ends.append((one, other, sign))
    return _solution(numbers, [*choices, rng.choice(ends)]) if ends else None


def _value(one: Number, sign: str, other: Number, fractions: bool) -> Number | None:
    """Return what two numbers come to, whole where it is; None where it is no number, or of a kind that is not allowed."""
    if sign == "+":
        return one + other
    if sign == "*":
        return one * other
    if sign == "-":
        return one - other if fractions or one >= other else None
    if other == 0:
        return None
    if one % other == 0:
        return one // other
    return Fraction(one) / other if fractions else None


def _solution(numbers: tuple[int, ...], choices: list[Choice]) -> Solution:
    """Return choices as an expression and its steps."""
    terms = [Term(Fraction(number), str(number)) for number in numbers]
    steps, is_whole = [], True
    for one, other, sign in choices:
        left, right = terms[one], terms[other]
        joined = left.joined(sign, right)
        is_whole = is_whole and joined.value.denominator == 1 and joined.value >= 0
        steps.append(f"{left.operand}{sign}{right.operand}={joined.value}")
        terms = [kept for place, kept in enumerate(terms) if place not in (one, other)] + [joined]
    return Solution(terms[0], tuple(steps), "".join(sign for *_, sign in choices), is_whole)


def problems(
    dataset: str, split: str, size: int, rng: random.Random, puzzle: Callable[[random.Random, Wanted], tuple | None]
) -> list[Problem]:
    """Return different puzzles; which split one belongs to is a property of its numbers and target, in any order.

    Args:
        dataset: its name, which is its check's too.
        split: a key of ``SHARES``.
        size: number of problems.
        rng: decides which are drawn.
        puzzle: rng and what tells whether numbers and target are of the split -> (question, numbers, target, solution,
            difficulty), or None where a draw has come to nothing.

    Raises:
        InputError: fewer different puzzles exist than asked for.
    """
    found: dict[str, Problem] = {}
    for problem in _drawn(dataset, split, rng, puzzle, found):
        found[problem.id] = problem
        if len(found) == size:
            return list(found.values())
    raise InputError(f"dataset '{dataset}', split '{split}': size={size} is too many, about {len(found)} exist")


def _drawn(dataset: str, split: str, rng: random.Random, puzzle: Callable, found: dict) -> Iterator[Problem]:
    def is_wanted(numbers: tuple[int, ...], target: int) -> bool:
        return zlib.crc32(f"{target} from {sorted(numbers)}".encode()) % 100 in SHARES[split]

    draws = 0
    while draws < MAX_DRAWS:
        draws += 1
        drawn = puzzle(rng, is_wanted)
        if drawn is None:
            continue
        question, numbers, target, solution, difficulty = drawn
        name = f"{dataset}/{target}/{'-'.join(map(str, numbers))}"
        if name in found:
            continue
        draws = 0
        check = f"{dataset} {target} from {' '.join(map(str, numbers))}"
        yield Problem(question, solution.steps, solution.term.text, name, difficulty=difficulty, check=check)


def listed(numbers: tuple[int, ...]) -> str:
    """Return numbers as a sentence lists them: 4, 7 and 8."""
    *before, last = map(str, numbers)
    return f"{', '.join(before)} and {last}"
