"""Euclidean projections on convex sets and distances to them."""

import random
from fractions import Fraction
from itertools import combinations

from latent_trainer.data.generated.convex.draws import integers, whole_length
from latent_trainer.data.generated.convex.linear import dot, solve, times
from latent_trainer.data.generated.convex.notation import coordinates, linear, listing, number, tex, vector, wrapped
from latent_trainer.data.generated.families import Exercise


def distance_to_box(rng: random.Random, hard: bool) -> Exercise:
    """The squared distance from a point to a box."""
    dimension, size = (5, 20) if hard else (3, 8)
    low = [rng.randint(-size, size - 1) for _ in range(dimension)]
    high = [rng.randint(a + 1, size) for a in low]
    point = [rng.randint(-2 * size, 2 * size) for _ in range(dimension)]
    nearest = [min(max(p, a), b) for p, a, b in zip(point, low, high, strict=True)]
    gaps = [abs(p - x) for p, x in zip(point, nearest, strict=True)]
    value = dot(gaps, gaps)
    steps = (
        f"The nearest point of the box clips every coordinate: {vector(nearest)}",
        f"The differences have the sizes {vector(gaps)}",
        f"The sum of their squares is {value}",
    )
    box = listing([f"{a} <= {x} <= {b}" for a, x, b in zip(low, coordinates(dimension), high, strict=True)])
    question = rng.choice(
        (
            f"Find the squared Euclidean distance from {vector(point)} to the box {box}.",
            f"What is the minimum of \\|x - p\\|_2^2 subject to {box}, where p = {vector(point)}?",
            f"How large is the squared distance between the point {vector(point)} and the set of all x with {box}?",
        )
    )
    return Exercise(question, steps, str(value), 2 if hard else 1, {"low": low, "high": high, "point": point})


def project_halfspace(rng: random.Random, hard: bool) -> Exercise:
    """The projection of a point on a halfspace."""
    dimension, size = (4, 9) if hard else (2, 6)
    normal, point = integers(rng, dimension, -4, 4), integers(rng, dimension, -size, size)
    excess = rng.choice((rng.randint(-5, 0), rng.randint(1, 12), rng.randint(1, 12), rng.randint(1, 12)))
    bound = dot(normal, point) - excess
    factor = Fraction(max(excess, 0), dot(normal, normal))
    nearest = [p - factor * a for p, a in zip(point, normal, strict=True)]
    steps = [f"At the point the left side is {dot(normal, point)}, compared with the bound {bound}"]
    if excess > 0:
        steps.append(f"Move against the normal by the factor {excess}/{dot(normal, normal)} = {number(factor)}")
        steps.append(f"{vector(point)} - {tex(factor)} {vector(normal)} = {vector(nearest)}")
    else:
        steps.append(f"The point satisfies the inequality, so it is its own projection: {vector(nearest)}")
    condition = f"{linear(normal)} <= {bound}"
    question = rng.choice(
        (
            f"Project the point {vector(point)} on the halfspace {condition}.",
            f"Find the Euclidean projection of p = {vector(point)} on the set of all x with {condition}.",
            f"Which x with {condition} minimises \\|x - p\\|_2 for p = {vector(point)}?",
        )
    )
    parameters = {"normal": normal, "bound": bound, "point": point}
    return Exercise(question, steps, vector(nearest), 3 if hard else 2, parameters)


def project_line(rng: random.Random, hard: bool) -> Exercise:
    """The projection of a point on a line (harder: on a ray)."""
    dimension, size = (4, 9) if hard else (3, 5)
    base, direction, point = (integers(rng, dimension, -size, size) for _ in range(3))
    step = Fraction(dot(direction, [p - b for p, b in zip(point, base, strict=True)]), dot(direction, direction))
    steps = [
        f"p - u = {vector([p - b for p, b in zip(point, base, strict=True)])}",
        f"s = ((p - u) \\cdot d)/(d \\cdot d) = {number(step)} minimises the distance over all real s",
    ]
    if hard:
        step = max(step, Fraction(0))
        steps.append(f"The constraint s >= 0 leaves s = {number(step)}")
    nearest = [b + step * d for b, d in zip(base, direction, strict=True)]
    steps.append(f"The projection is u + s d = {vector(nearest)}")
    kind, where = ("ray", "s >= 0") if hard else ("line", "s real")
    question = rng.choice(
        (
            f"Project p = {vector(point)} on the {kind} u + s d, {where}, with u = {vector(base)} and d = "
            f"{vector(direction)}.",
            f"Find the point closest to p = {vector(point)} on the {kind} of all u + s d, {where}, for u = {vector(base)} "
            "and "
            f"d = {vector(direction)}.",
            f"A {kind} starts from u = {vector(base)} with direction d = {vector(direction)}, so its points are u + s d, "
            f"{where}. "
            f"Which of them is nearest to p = {vector(point)}?",
        )
    )
    parameters = {"base": base, "direction": direction, "point": point, "ray": hard}
    return Exercise(question, steps, vector(nearest), 4 if hard else 3, parameters)


def project_ball(rng: random.Random, hard: bool) -> Exercise:
    """The projection of a point on a Euclidean ball."""
    dimension = 3 if hard else 2
    offset, length = whole_length(rng, dimension, 1, 3 if hard else 2)
    centre = [rng.randint(-6, 6) for _ in range(dimension)]
    point = [c + x for c, x in zip(centre, offset, strict=True)]
    radius = rng.randint(1, length - 1)
    factor = Fraction(radius, length)
    nearest = [c + factor * x for c, x in zip(centre, offset, strict=True)]
    steps = (
        f"p - c = {vector(offset)} has the length {length}, more than the radius",
        f"Shrink it to the length {radius}: multiply by {number(factor)}",
        f"The projection is c + {tex(factor)}(p - c) = {vector(nearest)}",
    )
    question = rng.choice(
        (
            f"Project p = {vector(point)} on the Euclidean ball with centre c = {vector(centre)} and radius {radius}.",
            f"Find the point of the ball \\|x - c\\|_2 <= {radius}, c = {vector(centre)}, nearest to p = {vector(point)}.",
            f"Which x with \\|x - c\\|_2 <= {radius} for c = {vector(centre)} is closest to p = {vector(point)}?",
        )
    )
    parameters = {"centre": centre, "radius": radius, "point": point}
    return Exercise(question, steps, vector(nearest), 3 if hard else 2, parameters)


def project_simplex(rng: random.Random, hard: bool) -> Exercise:
    """The projection of a point on a scaled probability simplex."""
    dimension, size = (5, 12) if hard else (3, 6)
    total = rng.randint(7, 15) if hard else rng.randint(1, 6)
    point = [rng.randint(-size, size) for _ in range(dimension)]
    ordered, kept = sorted(point, reverse=True), 1
    while kept < dimension and ordered[kept] * kept > sum(ordered[:kept]) - total:
        kept += 1
    level = Fraction(sum(ordered[:kept]) - total, kept)
    nearest = [max(p - level, Fraction(0)) for p in point]
    steps = (
        "The projection is \\max(p_i - \\theta, 0) with the number \\theta that makes the sum right",
        f"The {kept} largest coordinates stay positive" if kept > 1 else "Only the largest coordinate stays positive",
        f"\\theta = ({sum(ordered[:kept])} - {total})/{kept} = {number(level)}",
        f"The projection is {vector(nearest)}",
    )
    simplex = f"{linear([1] * dimension)} = {total}"
    question = rng.choice(
        (
            f"Project the point p = {vector(point)} on the set of all x >= 0 with {simplex}.",
            f"Find the nonnegative vector x with {simplex} that is nearest to p = {vector(point)} in the Euclidean norm.",
            f"Minimise \\|x - p\\|_2 for p = {vector(point)} over all x with nonnegative coordinates and {simplex}. Which "
            "x is "
            "optimal?",
        )
    )
    return Exercise(question, steps, vector(nearest), 4 if hard else 3, {"point": point, "total": total})


def project_second_order_cone(rng: random.Random, hard: bool) -> Exercise:
    """The projection of a point on the second-order cone."""
    dimension = 3 if hard else 2
    head, length = whole_length(rng, dimension, 1, 6 if hard else 12)
    kind = rng.choice(("outside", "outside", "outside", "polar"))
    height = rng.randint(1 - length, length - 1) if kind == "outside" else -rng.randint(length, length + 9)
    factor = Fraction(max(length + height, 0), 2)
    nearest = [*(factor * x / length for x in head), factor]
    steps = [f"\\|x\\|_2 = {length} and t = {height}"]
    if kind == "polar":
        steps.append("\\|x\\|_2 <= -t, so the point lies in the polar cone and is projected on the tip")
    else:
        steps.append(
            f"Neither \\|x\\|_2 <= t nor \\|x\\|_2 <= -t, so the new height is ({length} + {wrapped(height)})/2 = "
            f"{number(factor)}"
        )
        steps.append(f"x is shrunk to that length by the factor {number(factor / length)}")
    steps.append(f"The projection is {vector(nearest)}")
    point = vector([*head, height])
    question = rng.choice(
        (
            f"Project {point} on the second-order cone of all (x, t) with x in R^{dimension} and \\|x\\|_2 <= t.",
            f"Find the point of the cone \\|x\\|_2 <= t, x in R^{dimension}, that is nearest to (x, t) = {point}.",
            f"What is the Euclidean projection of {point} on the cone {{(x, t) : \\|x\\|_2 <= t}} in R^{dimension + 1}?",
        )
    )
    return Exercise(question, steps, vector(nearest), 4 if hard else 3, {"head": head, "height": height})


def distance_to_polyhedron(rng: random.Random, hard: bool) -> Exercise:
    """The squared distance from a point to a polyhedron of two (harder: three) inequalities."""
    dimension, count = (3, 3) if hard else (2, 2)
    inner = [rng.randint(-4, 4) for _ in range(dimension)]
    point, normals = inner, []
    while not normals or solve(_gram(normals), [0] * count) is None:
        normals = [integers(rng, dimension, -3, 3) for _ in range(count)]
    bounds = [dot(a, inner) + rng.randint(0, 3) for a in normals]
    while all(dot(a, point) <= b for a, b in zip(normals, bounds, strict=True)):
        point = [x + rng.randint(-6, 6) for x in inner]
    nearest, active = _nearest(point, normals, bounds)
    gap = [p - x for p, x in zip(point, nearest, strict=True)]
    value = dot(gap, gap)
    tight = listing([f"{linear(normals[i])} = {bounds[i]}" for i in active])
    steps = (
        "The point violates "
        f"{listing([f'{linear(a)} <= {b}' for a, b in zip(normals, bounds, strict=True) if dot(a, point) > b])}",
        f"With multipliers that are not negative, the nearest point is found where {tight}",
        f"It is {vector(nearest)}, which satisfies every inequality",
        f"The squared distance is {number(value)}",
    )
    conditions = listing([f"{linear(a)} <= {b}" for a, b in zip(normals, bounds, strict=True)])
    question = rng.choice(
        (
            f"Find the squared Euclidean distance from p = {vector(point)} to the polyhedron {conditions}.",
            f"Minimise \\|x - p\\|_2^2 subject to {conditions}, where p = {vector(point)}. What is the minimum?",
            f"The set C consists of all x in R^{dimension} with {conditions}. What is the squared distance between C and "
            f"{vector(point)}?",
        )
    )
    parameters = {"normals": normals, "bounds": bounds, "point": point}
    return Exercise(question, steps, number(value), 5 if hard else 4, parameters)


def _gram(rows: list) -> list[list]:
    return [times(rows, row) for row in rows]


def _nearest(point: list, normals: list, bounds: list) -> tuple[list[Fraction], tuple[int, ...]]:
    """Find the nearest point and its active inequalities by trying every set of them."""
    for size in range(1, len(normals) + 1):
        for active in combinations(range(len(normals)), size):
            rows = [normals[i] for i in active]
            multipliers = solve(_gram(rows), [dot(normals[i], point) - bounds[i] for i in active])
            if multipliers is None or min(multipliers) < 0:
                continue
            nearest = [p - dot(multipliers, column) for p, column in zip(point, zip(*rows, strict=True), strict=True)]
            if all(dot(a, nearest) <= b for a, b in zip(normals, bounds, strict=True)):
                return nearest, active
    raise AssertionError("independent inequalities always have a nearest point")
