"""A process of its own that decides whether two formulas are equal; `workers.py` runs this file by its path.

It imports neither torch nor this library. Each line it reads is a JSON list of two LaTeX formulas, reference first; each
line it writes is ``true`` or ``false``. Formulas are read by math-verify. Two expressions are evaluated at fixed points,
exactly with fractions and else to 60 digits, every operation checked for size before it is carried out; they are equal where
they agree at all points where both are defined. The library's own comparison rounds to six decimals and simplifies without
bound, so it judges only what is no expression: equations and inequalities.
"""

import json
import logging
import math
import os
import random
import signal
import sys
from fractions import Fraction

import mpmath
from latex2sympy2_extended.math_normalization import NormalizationConfig
from math_verify import LatexExtractionConfig, parse, verify
from sympy import Expr

mpmath.mp.dps = 60
AS_WRITTEN = NormalizationConfig(basic_latex=False, units=False, malformed_operators=False, nits=False, boxed="none")
READING = [LatexExtractionConfig(boxed_match_priority=-1, normalization_config=AS_WRITTEN)]

PROCESSOR_SECONDS = 3.0  # for one pair
MEMORY_BYTES = 768 * 2**20
MAX_BITS = 20_000  # of any exact intermediate number
MAX_ARGUMENT = 1_000  # of factorials, binomials and trigonometric functions
MAX_SYMBOLS = 5
MIN_POINTS = 4  # where both formulas are defined
RELATIVE_ERROR = Fraction(1, 10**35)
ZERO = Fraction(1, 10**50)
WARM_UP = r"\frac{(n+1)!}{k!(n-k)!}\cdot\binom{n}{k}+\max(x,|y|)-2^{n^{2}}\sqrt{x}\ln(x)+e^{-x}"
COUNTS = set("ijklmn")  # letters that stand for integers, as in n! and 2^n


class Undefined(Exception):
    """A formula has no value of acceptable size at this point."""


class Unsupported(Exception):
    """A formula is more than arithmetic."""


def limit_memory() -> None:
    """Bound this process's address space where the system can."""
    try:
        import resource
    except ImportError:  # Windows
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(MEMORY_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def evaluate(node, point: dict):
    """Return the value of a parsed formula: a `Fraction` where it is exact, else an mpmath number of 60 digits.

    Args:
        node: a sympy expression, not evaluated.
        point: a value for every symbol's name.

    Raises:
        Undefined: there is no real value here, or it is too large to write down.
        Unsupported: the node is no arithmetic.
    """
    kind = type(node).__name__
    if node.is_Rational:
        return _bounded(Fraction(int(node.p), int(node.q)))
    if node.is_Symbol:
        return point[node.name]
    if kind in CONSTANTS:
        return CONSTANTS[kind]()
    if kind not in OPERATIONS:
        raise Unsupported(kind)
    return _bounded(OPERATIONS[kind](*(evaluate(child, point) for child in node.args)))


def _bounded(value):
    if isinstance(value, Fraction):
        if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
            raise Undefined
    elif not mpmath.isfinite(value):
        raise Undefined
    return value


def _inexact(value):
    return mpmath.mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value


def _pair(left, right):
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return left, right
    return _inexact(left), _inexact(right)


def _add(*values):
    total = values[0]
    for value in values[1:]:
        left, right = _pair(total, value)
        total = _bounded(left + right)
    return total


def _multiply(*values):
    total = values[0]
    for value in values[1:]:
        left, right = _pair(total, value)
        total = _bounded(left * right)
    return total


def _power(base, exponent):
    if base == 0:
        if exponent <= 0 and not (exponent == 0 and isinstance(exponent, Fraction)):
            raise Undefined
        return Fraction(exponent == 0)
    if isinstance(exponent, Fraction) and exponent.denominator == 1:
        size = base.numerator.bit_length() + base.denominator.bit_length() if isinstance(base, Fraction) else 64
        if abs(exponent) * size > MAX_BITS:
            if abs(base) != 1:
                raise Undefined
            exponent %= 2
        return base ** int(exponent)
    if base < 0:
        raise Undefined
    if isinstance(base, Fraction) and isinstance(exponent, Fraction) and exponent.denominator == 2:
        root = Fraction(math.isqrt(base.numerator), math.isqrt(base.denominator))
        if root * root == base:
            return _power(root, Fraction(exponent.numerator))
    exponent = _inexact(exponent)
    logarithm = mpmath.log(_inexact(base)) * exponent
    if abs(logarithm) > MAX_BITS:
        raise Undefined
    return mpmath.exp(logarithm)


def _whole(value) -> int:
    if not isinstance(value, Fraction) or value.denominator != 1 or not 0 <= value <= MAX_ARGUMENT:
        raise Undefined
    return int(value)


def _logarithm(value, base=None):
    if value <= 0 or (base is not None and (base <= 0 or base == 1)):
        raise Undefined
    if value == 1:
        return Fraction(0)
    result = mpmath.log(_inexact(value))
    return result if base is None else result / mpmath.log(_inexact(base))


def _exponential(value):
    if value == 0:
        return Fraction(1)
    if abs(value) > MAX_BITS:
        raise Undefined
    return mpmath.exp(_inexact(value))


def _rounded(rounding, value):
    if isinstance(value, Fraction):
        return Fraction(math.floor(value) if rounding is mpmath.floor else math.ceil(value))
    if abs(value) > 2**64:  # too few of the digits are behind the point to tell
        raise Undefined
    return Fraction(int(rounding(value)))


def _inverse(name: str):
    def call(value):
        if name != "atan" and abs(value) > 1:
            raise Undefined
        return getattr(mpmath, name)(_inexact(value))

    return call


def _limited(name: str):
    def call(value):
        if abs(value) > MAX_ARGUMENT:
            raise Undefined
        return getattr(mpmath, name)(_inexact(value))

    return call


CONSTANTS = {"Pi": lambda: +mpmath.pi, "Exp1": lambda: +mpmath.e}
OPERATIONS = {
    "Add": _add,
    "Mul": _multiply,
    "Pow": _power,
    "UnevaluatedExpr": lambda value: value,
    "factorial": lambda value: Fraction(math.factorial(_whole(value))),
    "binomial": lambda total, chosen: Fraction(math.comb(_whole(total), _whole(chosen))),
    "Abs": abs,
    "Max": lambda *values: max(values, key=_inexact),
    "Min": lambda *values: min(values, key=_inexact),
    "exp": _exponential,
    "log": _logarithm,
    "floor": lambda value: _rounded(mpmath.floor, value),
    "ceiling": lambda value: _rounded(mpmath.ceil, value),
    **{name: _limited(name) for name in ("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh")},
    **{name: _inverse(name) for name in ("asin", "acos", "atan")},
}


def points(names: list[str], whole: bool):
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
    return (
        Fraction(chance.randint(low, high))
        if whole
        else Fraction(14 * chance.randint(low, high) + 2 * chance.randint(0, 6) + 1, 14)
    )


def same_value(gold, predicted) -> bool:
    """Return whether two parsed expressions have the same value wherever both have one.

    Raises:
        Unsupported: one of them is more than arithmetic.
    """
    names = sorted({symbol.name for symbol in gold.free_symbols | predicted.free_symbols})
    if len(names) > MAX_SYMBOLS:
        return False
    whole = any(type(node).__name__ in ("factorial", "binomial") for tree in (gold, predicted) for node in preorder(tree))
    shared = 0
    for point in points(names, whole):
        try:
            left, right = evaluate(gold, point), evaluate(predicted, point)
        except Undefined:
            continue
        if not _close(left, right):
            return False
        shared += 1
    return shared >= (MIN_POINTS if names else 1)


def preorder(node):
    """Yield a node and everything below it."""
    yield node
    for child in node.args:
        yield from preorder(child)


def _close(left, right) -> bool:
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return left == right
    left, right = _inexact(left), _inexact(right)
    error, size = abs(left - right), max(abs(left), abs(right))
    return error <= size * _inexact(RELATIVE_ERROR) or (min(abs(left), abs(right)) == 0 and error < _inexact(ZERO))


def parsed(latex: str):
    """Return math-verify's reading of a LaTeX formula; raises whatever its parser raises."""
    found = parse(f"${latex}$", READING, fallback_mode="no_fallback", parsing_timeout=None, raise_on_error=True)
    return found[0] if found else None


def are_equal(gold_latex: str, predicted_latex: str) -> bool:
    """Return whether two LaTeX formulas are equal; False where one of them is none."""
    gold, predicted = parsed(gold_latex), parsed(predicted_latex)
    if gold is None or predicted is None:
        return False
    if isinstance(gold, Expr) and isinstance(predicted, Expr):
        try:
            return same_value(gold, predicted)
        except Unsupported:
            pass
    return verify(gold, predicted, timeout_seconds=None)


def _allow(seconds: float) -> None:
    """End this process by SIGPROF after so much processor time, which a busy machine does not shorten; 0 lifts the limit."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


def serve(requests, replies) -> None:
    """Answer requests until there are no more."""
    for line in requests:
        gold, predicted = json.loads(line)
        _allow(PROCESSOR_SECONDS)
        try:
            equal = bool(are_equal(gold, predicted))
        except Exception:  # the parser meets text a model wrote: whatever it trips over, the formulas are not equal
            equal = False
        _allow(0)
        print(json.dumps(equal), file=replies, flush=True)


def main() -> None:
    """Take the protocol's streams, read one formula so that the parser has its tables, and serve."""
    limit_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's; this process ends with its standard input
    replies = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # the parser's libraries print warnings
    logging.disable()
    are_equal(WARM_UP, WARM_UP)
    print("true", file=replies, flush=True)
    serve(sys.stdin, replies)


if __name__ == "__main__":
    main()
