"""Exact linear algebra on small systems of fractions."""

from collections.abc import Sequence
from fractions import Fraction


def dot(first: Sequence, second: Sequence) -> Fraction | int:
    """Return the inner product of two vectors of the same length."""
    return sum(a * b for a, b in zip(first, second, strict=True))


def times(rows: Sequence[Sequence], values: Sequence) -> list:
    """Return the product of a matrix, given by its rows, and a vector."""
    return [dot(row, values) for row in rows]


def solve(rows: Sequence[Sequence[int]], right: Sequence[int]) -> list[Fraction] | None:
    """Solve a square system of whole numbers exactly, by elimination without fractions.

    Args:
        rows: n rows of n whole numbers.
        right: n whole numbers.

    Returns:
        The n unknowns, or None if the matrix is singular.
    """
    table = [[*row, end] for row, end in zip(rows, right, strict=True)]
    size = len(table)
    for column in range(size):
        pivot = next((index for index in range(column, size) if table[index][column] != 0), None)
        if pivot is None:
            return None
        table[column], table[pivot] = table[pivot], table[column]
        top = table[column]
        for index in range(size):
            if index != column and table[index][column] != 0:
                factor = table[index][column]
                table[index] = [top[column] * value - factor * head for value, head in zip(table[index], top, strict=True)]
    return [Fraction(row[-1], row[index]) for index, row in enumerate(table)]
