"""Convex sets: which sets are convex, support functions, dual norms and dual cones."""

import random
from math import isqrt

from latent_trainer.data.generated.convex.draws import integers, nonzero, whole_length
from latent_trainer.data.generated.convex.linear import dot, times
from latent_trainer.data.generated.convex.notation import combine, coordinates, linear, listing, shifted, vector
from latent_trainer.data.generated.families import Exercise


def set_convexity(rng: random.Random, hard: bool) -> Exercise:
    """Whether a plane set is convex: conics, a disc with a disc cut out, a union of two boxes."""
    convex = rng.choice((True, False))
    kind = rng.choice(("conic", "parabola", "hyperbola", "disc", "boxes"))
    text, reason, numbers = _SETS[kind](rng, convex, 3 if hard else 1)
    steps = (*reason, f"So the set is {'convex' if convex else 'not convex'}")
    question = rng.choice(
        (
            f"Is the set of all (x, y) with {text} convex?",
            f"Let S be the set of all points (x, y) of the plane with {text}. Is S a convex set?",
            f"Decide whether the points (x, y) with {text} form a convex set.",
        )
    )
    parameters = {"kind": kind, "numbers": numbers}
    return Exercise(question, steps, "yes" if convex else "no", 3 if hard else 2, parameters)


def _conic(rng: random.Random, convex: bool, scale: int) -> tuple[str, list[str], list[int]]:
    a, c, d = (rng.randint(9 * scale - 8, 9 * scale) for _ in range(3))
    limit = isqrt(4 * a * c)
    b = rng.choice((-1, 1)) * (rng.randint(max(1, limit - 5), limit) if convex else rng.randint(limit + 1, limit + 6))
    reason = [
        f"The quadratic form has the discriminant 4 \\cdot {a} \\cdot {c} - {b * b} = {4 * a * c - b * b}",
        "It is convex, and this is one of its sublevel sets"
        if convex
        else "It is indefinite: the set contains two crossing lines, which span the plane, but not the whole plane",
    ]
    return f"{combine(((a, 'x^2'), (b, 'xy'), (c, 'y^2')))} <= {d}", reason, [a, b, c, d]


def _parabola(rng: random.Random, convex: bool, scale: int) -> tuple[str, list[str], list[int]]:
    a, c, d = (rng.randint(9 * scale - 8, 9 * scale) for _ in range(3))
    b, below = rng.randint(-9, 9), rng.choice((True, False))
    a *= 1 if below == convex else -1
    sign = "<=" if below else ">="
    reason = [
        f"The left side is a {'convex' if a > 0 else 'concave'} function of (x, y)",
        f"The condition {sign} describes a {'sublevel' if below else 'superlevel'} set, the region "
        f"{'inside' if convex else 'outside'} a parabola",
    ]
    return f"{combine(((a, 'x^2'), (b, 'x'), (c, 'y')))} {sign} {d}", reason, [a, b, c, d, int(below)]


def _hyperbola(rng: random.Random, convex: bool, scale: int) -> tuple[str, list[str], list[int]]:
    p, q = nonzero(rng, -6 * scale, 6 * scale), nonzero(rng, -6 * scale, 6 * scale)
    c = rng.randint(9 * scale - 8, 9 * scale) * (1 if convex else -1)
    first, second = combine(((1, "x"), (-p, ""))), combine(((1, "y"), (-q, "")))
    bound = combine([(q, ""), (1 if c > 0 else -1, f"\\frac{{{abs(c)}}}{{{first}}}")])
    reason = [
        f"The condition says y >= {bound} for x > {p}",
        f"The right side is a {'convex' if convex else 'strictly concave'} function of x and the set is its epigraph",
    ]
    return f"x > {p} and ({first})({second}) >= {c}", reason, [p, q, c]


def _disc(rng: random.Random, convex: bool, scale: int) -> tuple[str, list[str], list[int]]:
    (p, q), length = whole_length(rng, 2, scale, scale + 1)
    outer = rng.randint(max(2, length // 2), length - 1)
    inner = length - outer if convex else rng.randint(length - outer + 1, length - outer + 3 * scale)
    inner = rng.randint(max(1, inner - 3), inner) if convex else min(inner, length)
    reason = [
        f"The disc of radius {outer} about the origin keeps what lies at least {inner} away from ({p}, {q})",
        f"The centres are {length} apart and the radii add up to {outer + inner}",
        "Nothing inside is cut off, a disc remains"
        if convex
        else "A piece is cut off and leaves a boundary that bends inwards",
    ]
    hole = f"{shifted('x', p)} + {shifted('y', q)}"
    return f"x^2 + y^2 <= {outer**2} and {hole} >= {inner**2}", reason, [p, q, outer, inner]


def _boxes(rng: random.Random, convex: bool, scale: int) -> tuple[str, list[str], list[int]]:
    low, bottom = rng.randint(-6 * scale, 6 * scale), rng.randint(-6 * scale, 6 * scale)
    width, height = rng.randint(4 * scale - 2, 4 * scale + 2), rng.randint(2, 5 * scale)
    start = low + (rng.randint(1, width) if convex else width + rng.randint(1, 3))
    end = start + width + rng.randint(1, 3)
    reason = [
        "Both boxes have the same height range, so only the x ranges matter",
        f"The first ends at x = {low + width}, the second starts at x = {start}",
        "They meet, so the union is one box" if convex else "There is a gap between them",
    ]
    top = bottom + height
    text = f"{bottom} <= y <= {top} and ({low} <= x <= {low + width} or {start} <= x <= {end})"
    return text, reason, [bottom, top, low, low + width, start, end]


_SETS = {"conic": _conic, "parabola": _parabola, "hyperbola": _hyperbola, "disc": _disc, "boxes": _boxes}


def support_polytope(rng: random.Random, hard: bool) -> Exercise:
    """The support function of a polytope given by its vertices."""
    dimension, count, size = (4, 6, 9) if hard else (2, 4, 6)
    points = [integers(rng, dimension, -size, size) for _ in range(count)]
    direction = integers(rng, dimension, -size, size)
    values = times(points, direction)
    steps = (
        "A linear function attains its maximum over a polytope at one of the given points",
        f"The inner products with y are {listing([str(value) for value in values])}",
        f"The largest is {max(values)}",
    )
    hull = f"the convex hull of {listing([vector(point) for point in points])}"
    question = rng.choice(
        (
            f"Let C be {hull}. Find the value of its support function at y = {vector(direction)}.",
            f"Compute \\sup y \\cdot x over all x in C for y = {vector(direction)}, where C is {hull}.",
            f"What is the maximum of {linear(direction)} over {hull}?",
        )
    )
    return Exercise(question, steps, str(max(values)), 2 if hard else 1, {"points": points, "direction": direction})


def support_ellipsoid(rng: random.Random, hard: bool) -> Exercise:
    """The support function of an ellipsoid with its axes along the coordinates."""
    dimension, size = (3, 6) if hard else (2, 4)
    scaled, length = whole_length(rng, dimension, 1, size)
    axes = [rng.choice([d for d in range(1, size + 1) if value % d == 0]) for value in scaled]
    direction = [value // axis for value, axis in zip(scaled, axes, strict=True)]
    centre = [rng.randint(-size, size) for _ in range(dimension)]
    value = dot(centre, direction) + length
    squares = " + ".join(
        f"\\frac{{{shifted(name, c)}}}{{{axis**2}}}" if axis > 1 else shifted(name, c)
        for name, c, axis in zip(coordinates(dimension), centre, axes, strict=True)
    )
    steps = (
        f"C is the image of the unit ball, stretched by {vector(axes)} and moved to {vector(centre)}",
        f"The centre contributes {vector(centre)} \\cdot {vector(direction)} = {dot(centre, direction)}",
        f"The stretched ball contributes the length of {vector(scaled)}, which is {length}",
        f"The value is {dot(centre, direction)} + {length} = {value}",
    )
    question = rng.choice(
        (
            f"Let C be the ellipsoid {squares} <= 1. Find the value of its support function at y = {vector(direction)}.",
            f"Maximise {linear(direction)} subject to {squares} <= 1. What is the maximum?",
            f"What is \\sup y \\cdot x over all x with {squares} <= 1, for y = {vector(direction)}?",
        )
    )
    parameters = {"centre": centre, "axes": axes, "direction": direction}
    return Exercise(question, steps, str(value), 4 if hard else 3, parameters)


def support_sum(rng: random.Random, hard: bool) -> Exercise:
    """The support function of the Minkowski sum of a box and a Euclidean ball."""
    dimension, size = (3, 12) if hard else (2, 6)
    direction, length = whole_length(rng, dimension)
    low = [rng.randint(-size, size) for _ in range(dimension)]
    high = [value + rng.randint(1, size) for value in low]
    radius = rng.randint(1, size)
    best = [b if y > 0 else a for a, b, y in zip(low, high, direction, strict=True)]
    value = dot(best, direction) + radius * length
    box = listing([f"{a} <= {x} <= {b}" for a, x, b in zip(low, coordinates(dimension), high, strict=True)])
    steps = (
        "The support function of a sum of sets is the sum of the support functions",
        f"Over the box the maximum is attained at {vector(best)} and is {dot(best, direction)}",
        f"Over the ball it is the radius times the length of y: {radius} \\cdot {length} = {radius * length}",
        f"The sum is {value}",
    )
    question = rng.choice(
        (
            f"Let C be the Minkowski sum of the box {box} and the Euclidean ball of radius {radius} about the origin. "
            f"Find the value of the support function of C at y = {vector(direction)}.",
            f"A point u satisfies {box.replace('x', 'u')}, a point v satisfies \\|v\\|_2 <= {radius}. "
            f"How large can {vector(direction)} \\cdot (u + v) be?",
            f"Compute the support function at y = {vector(direction)} of B + D, where B is the box {box} and D the closed "
            f"Euclidean ball of radius {radius} with centre 0.",
        )
    )
    parameters = {"low": low, "high": high, "radius": radius, "direction": direction}
    return Exercise(question, steps, str(value), 3 if hard else 2, parameters)
