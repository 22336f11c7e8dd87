"""Whether two formulas are equal: their values agree wherever both have one."""

import random
from fractions import Fraction

from latent_trainer.evaluation.grading.values import MP, Budget, Calculator, UndefinedError, inexact, paired

MAX_SYMBOLS = 8
MIN_POINTS = 4  # where both formulas are defined
RELATIVE_ERROR = MP.mpf(10) ** -35
ZERO = MP.mpf(10) ** -50
COUNTS = set("ijklmn")  # letters that stand for integers, as in n! and 2^n


def leaves(tree: tuple):
    """Yield every operation and symbol of a tree."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += [child for child in node[1:] if isinstance(child, tuple)]


def symbols(*trees: tuple) -> set[str]:
    """Return the names in trees."""
    return {node[1] for tree in trees for node in leaves(tree) if node[0] == "symbol"}


def _points(names: list[str], whole: bool):
    """Yield where formulas are compared: small values of both signs, positive ones, and one variable far above the others.

    Args:
        names: the variables.
        whole: every variable is an integer, as it is beside factorials and binomials; else only the letters i to n.
    """
    chance = random.Random(20)

    def draw(low, high):
        return {name: _drawn(chance, low, high, whole or name[0] in COUNTS) for name in names}

    for _ in range(8 if names else 1):
        yield draw(-6, 9)
    for _ in range(8 if names else 0):
        yield draw(1, 9)
    for name in names:
        for _ in range(4):
            yield {**draw(0, 3), name: Fraction(chance.randint(9, 16))}


def _drawn(chance: random.Random, low: int, high: int, whole: bool) -> Fraction:
    if whole:
        return Fraction(chance.randint(low, high))
    return Fraction(14 * chance.randint(low, high) + 2 * chance.randint(0, 6) + 1, 14)


def same_value(left: tuple, right: tuple, budget: Budget) -> bool:
    """Return whether two trees have the same value wherever both have one.

    Args:
        left, right: from `reader.read`.
        budget: pays for the evaluations.

    Raises:
        ExhaustedError: the budget is spent.
    """
    names = symbols(left, right)
    agree = _agree(left, right, names, Calculator(budget))
    if not agree and ("i" in names or (agree is None and not names)):
        agree = _agree(left, right, names - {"i"}, Calculator(budget, imaginary=True))
    return bool(agree)


def _agree(left: tuple, right: tuple, names: set[str], calculator: Calculator) -> bool | None:
    """Return whether two trees agree, None where there are too few points to tell."""
    shared = 0
    for one, other in _values((left, right), names, calculator):
        if not _close(one, other):
            return False
        shared += 1
    return True if shared >= (MIN_POINTS if names else 1) else None


def _values(trees: tuple, names: set[str], calculator: Calculator):
    """Yield the values of trees at every point where all have one."""
    if len(names) > MAX_SYMBOLS:
        return
    whole = any(node[0] in ("factorial", "binomial") for tree in trees for node in leaves(tree))
    for point in _points(sorted(names), whole):
        try:
            yield [calculator.value(tree, point) for tree in trees]
        except UndefinedError:
            continue


def proportional(left: tuple, right: tuple, budget: Budget) -> Fraction | None:
    """Return the sign, 1 or -1, of the constant c in left = c * right; None where there is no such constant but zero.

    Args:
        left, right: differences of the two sides of relations, from `reader.read`.
        budget: pays for the evaluations.

    Raises:
        ExhaustedError: the budget is spent.
    """
    names = symbols(left, right)
    ratio, shared = None, 0
    for one, other in _values((left, right), names, Calculator(budget)):
        if isinstance(one, MP.mpc) or isinstance(other, MP.mpc):
            return None
        if one == 0 and other == 0:
            continue
        if one == 0 or other == 0:
            return None
        if ratio is not None and not _close(*paired(_divided(one, other), ratio)):
            return None
        ratio = ratio or _divided(one, other)
        shared += 1
    return None if not names or shared < MIN_POINTS else Fraction(1 if ratio > 0 else -1)


def _divided(left, right):
    left, right = paired(left, right)
    return left / right


def _close(left, right) -> bool:
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return left == right
    left, right = inexact(left), inexact(right)
    error, size = abs(left - right), max(abs(left), abs(right))
    return error <= size * RELATIVE_ERROR or (min(abs(left), abs(right)) == 0 and error < ZERO)
