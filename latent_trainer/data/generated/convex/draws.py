"""Random whole numbers, vectors of whole length and matrices with whole eigenvalues."""

import random

LENGTHS = {
    2: ((3, 4), (5, 12), (8, 15), (7, 24), (20, 21), (12, 35), (9, 40)),
    3: ((1, 2, 2), (2, 3, 6), (1, 4, 8), (4, 4, 7), (2, 6, 9), (6, 6, 7), (3, 4, 12), (2, 5, 14), (2, 10, 11)),
}


def nonzero(rng: random.Random, low: int, high: int) -> int:
    """Draw a whole number from low to high that is not zero."""
    value = 0
    while value == 0:
        value = rng.randint(low, high)
    return value


def integers(rng: random.Random, count: int, low: int, high: int) -> list[int]:
    """Draw a vector of whole numbers that is not the zero vector."""
    values = [0]
    while not any(values):
        values = [rng.randint(low, high) for _ in range(count)]
    return values


def whole_length(rng: random.Random, dimension: int, low: int = 1, high: int = 1) -> tuple[list[int], int]:
    """Draw a vector of whole numbers whose Euclidean length is a whole number too.

    Args:
        rng: the source of chance.
        dimension: 2 or 3.
        low: smallest factor the basic vector is multiplied by.
        high: largest factor.

    Returns:
        The vector and its length.
    """
    basic = list(rng.choice(LENGTHS[dimension]))
    rng.shuffle(basic)
    factor = rng.randint(low, high)
    values = [factor * value * rng.choice((-1, 1)) for value in basic]
    square = sum(value * value for value in values)
    length = factor
    while length * length < square:
        length += factor
    return values, length


def spectral(rng: random.Random, dimension: int, low: int, high: int) -> tuple[list[list[int]], list[int], str]:
    """Draw a symmetric matrix of whole numbers with whole eigenvalues, not a diagonal one.

    The matrix is c I + k v v^T, so its eigenvalues are c (on the vectors orthogonal to v) and c + k |v|^2.

    Args:
        rng: the source of chance.
        dimension: number of rows.
        low: smallest c.
        high: largest c.

    Returns:
        The rows, the eigenvalues in increasing order, and the step that explains them for a matrix A.
    """
    direction = [0] * dimension
    while sum(value != 0 for value in direction) < 2:
        direction = [rng.randint(-3, 3) for _ in range(dimension)]
    base, factor = rng.randint(low, high), rng.randint(1, 3)
    rows = [[base * (i == j) + factor * direction[i] * direction[j] for j in range(dimension)] for i in range(dimension)]
    top = base + factor * sum(value * value for value in direction)
    shift = f"{'-' if base > 0 else '+'} {abs(base)}I " if base else ""
    reason = f"A {shift}has rank one and the trace {top - base}, so its eigenvalues are {top - base} and 0"
    return rows, [base] * (dimension - 1) + [top], reason


def definite(rng: random.Random, dimension: int, size: int) -> list[list[int]]:
    """Draw a positive definite matrix of whole numbers: diagonally dominant, off-diagonal entries up to ``size``."""
    rows = [[0] * dimension for _ in range(dimension)]
    for i in range(dimension):
        for j in range(i):
            rows[i][j] = rows[j][i] = rng.randint(-size, size)
    for i in range(dimension):
        rows[i][i] = sum(map(abs, rows[i])) + rng.randint(1, size)
    return rows
