"""Comparing formulas by their values at fixed points: exactly with fractions, else to 60 digits.

Every operation is checked for size before it is carried out, and paid for out of a budget of work, so that the time is bounded
whatever a model wrote. Two formulas are equal where they agree at all points where both are defined.
"""

import math
import random
import zlib
from fractions import Fraction

import mpmath

MAX_BITS = 20_000  # of any exact intermediate number
MAX_ARGUMENT = 1_500  # of factorials, binomials and trigonometric functions
MAX_SYMBOLS = 8
MIN_POINTS = 4  # where both formulas are defined
MP = mpmath.MPContext()  # of our own: other code may change the precision of mpmath's, from any thread
MP.dps = 60
RELATIVE_ERROR = MP.mpf(10) ** -35
ZERO = MP.mpf(10) ** -50
COUNTS = set("ijklmn")  # letters that stand for integers, as in n! and 2^n
TRANSCENDENTAL = 60  # what a logarithm costs, in additions


class UndefinedError(ArithmeticError):
    """A formula has no value of acceptable size at this point."""


class ExhaustedError(Exception):
    """Two answers would take more work to compare than any answer is worth."""


class Budget:
    """How much work is left; a unit is about a microsecond.

    Args:
        units: the work allowed.
    """

    def __init__(self, units: int):
        self.units = units

    def pay(self, units: int) -> None:
        """Take units off; raises `ExhaustedError` where too few are left."""
        self.units -= units
        if self.units < 0:
            raise ExhaustedError


class Calculator:
    """Evaluates trees at points.

    Args:
        budget: pays for every operation.
        imaginary: the letter i is the imaginary unit, and roots and logarithms of negative numbers exist.
    """

    def __init__(self, budget: Budget, imaginary: bool = False):
        self.budget, self.imaginary = budget, imaginary

    def value(self, tree: tuple, point: dict):
        """Return a tree's value, a `Fraction` where it is exact, else an mpmath number.

        Args:
            tree: from `reader.read`.
            point: a value for every symbol.

        Raises:
            UndefinedError: there is none, or it is too large to write down.
            ExhaustedError: the budget is spent.
        """
        kind, *operands = tree
        if kind == "number":
            return _bounded(operands[0])
        if kind == "symbol":
            if self.imaginary and operands[0] == "i":
                return MP.mpc(0, 1)
            return point[operands[0]]
        if kind == "constant":
            return +(MP.pi if operands[0] == "pi" else MP.e)
        if kind == "call":
            return self._unknown(operands[0], [self.value(operand, point) for operand in operands[1:]])
        values = [self.value(operand, point) for operand in operands]
        self._pay(values)
        return _bounded(getattr(self, f"_{kind}")(*values))

    def _pay(self, values: list) -> None:
        bits = sum(_bits(value) for value in values)
        exact = all(isinstance(value, Fraction) for value in values)
        self.budget.pay(2 * len(values) + (bits * bits // 40_000 if exact else TRANSCENDENTAL * len(values) // 4))

    def _real(self, value):
        if isinstance(value, MP.mpc):
            if value.imag:
                raise UndefinedError
            return value.real
        return value

    def _mixed(self, value):
        return value

    def _add(self, *values):
        total = values[0]
        for value in values[1:]:
            left, right = _pair(total, value)
            total = _bounded(left + right)
        return total

    def _multiply(self, *values):
        total = values[0]
        for value in values[1:]:
            left, right = _pair(total, value)
            total = _bounded(left * right)
        return total

    def _power(self, base, exponent):
        if base == 0:
            if isinstance(exponent, MP.mpc) or exponent <= 0 and not (exponent == 0 and isinstance(exponent, Fraction)):
                raise UndefinedError
            return Fraction(exponent == 0)
        if isinstance(exponent, Fraction) and exponent.denominator == 1:
            if abs(exponent) * (_bits(base) + 1) > MAX_BITS:
                if abs(base) != 1 or not isinstance(base, Fraction):
                    raise UndefinedError
                exponent %= 2
            self.budget.pay(abs(int(exponent)).bit_length() * 5 + int(abs(exponent) * _bits(base)) // 50)
            return base ** int(exponent)
        if not isinstance(base, MP.mpc) and base < 0 and not self.imaginary:
            raise UndefinedError
        if isinstance(base, Fraction) and base > 0 and isinstance(exponent, Fraction) and exponent.denominator == 2:
            root = Fraction(math.isqrt(base.numerator), math.isqrt(base.denominator))
            if root * root == base:
                return self._power(root, Fraction(exponent.numerator))
        self.budget.pay(2 * TRANSCENDENTAL)
        logarithm = MP.log(_inexact(base)) * _inexact(exponent)
        if abs(logarithm) > MAX_BITS:
            raise UndefinedError
        return MP.exp(logarithm)

    def _root(self, value, index):
        if not isinstance(index, Fraction) or index == 0:
            return self._power(value, 1 / _inexact(index) if index != 0 else index)
        if not isinstance(value, MP.mpc) and value < 0 and index.denominator == 1 and index % 2 == 1:
            return -self._power(-value, 1 / index)
        return self._power(value, 1 / index)

    def _factorial(self, value):
        size = _whole(value)
        self.budget.pay(size)
        return Fraction(math.factorial(size))

    def _binomial(self, total, chosen):
        size = _whole(total)
        self.budget.pay(size)
        return Fraction(math.comb(size, _whole(chosen)))

    def _abs(self, value):
        return abs(value)

    def _max(self, *values):
        return max(map(self._real, values), key=_inexact)

    def _min(self, *values):
        return min(map(self._real, values), key=_inexact)

    def _gcd(self, *values):
        return Fraction(math.gcd(*map(_integer, values)))

    def _lcm(self, *values):
        if sum(map(_bits, values)) > MAX_BITS:
            raise UndefinedError
        return Fraction(math.lcm(*map(_integer, values)))

    def _degrees(self, value):
        return _inexact(value) * MP.pi / 180

    def _exp(self, value):
        if value == 0:
            return Fraction(1)
        if abs(value) > MAX_BITS:
            raise UndefinedError
        self.budget.pay(TRANSCENDENTAL)
        return MP.exp(_inexact(value))

    def _log(self, value, base=None):
        self.budget.pay(TRANSCENDENTAL)
        for operand in (value, base):
            if operand is None:
                continue
            negative = not isinstance(operand, MP.mpc) and operand < 0
            if operand == 0 or (negative and not self.imaginary) or (operand is base and operand == 1):
                raise UndefinedError
        if value == 1:
            return Fraction(0)
        result = MP.log(_inexact(value))
        return result if base is None else result / MP.log(_inexact(base))

    def _lg(self, value):
        return self._log(value, Fraction(10))

    def _rounded(self, rounding, value):
        value = self._real(value)
        if isinstance(value, Fraction):
            return Fraction(rounding(value))
        if abs(value) > 2**64:  # too few of the digits are behind the point to tell
            raise UndefinedError
        return Fraction(int((MP.floor if rounding is math.floor else MP.ceil)(value)))

    def _floor(self, value):
        return self._rounded(math.floor, value)

    def _ceil(self, value):
        return self._rounded(math.ceil, value)

    def _cbrt(self, value):
        return self._root(value, Fraction(3))

    def _unknown(self, name: str, values: list):
        """Return the value of a function nobody has defined: the same for the same arguments, else another."""
        self.budget.pay(TRANSCENDENTAL)
        key = "/".join([name, *(str(value) if isinstance(value, Fraction) else MP.nstr(value, 30) for value in map(_short, values))])
        return Fraction(zlib.crc32(key.encode()) % 9973 + 1, 97)


def _trigonometric(name: str):
    def call(self, value):
        if abs(value) > MAX_ARGUMENT:
            raise UndefinedError
        self.budget.pay(TRANSCENDENTAL)
        return getattr(MP, name)(_inexact(value))

    return call


def _reciprocal(numerator: str, denominator: str):
    def call(self, value):
        below = getattr(self, denominator)(value)
        if below == 0:
            raise UndefinedError
        return (getattr(self, numerator)(value) if numerator else 1) / below

    return call


def _inverse(name: str):
    def call(self, value):
        value = self._real(value)
        if name != "atan" and abs(value) > 1:
            raise UndefinedError
        self.budget.pay(TRANSCENDENTAL)
        return getattr(MP, name)(_inexact(value))

    return call


for _name in ("sin", "cos", "sinh", "cosh", "tanh"):
    setattr(Calculator, f"_{_name}", _trigonometric(_name))
for _name, _above, _below in (("tan", "_sin", "_cos"), ("cot", "_cos", "_sin"), ("sec", "", "_cos"), ("csc", "", "_sin")):
    setattr(Calculator, f"_{_name}", _reciprocal(_above, _below))
for _name in ("asin", "acos", "atan"):
    setattr(Calculator, f"_{_name}", _inverse(_name))


def _bits(value) -> int:
    if isinstance(value, Fraction):
        return value.numerator.bit_length() + value.denominator.bit_length()
    return 64


def _bounded(value):
    if isinstance(value, Fraction):
        if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
            raise UndefinedError
    elif not MP.isfinite(value):
        raise UndefinedError
    return value


def _short(value):
    """Return a value that can be written down quickly."""
    return value if not isinstance(value, Fraction) or _bits(value) < 2_000 else _inexact(value)


def _inexact(value):
    return MP.mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value


def _pair(left, right):
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return left, right
    return _inexact(left), _inexact(right)


def _integer(value) -> int:
    if not isinstance(value, Fraction) or value.denominator != 1:
        raise UndefinedError
    return int(value)


def _whole(value) -> int:
    if not 0 <= _integer(value) <= MAX_ARGUMENT:
        raise UndefinedError
    return int(value)


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
        if ratio is not None and not _close(*_pair(_divided(one, other), ratio)):
            return None
        ratio = ratio or _divided(one, other)
        shared += 1
    return None if not names or shared < MIN_POINTS else Fraction(1 if ratio > 0 else -1)


def _divided(left, right):
    left, right = _pair(left, right)
    return left / right


def _close(left, right) -> bool:
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return left == right
    left, right = _inexact(left), _inexact(right)
    error, size = abs(left - right), max(abs(left), abs(right))
    return error <= size * RELATIVE_ERROR or (min(abs(left), abs(right)) == 0 and error < ZERO)
