"""How exact numbers, vectors and polynomials are written in questions, steps and answers."""

from collections.abc import Iterable, Sequence
from fractions import Fraction


def number(value: Fraction | int) -> str:
    """Write a number as an answer: ``7``, ``-7/3``."""
    return str(Fraction(value))


def tex(value: Fraction | int) -> str:
    r"""Write a number inside a formula: ``7``, ``-\frac{7}{3}``."""
    value = Fraction(value)
    if value.denominator == 1:
        return str(value.numerator)
    return f"{'-' if value < 0 else ''}\\frac{{{abs(value.numerator)}}}{{{value.denominator}}}"


def vector(values: Iterable[Fraction | int]) -> str:
    """Write a vector: ``(1, -2, 3/2)``."""
    return f"({', '.join(map(number, values))})"


def interval(low: Fraction | int, high: Fraction | int) -> str:
    """Write a closed interval: ``[-1, 5/2]``."""
    return f"[{number(low)}, {number(high)}]"


def matrix(rows: Iterable[Iterable[Fraction | int]]) -> str:
    """Write a matrix by its rows: ``[[2, 1], [1, 3]]``."""
    return f"[{', '.join('[' + ', '.join(map(number, row)) + ']' for row in rows)}]"


def listing(texts: Sequence[str], last: str = "and") -> str:
    """Join texts as in a sentence: ``a, b and c``."""
    return f"{', '.join(texts[:-1])} {last} {texts[-1]}" if len(texts) > 1 else texts[0]


def combine(terms: Iterable[tuple[Fraction | int, str]]) -> str:
    """Write a sum of coefficients times symbols, terms with coefficient zero left out: ``3x^2 - y + 4``.

    Args:
        terms: pairs of a coefficient and a symbol; the symbol of a constant is the empty text.
    """
    text = ""
    for coefficient, symbol in terms:
        if coefficient == 0:
            continue
        size = "" if abs(coefficient) == 1 and symbol else tex(abs(coefficient))
        sign = (" - " if text else "-") if coefficient < 0 else (" + " if text else "")
        text += f"{sign}{size}{symbol}"
    return text or "0"


def coordinates(count: int, letter: str = "x") -> list[str]:
    """Name the coordinates of a vector: ``x_1``, ``x_2`` and so on."""
    return [f"{letter}_{index + 1}" for index in range(count)]


def wrapped(value: Fraction | int) -> str:
    """Write a number as a further summand or factor: ``7``, ``3/2``, and ``(-7)`` in parentheses."""
    return f"({number(value)})" if value < 0 else number(value)


def shifted(name: str, centre: int) -> str:
    """Write the square of the difference to a number: ``(x - 3)^2``, and ``x^2`` where the number is zero."""
    return f"({combine(((1, name), (-centre, '')))})^2" if centre else f"{name}^2"


def linear(coefficients: Sequence[Fraction | int], constant: Fraction | int = 0, names: Sequence[str] | None = None) -> str:
    """Write a linear form plus a constant: ``2x_1 - 3x_2 + 5``."""
    return combine([*zip(coefficients, names or coordinates(len(coefficients)), strict=True), (constant, "")])


def polynomial(coefficients: Sequence[Fraction | int], name: str = "x") -> str:
    """Write a polynomial in one variable, the highest power first in ``coefficients``: ``x^3 - 2x + 1``."""
    degree = len(coefficients) - 1
    powers = [f"{name}^{power}" if power > 1 else name if power else "" for power in range(degree, -1, -1)]
    return combine(zip(coefficients, powers, strict=True))


def quadratic(
    rows: Sequence[Sequence[Fraction | int]], slope: Sequence[Fraction | int] = (), constant: Fraction | int = 0
) -> str:
    """Write x^T A x + b^T x + c in coordinates, for a symmetric matrix A: ``3x_1^2 + 2x_1x_2 - x_2``."""
    names = coordinates(len(rows))
    squares = [(rows[index][index], f"{name}^2") for index, name in enumerate(names)]
    cross = [(2 * rows[i][j], names[i] + names[j]) for i in range(len(rows)) for j in range(i + 1, len(rows))]
    return combine([*squares, *cross, *zip(slope, names, strict=False), (constant, "")])


def square_part(value: int) -> tuple[int, int]:
    """Split a positive whole number into a square and the rest: 12 gives (2, 3), because 12 = 2^2 times 3."""
    inside, outside, divisor = value, 1, 2
    while divisor * divisor <= inside:
        while inside % (divisor * divisor) == 0:
            inside //= divisor * divisor
            outside *= divisor
        divisor += 1
    return outside, inside


def root(value: int) -> str:
    r"""Write the square root of a positive whole number, reduced: ``3``, ``2\sqrt{5}``."""
    outside, inside = square_part(value)
    return combine(((outside, f"\\sqrt{{{inside}}}" if inside > 1 else ""),))
