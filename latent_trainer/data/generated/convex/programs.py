"""Small linear, conic, semidefinite and geometric programs with exact optimal values."""

import random
from fractions import Fraction
from itertools import combinations

from latent_trainer.data.generated.convex.draws import definite, integers, nonzero, spectral, whole_length
from latent_trainer.data.generated.convex.linear import dot, solve
from latent_trainer.data.generated.convex.notation import (
    combine,
    linear,
    listing,
    matrix,
    number,
    root,
    shifted,
    square_part,
    vector,
)
from latent_trainer.data.generated.families import Exercise


def lp_vertices(rng: random.Random, hard: bool) -> Exercise:
    """The optimal value of a linear program in two nonnegative variables."""
    count, low, high = (3, 8, 25) if hard else (2, 1, 7)
    rows = [[rng.randint(low, high), rng.randint(low, high)] for _ in range(count)]
    near = [rng.randint(1, 6), rng.randint(1, 6)]  # all lines pass close to this point
    bounds = [dot(row, near) + rng.randint(0, low + 1) for row in rows]
    cost = rows[0]
    while cost in rows:
        cost = [rng.randint(low, high), rng.randint(low, high)]
    lines = [*zip(rows, bounds, strict=True), ([-1, 0], 0), ([0, -1], 0)]
    corners = []
    for ((a, b), p), ((c, d), q) in combinations(lines, 2):
        scale = a * d - b * c
        if scale == 0:
            continue
        sign = 1 if scale > 0 else -1
        point = [
            sign * (p * d - q * b),
            sign * (a * q - c * p),
        ]  # times |scale|, so that all comparisons are of whole numbers
        corner = [Fraction(value, abs(scale)) for value in point]
        if all(dot(row, point) <= bound * abs(scale) for row, bound in lines) and corner not in corners:
            corners.append(corner)
    best = max(corners, key=lambda point: (dot(cost, point), point))
    steps = (
        f"The feasible set has the corners {listing([vector(point) for point in corners])}",
        f"The objective is largest at {vector(best)}",
        f"Its value there is {number(dot(cost, best))}",
    )
    names = ("x", "y")
    conditions = listing([f"{linear(row, names=names)} <= {b}" for row, b in zip(rows, bounds, strict=True)])
    goal = linear(cost, names=names)
    question = rng.choice(
        (
            f"Maximise {goal} subject to {conditions}, with x >= 0 and y >= 0. What is the maximum?",
            f"Find the optimal value of the linear program: maximise {goal} subject to {conditions} and x, y >= 0.",
            f"Nonnegative real numbers x and y satisfy {conditions}. How large can {goal} be?",
        )
    )
    parameters = {"rows": rows, "bounds": bounds, "cost": cost}
    return Exercise(question, steps, number(dot(cost, best)), 4 if hard else 3, parameters)


def minimax_affine(rng: random.Random, hard: bool) -> Exercise:
    """The minimum of a maximum of affine functions of one variable."""
    count, size = (5, 15) if hard else (3, 7)
    slopes = [
        -rng.randint(1, size),
        rng.randint(1, size),
        *(rng.choice((-1, 1)) * rng.randint(1, size) for _ in range(count - 2)),
    ]
    shifts = [rng.randint(-size, size) for _ in slopes]
    lines = list(zip(slopes, shifts, strict=True))
    rng.shuffle(lines)
    falling, rising = [line for line in lines if line[0] < 0], [line for line in lines if line[0] > 0]
    # the minimum of the maximum is the highest crossing of a falling and a rising line
    value, at, first, second = max(
        (Fraction(a * d - c * b, a - c), Fraction(d - b, a - c), (a, b), (c, d)) for a, b in falling for c, d in rising
    )
    texts = [combine(((a, "x"), (b, ""))) for a, b in lines]
    steps = (
        "At the minimum a falling and a rising line cross, and no other line is higher there",
        f"{combine(((first[0], 'x'), (first[1], '')))} = {combine(((second[0], 'x'), (second[1], '')))} at x = {number(at)}",
        f"The common value there is {number(value)}, the minimum",
    )
    question = rng.choice(
        (
            f"Find the minimum over real x of \\max({', '.join(texts)}).",
            f"What is the smallest t for which some real x satisfies {listing([f'{text} <= t' for text in texts])}?",
            f"Minimise the largest of the numbers {listing(texts)} over all real x. What is the minimum?",
        )
    )
    return Exercise(question, steps, number(value), 4 if hard else 3, {"lines": [list(line) for line in lines]})


def chebyshev_radius(rng: random.Random, hard: bool) -> Exercise:
    """The radius of the largest disc in a right triangle (harder: cut off at one side)."""
    (a, b), length = whole_length(rng, 2, 1, 1)
    a, b = abs(a), abs(b)
    p, q = nonzero(rng, -9, 9), nonzero(rng, -9, 9)
    room = rng.randint(a + b, 12 * (a + b + length))
    radius = Fraction(room, a + b + length)
    conditions = [f"x >= {p}", f"y >= {q}", f"{combine(((a, 'x'), (b, 'y')))} <= {a * p + b * q + room}"]
    steps = [
        f"A disc of radius r fits if and only if the centre ({p} + r, {q} + r) keeps the distance r from the slanted side",
        f"That is {a}({p} + r) + {b}({q} + r) + {length}r <= {a * p + b * q + room}, so r <= {number(radius)}",
    ]
    width = None
    if hard:
        width = rng.randint(1, 2 + int(3 * radius))
        conditions.insert(1, f"x <= {p + width}")
        steps.append(f"The strip {p} <= x <= {p + width} needs r <= {number(Fraction(width, 2))}")
        radius = min(radius, Fraction(width, 2))
    steps.append(f"The largest radius is {number(radius)}")
    region = listing(conditions)
    question = rng.choice(
        (
            f"Find the radius of the largest disc contained in the set {region}.",
            f"What is the Chebyshev radius (radius of the largest inscribed circle) of the polyhedron {region}?",
            f"Maximise r such that some disc of radius r lies in the region {region}. What is the largest r?",
        )
    )
    parameters = {"normal": [a, b], "bound": a * p + b * q + room, "corner": [p, q], "width": width}
    return Exercise(question, steps, number(radius), 4 if hard else 3, parameters)


def shortest_path(rng: random.Random, hard: bool) -> Exercise:
    """The minimum of a sum of two (harder: three) Euclidean norms in one (two) unknowns."""
    size = 15 if hard else 9
    across, heights = rng.randint(2, 3 * size), [rng.randint(1, size) for _ in range(3 if hard else 2)]
    start = rng.randint(-size, size)
    end = start + across
    middle = [f"\\sqrt{{(y - x)^2 + {heights[1] ** 2}}}"] if hard else []
    first, last = shifted("x", start), shifted("y" if hard else "x", end)
    roots = [f"\\sqrt{{{first} + {heights[0] ** 2}}}", *middle, f"\\sqrt{{{last} + {heights[-1] ** 2}}}"]
    total, square = sum(heights), across**2 + sum(heights) ** 2
    steps = (
        f"The terms are the lengths of vectors whose sum is ({across}, {total}), whatever "
        f"{'x and y are' if hard else 'x is'}",
        "By the triangle inequality the sum of the lengths is at least the length of the sum, with equality for parallel "
        "vectors",
        f"So the minimum is \\sqrt{{{across}^2 + {total}^2}} = {root(square)}",
    )
    text, free = " + ".join(roots), "real x and y" if hard else "real x"
    question = rng.choice(
        (
            f"Find the minimum of {text} over all {free}.",
            f"What is the smallest value of {text} for {free}?",
            f"Solve the second-order cone program: minimise {text} over {free}. Give the optimal value.",
        )
    )
    parameters = {"start": start, "end": end, "heights": heights}
    return Exercise(question, steps, root(square), 4 if hard else 3, parameters)


def eigenvalue_program(rng: random.Random, hard: bool) -> Exercise:
    """The optimal value of a semidefinite program that bounds the eigenvalues of a matrix."""
    rows, values, reason = spectral(rng, 3 if hard else 2, -15, 15)
    upper = rng.choice((True, False))
    value = values[-1] if upper else values[0]
    steps = [reason, f"So the eigenvalues of A are {listing([str(v) for v in values])}"]
    claim = "tI - A" if upper else "A - tI"
    steps.append(f"{claim} is positive semidefinite exactly for t {'>=' if upper else '<='} {value}")
    extreme, verb = ("smallest", "Minimise") if upper else ("largest", "Maximise")
    question = rng.choice(
        (
            f"Let A = {matrix(rows)}. Find the {extreme} t for which {claim} is positive semidefinite.",
            f"{verb} t subject to {claim} being positive semidefinite, where A = {matrix(rows)}. What is the optimal value?",
            f"What is the {extreme} real t such that all eigenvalues of {claim} are nonnegative, if A = {matrix(rows)}?",
        )
    )
    return Exercise(question, steps, str(value), 4 if hard else 3, {"matrix": rows, "upper": upper})


def schur_program(rng: random.Random, hard: bool) -> Exercise:
    """The smallest corner entry that makes a bordered matrix positive semidefinite."""
    dimension, size = (3, 3) if hard else (2, 4)
    rows, border = definite(rng, dimension, size), integers(rng, dimension, -5, 5)
    inner = solve(rows, border)
    value = dot(border, inner)
    whole = f"[{', '.join(matrix([[*row, b]])[1:-1] for row, b in zip(rows, border, strict=True))}, "
    whole += f"[{', '.join(map(str, border))}, t]]"
    steps = (
        f"The block A = {matrix(rows)} is positive definite, so the condition is t >= b \\cdot A^{{-1}}b with b = "
        f"{vector(border)}",
        f"A^{{-1}}b = {vector(inner)}",
        f"b \\cdot A^{{-1}}b = {number(value)}",
    )
    question = rng.choice(
        (
            f"Find the smallest t for which the matrix {whole} is positive semidefinite.",
            f"Minimise t subject to {whole} being positive semidefinite. What is the optimal value?",
            f"For which smallest real t does the symmetric matrix {whole} have no negative eigenvalue?",
        )
    )
    return Exercise(question, steps, number(value), 4 if hard else 3, {"matrix": rows, "border": border})


def geometric_program(rng: random.Random, hard: bool) -> Exercise:
    """The minimum of a sum of four monomials in two positive variables."""
    low, high = (10, 40) if hard else (1, 9)
    a, b, c, d = (rng.randint(low, high) for _ in range(4))
    (first, inside), (second, other) = square_part(4 * a * b), square_part(4 * c * d)
    signs = ["" if value == 1 else f"\\sqrt{{{value}}}" for value in (inside, other)]
    answer = combine(((first + second, signs[0]),) if inside == other else ((first, signs[0]), (second, signs[1])))
    steps = (
        "With u = x/y and v = xy the two pairs of terms can be minimised separately",
        f"{combine(((a, 'u'),))} + {b}/u is at least 2\\sqrt{{{a * b}}}",
        f"{combine(((c, 'v'),))} + {d}/v is at least 2\\sqrt{{{c * d}}}",
        f"The minimum is {answer}",
    )
    terms = (f"\\frac{{{combine(((a, 'x'),))}}}{{y}}", f"\\frac{{{combine(((b, 'y'),))}}}{{x}}", combine(((c, "xy"),)))
    text = f"{' + '.join(terms)} + \\frac{{{d}}}{{xy}}"
    question = rng.choice(
        (
            f"Find the minimum of {text} over x > 0 and y > 0.",
            f"Solve the geometric program: minimise {text} over positive x and y. What is the optimal value?",
            f"What is the smallest value of {text} for positive real numbers x and y?",
        )
    )
    return Exercise(question, steps, answer, 4 if hard else 3, {"coefficients": [a, b, c, d]})
