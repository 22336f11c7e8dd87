"""Dual norms and dual cones."""

import random
from fractions import Fraction

from latent_trainer.data.generated.convex.draws import integers, whole_length
from latent_trainer.data.generated.convex.linear import solve, times
from latent_trainer.data.generated.convex.notation import combine, coordinates, linear, listing, matrix, number, vector
from latent_trainer.data.generated.families import Exercise


def dual_norm(rng: random.Random, hard: bool) -> Exercise:
    """The dual norm of a vector, for weighted l1, l2 and maximum norms."""
    dimension = 3 if hard else 2
    kind = rng.choice(("sum", "maximum", "euclidean"))
    scaled, length = whole_length(rng, dimension, 1, 6 if hard else 3)
    weights = [rng.randint(2, 9) if hard else rng.randint(1, 5) for _ in range(dimension)]
    at = [w * s for w, s in zip(weights, scaled, strict=True)] if kind == "euclidean" else scaled
    sizes = [f"{combine(((w, f'|{name}|'),))}" for w, name in zip(weights, coordinates(dimension), strict=True)]
    ratios = [Fraction(abs(y), w) for y, w in zip(at, weights, strict=True)]
    if kind == "sum":
        text, value = " + ".join(sizes), max(ratios)
        rule = f"The dual norm is the largest of |y_i|/w_i: {listing([number(r) for r in ratios])}"
    elif kind == "maximum":
        text, value = f"\\max({', '.join(sizes)})", sum(ratios)
        rule = f"The dual norm is the sum of all |y_i|/w_i: {' + '.join(number(r) for r in ratios)}"
    else:
        squares = combine((w * w, f"{name}^2") for w, name in zip(weights, coordinates(dimension), strict=True))
        text, value = f"\\sqrt{{{squares}}}", Fraction(length)
        rule = f"The dual norm is the Euclidean length of all y_i/w_i, of {vector(scaled)}"
    steps = (
        "The dual norm of y is the maximum of y \\cdot x over all x with norm at most 1",
        f"The weights are w = {vector(weights)}",
        rule,
        f"Its value is {number(value)}",
    )
    question = rng.choice(
        (
            f"Find the dual norm of y = {vector(at)} for the norm \\|x\\| = {text} on R^{dimension}.",
            f"Let \\|x\\| = {text}. Compute \\|y\\|_* for y = {vector(at)}, where \\|.\\|_* is the dual norm.",
            f"What is the maximum of {linear(at)} subject to {text} <= 1?",
        )
    )
    parameters = {"kind": kind, "weights": weights, "at": at}
    return Exercise(question, steps, number(value), 3 if hard else 2, parameters)


def dual_cone(rng: random.Random, hard: bool) -> Exercise:
    """Whether a vector lies in the dual of a polyhedral cone given by inequalities."""
    dimension, size = (3, 4) if hard else (2, 6)
    inside = rng.choice((True, False))
    multipliers = [rng.randint(0, 5) for _ in range(dimension)]
    multipliers[0] += 1
    if not inside:
        multipliers[rng.randrange(1, dimension)] = -rng.randint(1, 3)
    rows = [[0] * dimension] * dimension
    while solve(rows, [0] * dimension) is None:
        rows = [integers(rng, dimension, -size, size) for _ in range(dimension)]
    rng.shuffle(multipliers)
    target = times(list(zip(*rows, strict=True)), multipliers)
    conditions = listing([f"{linear(row)} >= 0" for row in rows])
    steps = (
        "The dual cone consists of the nonnegative combinations of the vectors of coefficients",
        f"As a combination of the rows of {matrix(rows)}, y has the unique coefficients {vector(multipliers)}",
        "All of them are nonnegative, so y lies in the dual cone"
        if inside
        else f"The coefficient {min(multipliers)} is negative, so y does not lie in the dual cone",
    )
    question = rng.choice(
        (
            f"Let K be the cone of all x in R^{dimension} with {conditions}. Is y = {vector(target)} in the dual cone of K?",
            f"Do {conditions} together imply {linear(target)} >= 0 for every x in R^{dimension}?",
            f"The cone K is given by {conditions}. Decide whether {vector(target)} has a nonnegative inner product with "
            "every element of K.",
        )
    )
    return Exercise(question, steps, "yes" if inside else "no", 4 if hard else 3, {"rows": rows, "target": target})


def dual_cone_bound(rng: random.Random, hard: bool) -> Exercise:
    """The smallest last coordinate that puts a vector into the dual of a widened second-order cone."""
    dimension = 3 if hard else 2
    head, length = whole_length(rng, dimension, 1, 12)
    top, bottom = (rng.randint(2, 12), rng.randint(2, 12)) if hard else (rng.randint(1, 9), 1)
    value = Fraction(top, bottom) * length
    slope, bound = number(Fraction(top, bottom)), combine(((Fraction(top, bottom), "t"),))
    least = combine(((Fraction(top, bottom), "\\|y\\|_2"),))
    steps = (
        f"For t = 1 the vectors x fill the ball of radius {slope}",
        f"y \\cdot x + s t >= 0 on K therefore means s >= {least}",
        f"\\|y\\|_2 = {length}, so the smallest s is {number(value)}",
    )
    question = rng.choice(
        (
            f"Let K be the cone of all (x, t) with x in R^{dimension} and \\|x\\|_2 <= {bound}. Find the smallest s for "
            f"which (y, s) with y = {vector(head)} is in the dual cone of K.",
            f"For which smallest s is {vector(head)} \\cdot x + s t >= 0 whenever \\|x\\|_2 <= {bound}?",
            f"The cone K = {{(x, t) : \\|x\\|_2 <= {bound}}} lies in R^{dimension + 1}. What is the smallest s such that "
            f"(y, s), y = {vector(head)}, belongs to K^*?",
        )
    )
    parameters = {"slope": slope, "head": head}
    return Exercise(question, steps, number(value), 3 if hard else 2, parameters)
