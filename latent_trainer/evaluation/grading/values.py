"""The value of a formula at a point: exact with fractions, else to 60 digits.

Every operation is checked for size before it is carried out, and paid for out of a budget of work, so that the time is
bounded whatever a model wrote.
"""

import math
import zlib
from fractions import Fraction

import mpmath

MAX_BITS = 20_000  # of any exact intermediate number
MAX_ARGUMENT = 1_500  # of factorials, binomials and trigonometric functions
MP = mpmath.MPContext()  # of our own: other code may change the precision of mpmath's, from any thread
MP.dps = 60
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
            left, right = paired(total, value)
            total = _bounded(left + right)
        return total

    def _multiply(self, *values):
        total = values[0]
        for value in values[1:]:
            left, right = paired(total, value)
            total = _bounded(left * right)
        return total

    def _power(self, base, exponent):
        if base == 0:
            if isinstance(exponent, MP.mpc) or (exponent <= 0 and not (exponent == 0 and isinstance(exponent, Fraction))):
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
        logarithm = MP.log(inexact(base)) * inexact(exponent)
        if abs(logarithm) > MAX_BITS:
            raise UndefinedError
        return MP.exp(logarithm)

    def _root(self, value, index):
        if not isinstance(index, Fraction) or index == 0:
            return self._power(value, 1 / inexact(index) if index != 0 else index)
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
        return max(map(self._real, values), key=inexact)

    def _min(self, *values):
        return min(map(self._real, values), key=inexact)

    def _gcd(self, *values):
        return Fraction(math.gcd(*map(_integer, values)))

    def _lcm(self, *values):
        if sum(map(_bits, values)) > MAX_BITS:
            raise UndefinedError
        return Fraction(math.lcm(*map(_integer, values)))

    def _degrees(self, value):
        return inexact(value) * MP.pi / 180

    def _exp(self, value):
        if value == 0:
            return Fraction(1)
        if abs(value) > MAX_BITS:
            raise UndefinedError
        self.budget.pay(TRANSCENDENTAL)
        return MP.exp(inexact(value))

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
        result = MP.log(inexact(value))
        return result if base is None else result / MP.log(inexact(base))

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
        key = "/".join([name, *map(_written, values)])
        return Fraction(zlib.crc32(key.encode()) % 9973 + 1, 97)


def _trigonometric(name: str):
    def call(self, value):
        if abs(value) > MAX_ARGUMENT:
            raise UndefinedError
        self.budget.pay(TRANSCENDENTAL)
        return getattr(MP, name)(inexact(value))

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
        return getattr(MP, name)(inexact(value))

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


def _written(value) -> str:
    """Return a value as a key, to 30 digits where it has many."""
    return str(value) if isinstance(value, Fraction) and _bits(value) < 2_000 else MP.nstr(inexact(value), 30)


def inexact(value):
    """Return a value as a number of 60 digits."""
    return MP.mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value


def paired(left, right):
    """Return two values as they can be added and divided: fractions, or numbers of 60 digits."""
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return left, right
    return inexact(left), inexact(right)


def _integer(value) -> int:
    if not isinstance(value, Fraction) or value.denominator != 1:
        raise UndefinedError
    return int(value)


def _whole(value) -> int:
    if not 0 <= _integer(value) <= MAX_ARGUMENT:
        raise UndefinedError
    return int(value)
