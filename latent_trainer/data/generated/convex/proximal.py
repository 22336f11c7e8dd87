"""Proximal operators, Moreau envelopes and steps that use them."""

import random
from fractions import Fraction

from latent_trainer.data.generated.convex.draws import definite, whole_length
from latent_trainer.data.generated.convex.linear import solve, times
from latent_trainer.data.generated.convex.notation import combine, coordinates, linear, number, polynomial, quadratic, vector
from latent_trainer.data.generated.families import Exercise


def _shrink(value: Fraction | int, amount: Fraction | int) -> Fraction | int:
    return value - amount if value > amount else value + amount if value < -amount else 0


def _ask_prox(rng: random.Random, text: str, point: str, space: str) -> str:
    return rng.choice(
        (
            f"Compute the proximal operator of f(x) = {text} at v = {point}.",
            f"Find the minimiser over x in {space} of f(x) + \\frac{{1}}{{2}}\\|x - v\\|_2^2 for f(x) = {text} and v = "
            f"{point}.",
            f"Let f(x) = {text}. What is prox_f(v), the minimiser of f(x) + \\frac{{1}}{{2}}\\|x - v\\|_2^2, for v = "
            f"{point}?",
        )
    )


def prox_l1(rng: random.Random, hard: bool) -> Exercise:
    """The proximal operator of a weighted l1 norm."""
    dimension, size = (5, 25) if hard else (3, 9)
    weights = [Fraction(rng.randint(1, size), rng.choice((1, 1, 2))) for _ in range(dimension)]
    point = [rng.randint(-size, size) for _ in range(dimension)]
    answer = [_shrink(v, w) for v, w in zip(point, weights, strict=True)]
    text = linear(weights, names=[f"|{name}|" for name in coordinates(dimension)])
    steps = (
        "The problem separates: every coordinate moves towards zero by its weight and stops at zero",
        f"The weights are {vector(weights)}",
        f"The result is {vector(answer)}",
    )
    question = _ask_prox(rng, text, vector(point), f"R^{dimension}")
    parameters = {"weights": list(map(str, weights)), "point": point}
    return Exercise(question, steps, vector(answer), 2 if hard else 1, parameters)


def prox_elastic(rng: random.Random, hard: bool) -> Exercise:
    """The proximal operator of a quadratic plus an absolute value on an interval."""
    size = 30 if hard else 9
    bend, slope, weight = rng.randint(1, 6), rng.randint(-size, size), rng.randint(size // 2, size)
    low, high = -rng.randint(1, 5), rng.randint(1, 5)
    point = rng.choice((-1, 1)) * rng.randint(size, 3 * size)
    free = Fraction(_shrink(point - slope, weight), 1 + bend)
    answer = min(max(free, Fraction(low)), Fraction(high))
    terms = combine(((Fraction(bend, 2), "x^2"), (slope, "x"), (weight, "|x|")))
    text = f"{terms} for {low} <= x <= {high} (infinite elsewhere)"
    steps = (
        f"Without the interval, {1 + bend}x + {weight}s = {point - slope} with a subgradient s of |x|",
        f"The solution is x = {number(free)}",
        f"The function is convex in one variable, so clipping to [{low}, {high}] gives {number(answer)}",
    )
    question = rng.choice(
        (
            f"Let f(x) = {text}. Compute the proximal operator of f at v = {point}.",
            f"Let f(x) = {text}. Which x minimises f(x) + \\frac{{1}}{{2}}(x - v)^2 for v = {point}?",
            f"What is prox_f({point}), the minimiser of f(x) + \\frac{{1}}{{2}}(x - ({point}))^2, if f(x) = {text}?",
        )
    )
    parameters = {"bend": bend, "slope": slope, "weight": weight, "interval": [low, high], "point": point}
    return Exercise(question, steps, number(answer), 4 if hard else 3, parameters)


def prox_norm(rng: random.Random, hard: bool) -> Exercise:
    """The proximal operator of a multiple of the Euclidean norm."""
    dimension = 3 if hard else 2
    point, length = whole_length(rng, dimension, 1, 4)
    weight = rng.randint(1, length + 3)
    factor = max(1 - Fraction(weight, length), Fraction(0))
    answer = [factor * value for value in point]
    steps = (
        f"v has the length {length}",
        f"The operator shrinks the length by {weight} and keeps the direction, down to zero",
        f"The factor is \\max(1 - {weight}/{length}, 0) = {number(factor)}",
        f"The result is {vector(answer)}",
    )
    question = _ask_prox(rng, combine(((weight, "\\|x\\|_2"),)), vector(point), f"R^{dimension}")
    return Exercise(question, steps, vector(answer), 3 if hard else 2, {"weight": weight, "point": point})


def prox_quadratic(rng: random.Random, hard: bool) -> Exercise:
    """The proximal operator of a quadratic function of two (harder: three) variables."""
    dimension, size = (3, 3) if hard else (2, 3)
    rows = definite(rng, dimension, size)
    slope, point = ([rng.randint(-6, 6) for _ in range(dimension)] for _ in range(2))
    system = [[2 * value + (i == j) for j, value in enumerate(row)] for i, row in enumerate(rows)]
    right = [v - b for v, b in zip(point, slope, strict=True)]
    answer = solve(system, right)
    equations = [f"{linear(row)} = {value}" for row, value in zip(system, right, strict=True)]
    steps = ("The gradient of f plus x - v has to vanish", *equations, f"The solution is {vector(answer)}")
    question = _ask_prox(rng, quadratic(rows, slope), vector(point), f"R^{dimension}")
    parameters = {"matrix": rows, "slope": slope, "point": point}
    return Exercise(question, steps, vector(answer), 4 if hard else 3, parameters)


def prox_logarithm(rng: random.Random, hard: bool) -> Exercise:
    """The proximal operator of a multiple of the negative logarithm plus a linear function."""
    low, high = (28, 60) if hard else (3, 9)
    answer, other = rng.randint(low, high), rng.randint(low, high)
    scale = rng.randint(2, 3) if hard else rng.randint(1, 2)
    weight, slope = Fraction(answer * other, scale * scale), rng.randint(-15, 15)
    point = Fraction(answer - other, scale) + slope  # x = answer/scale solves x^2 - (v - c)x - w = 0
    text = combine(((-weight, "\\log(x)"), (slope, "x")))
    steps = (
        f"The derivative vanishes where {combine(((1, 'x'), (slope - point, '')))} = ({number(weight)})/x",
        f"Times x: {polynomial([1, slope - point, -weight])} = 0",
        f"The positive root is {number(Fraction(answer, scale))}",
    )
    question = rng.choice(
        (
            f"Compute the proximal operator of f(x) = {text}, x > 0, at v = {number(point)}.",
            f"Which x > 0 minimises {text} + \\frac{{1}}{{2}}(x - v)^2 for v = {number(point)}?",
            f"Let f(x) = {text} for x > 0. Find prox_f(v), the minimiser of f(x) + \\frac{{1}}{{2}}(x - v)^2, at v = "
            f"{number(point)}.",
        )
    )
    parameters = {"weight": str(weight), "slope": slope, "point": str(point)}
    return Exercise(question, steps, number(Fraction(answer, scale)), 4 if hard else 3, parameters)


def moreau_envelope(rng: random.Random, hard: bool) -> Exercise:
    """The value of the Moreau envelope of a weighted l1 norm."""
    dimension, size = (3, 12) if hard else (2, 9)
    weights = [rng.randint(1, size // 2) for _ in range(dimension)]
    point = [rng.randint(-size, size) for _ in range(dimension)]
    scale = rng.randint(2, 5) if hard else rng.randint(1, 2)
    nearest = [_shrink(v, scale * w) for v, w in zip(point, weights, strict=True)]
    pieces = [w * abs(x) + Fraction((x - v) ** 2, 2 * scale) for w, x, v in zip(weights, nearest, point, strict=True)]
    text = linear(weights, names=[f"|{name}|" for name in coordinates(dimension)])
    steps = (
        f"The minimum is attained at x = {vector(nearest)}, the coordinates shrunk by "
        f"{vector([scale * w for w in weights])}",
        f"The coordinates contribute {' + '.join(map(number, pieces))}",
        f"The value is {number(sum(pieces))}",
    )
    penalty = f"\\frac{{1}}{{{2 * scale}}}\\|x - v\\|_2^2"
    question = rng.choice(
        (
            f"Find the minimum over x of {text} + {penalty} for v = {vector(point)}.",
            f"Let f(x) = {text}. Compute the Moreau envelope, the minimum over x of f(x) + {penalty}, at v = "
            f"{vector(point)}.",
            f"The Moreau envelope of f(x) = {text} with parameter {scale} is the minimum over x of f(x) + {penalty}. What "
            "is "
            f"its value at v = {vector(point)}?",
        )
    )
    parameters = {"weights": weights, "point": point, "scale": scale}
    return Exercise(question, steps, number(sum(pieces)), 4 if hard else 3, parameters)


def proximal_gradient_step(rng: random.Random, hard: bool) -> Exercise:
    """One proximal gradient step for a quadratic function plus a multiple of the l1 norm."""
    dimension, size = (3, 4) if hard else (2, 3)
    rows = definite(rng, dimension, size)
    slope, start = ([rng.randint(-9, 9) for _ in range(dimension)] for _ in range(2))
    weight, step = rng.randint(1, 9), Fraction(1, rng.choice((2, 4, 5, 8, 10)))
    gradient = [2 * value + b for value, b in zip(times(rows, start), slope, strict=True)]
    moved = [x - step * g for x, g in zip(start, gradient, strict=True)]
    answer = [_shrink(value, step * weight) for value in moved]
    steps = (
        f"The gradient of the smooth part at x is {vector(gradient)}",
        f"The gradient step leads to {vector(moved)}",
        f"Every coordinate then moves towards zero by {number(step)} \\cdot {weight} = {number(step * weight)}, at most "
        "to zero",
        f"The result is {vector(answer)}",
    )
    smooth, sharp = quadratic(rows, slope), combine(((weight, "\\|x\\|_1"),))
    question = rng.choice(
        (
            f"Take one proximal gradient step with step size {number(step)} from x = {vector(start)} for {smooth} + "
            f"{sharp}.",
            f"Minimise f(x) + g(x) with f(x) = {smooth} and g(x) = {sharp}. Where does one proximal gradient step of size "
            f"{number(step)} lead from {vector(start)}?",
            f"Let f(x) = {smooth}. Starting at {vector(start)}, make one iterative soft-thresholding step of size "
            f"{number(step)} "
            f"for f(x) + {sharp}. Which point results?",
        )
    )
    parameters = {"matrix": rows, "slope": slope, "start": start, "weight": weight, "step": str(step)}
    return Exercise(question, steps, vector(answer), 4 if hard else 3, parameters)
