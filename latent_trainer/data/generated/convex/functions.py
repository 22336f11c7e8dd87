"""Which quadratic functions and polynomials are convex, and where."""

import random
from fractions import Fraction
from math import isqrt

from latent_trainer.data.generated.convex.draws import nonzero
from latent_trainer.data.generated.convex.notation import combine, interval, linear, matrix, polynomial, quadratic, tex
from latent_trainer.data.generated.families import Exercise


def quadratic_convexity(rng: random.Random, hard: bool) -> Exercise:
    """Whether a quadratic function of two (harder: three) variables is convex."""
    convex = rng.choice((True, False))
    if hard:
        squares = [rng.randint(1, 3), rng.randint(0, 3), rng.randint(0, 3)]
        if not convex:
            squares[rng.randint(1, 2)] = -rng.randint(1, 3)
        k, m, n = (rng.randint(-3, 3) for _ in range(3))
        lower = [[1, 0, 0], [k, 1, 0], [m, n, 1]]
        rows = [[sum(squares[p] * lower[i][p] * lower[j][p] for p in range(3)) for j in range(3)] for i in range(3)]
        parts = [[1, k, m], [0, 1, n], [0, 0, 1]]
        whole = combine((d, _form(part)) for d, part in zip(squares, parts, strict=True))
        steps = [f"Completing the squares, the second-order part of f is {whole}"]
        steps.append(
            "The squared forms are independent and no coefficient is negative, so f is convex"
            if convex
            else f"The squared forms are independent and the coefficient {min(squares)} is negative, so f is not convex"
        )
    else:
        a, c = rng.randint(1, 9), rng.randint(1, 9)
        limit = isqrt(4 * a * c)
        b = rng.choice((-1, 1)) * (rng.randint(max(1, limit - 4), limit) if convex else rng.randint(limit + 1, limit + 5))
        rows = [[Fraction(a), Fraction(b, 2)], [Fraction(b, 2), Fraction(c)]]
        steps = [
            f"The Hessian of f is {matrix([[2 * a, b], [b, 2 * c]])}",
            f"Its determinant is {4 * a * c} - {b * b} = {4 * a * c - b * b}",
            "The diagonal is positive and the determinant not negative: the Hessian is positive semidefinite and f is convex"
            if convex
            else "The determinant is negative: the Hessian has a negative eigenvalue and f is not convex",
        ]
    slope = [rng.randint(-6, 6) for _ in rows]
    text, space = quadratic(rows, slope), f"R^{len(rows)}"
    question = rng.choice(
        (
            f"Is the function f(x) = {text} convex on {space}?",
            f"Let f(x) = {text}. Is f a convex function on {space}?",
            f"Decide whether f(x) = {text} is convex on {space}.",
        )
    )
    hessian = [[int(2 * value) for value in row] for row in rows]
    return Exercise(question, steps, "yes" if convex else "no", 4 if hard else 2, {"hessian": hessian, "slope": slope})


def _form(part: list[int]) -> str:
    text = linear(part)
    return f"({text})^2" if " " in text else f"{text}^2"


def polynomial_convexity(rng: random.Random, hard: bool) -> Exercise:
    """Whether a polynomial of degree four (harder: five) is convex on an interval."""
    wanted = rng.choice((True, False))
    scale, shift = rng.randint(1, 3), rng.randint(-9, 9)
    roots = sorted(rng.sample(range(-6, 7) if hard else range(-4, 5), 3 if hard else 2))
    convex = not wanted
    while convex != wanted:
        low = rng.randint(-7, 6)
        high = low + rng.randint(1, 4)
        # the second derivative is negative between the last two roots and, in degree five, below the first
        convex = (high <= roots[-2] or low >= roots[-1]) and (not hard or low >= roots[0])
    if hard:
        first, second, third = _symmetric(roots)
        f = [3 * scale, -5 * scale * first, 10 * scale * second, -30 * scale * third, shift, 0]
    else:
        p, q = roots
        f = [scale, -2 * scale * (p + q), 6 * scale * p * q, shift, 0]
    factors = "".join(f"({combine(((1, 'x'), (-value, '')))})" for value in roots).replace("(x)", "x")
    where = f"x < {roots[0]} or {roots[1]} < x < {roots[2]}" if hard else f"{roots[0]} < x < {roots[1]}"
    steps = (
        f"f''(x) = {60 * scale if hard else 12 * scale}{factors}",
        f"f'' is negative exactly for {where}",
        f"The interval [{low}, {high}] {'contains none' if convex else 'contains some'} of these x, so f is "
        f"{'convex' if convex else 'not convex'} there",
    )
    text = polynomial(f)
    question = rng.choice(
        (
            f"Is f(x) = {text} convex on the interval [{low}, {high}]?",
            f"Consider f(x) = {text} for x in [{low}, {high}]. Is f convex on this interval?",
            f"Decide whether the polynomial f(x) = {text} is convex on [{low}, {high}].",
        )
    )
    parameters = {"polynomial": f, "interval": [low, high]}
    return Exercise(question, steps, "yes" if convex else "no", 4 if hard else 3, parameters)


def _symmetric(roots: list[int]) -> tuple[int, int, int]:
    p, q, r = roots
    return p + q + r, p * q + p * r + q * r, p * q * r


def convexity_interval(rng: random.Random, hard: bool) -> Exercise:
    """The interval on which a polynomial of degree four with negative leading coefficient is convex."""
    size = 14 if hard else 6
    d, e = (rng.randint(3, 5), rng.randint(3, 5)) if hard else (1, rng.randint(1, 2))
    p = q = 0
    while p * e == q * d or (hard and max(abs(p), abs(q)) < 8):
        p, q = rng.randint(-size, size), rng.randint(-size, size)
    scale, shift = rng.randint(1, 3), rng.randint(-9, 9)
    f = [-scale * d * e, 2 * scale * (d * q + e * p), -6 * scale * p * q, shift, 0]
    low, high = sorted((Fraction(p, d), Fraction(q, e)))
    second = polynomial([12 * f[0], 6 * f[1], 2 * f[2]])
    steps = (
        f"f''(x) = {second}",
        f"f''(x) = 0 at x = {tex(low)} and at x = {tex(high)}",
        f"The leading coefficient of f'' is negative, so f'' >= 0 exactly on {interval(low, high)}",
    )
    text = polynomial(f)
    question = rng.choice(
        (
            f"Find the largest interval on which f(x) = {text} is convex.",
            f"On which closed interval is f(x) = {text} convex? Give the largest one.",
            f"Let f(x) = {text}. What is the largest interval of real numbers on which f is a convex function?",
        )
    )
    return Exercise(question, steps, interval(low, high), 4 if hard else 3, {"polynomial": f})


def convex_parameter(rng: random.Random, hard: bool) -> Exercise:
    """The values of a parameter for which a quadratic function is convex."""
    low, high = (5, 8) if hard else (1, 4)
    factor, p, q = rng.randint(1, 3), rng.randint(low, high), rng.randint(low, high)
    shift, slope, extra = nonzero(rng, -9, 9), rng.randint(1, 5), rng.randint(1, 3) if hard else 0
    a, c = factor * p * p, factor * q * q + extra * extra  # harder: a third variable takes extra^2 off the second square
    half, bound = combine(((slope, "t"), (-shift, ""))), factor * p * q
    cross = combine(((2 * slope, "t"), (-2 * shift, "")))
    text = f"{combine(((a, 'x^2'),))} + ({cross})xy + {combine(((c, 'y^2'),))}" + (
        f" + {combine(((2 * extra, 'yz'), (1, 'z^2')))}" if hard else ""
    )
    ends = Fraction(shift - bound, slope), Fraction(shift + bound, slope)
    steps = [f"Half the coefficient of xy is {half}"]
    if hard:
        steps.append(f"Minimising over z leaves y^2 with the coefficient {c} - {extra**2} = {c - extra**2}")
    steps += [
        f"f is convex exactly if ({half})^2 <= {a} * {c - extra**2} = {bound**2}",
        f"So -{bound} <= {half} <= {bound}, which is t in {interval(*ends)}",
    ]
    names = "x, y, z" if hard else "x, y"
    question = rng.choice(
        (
            f"For which real t is f({names}) = {text} convex? Give the interval.",
            f"Let f({names}) = {text} with a real parameter t. Find the interval of all t for which f is convex.",
            f"Give the set of all real numbers t, as an interval, for which the quadratic f({names}) = {text} is convex.",
        )
    )
    parameters = {"a": a, "c": c, "extra": extra, "shift": shift, "slope": slope}
    return Exercise(question, steps, interval(*ends), 4 if hard else 3, parameters)
