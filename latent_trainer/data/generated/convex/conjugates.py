"""Convex conjugates and perspectives, as closed forms and as values."""

import random
from fractions import Fraction

from latent_trainer.data.generated.convex.draws import definite, nonzero
from latent_trainer.data.generated.convex.linear import dot, solve
from latent_trainer.data.generated.convex.notation import (
    combine,
    listing,
    number,
    polynomial,
    quadratic,
    tex,
    vector,
    wrapped,
)
from latent_trainer.data.generated.families import Exercise


def conjugate_quadratic(rng: random.Random, hard: bool) -> Exercise:
    """The conjugate of a quadratic function of one variable, as a formula in y."""
    low, high = (10, 30) if hard else (1, 9)
    a, b, c = rng.randint(low, high), nonzero(rng, -high, high), rng.randint(-high, high)
    shifted = combine(((1, "y"), (-b, "")))
    answer = f"\\frac{{({shifted})^{{2}}}}{{{4 * a}}}{_constant(-c)}"
    steps = (
        f"The supremum of xy - f(x) is attained where y = {combine(((2 * a, 'x'), (b, '')))}",
        f"So x = \\frac{{{shifted}}}{{{2 * a}}}",
        f"f^*(y) = {answer}",
    )
    question = _ask_conjugate(rng, polynomial([a, b, c]), "on R", "")
    return Exercise(question, steps, answer, 3 if hard else 2, {"coefficients": [a, b, c]})


def conjugate_logarithm(rng: random.Random, hard: bool) -> Exercise:
    """The conjugate of a negative logarithm plus an affine function, as a formula in y."""
    low, high = (10, 30) if hard else (1, 9)
    a, b, c = rng.randint(low, high), nonzero(rng, -high, high), rng.randint(-high, high)
    ratio = f"\\frac{{{a}}}{{{b} - y}}"
    answer = combine(((a, f"\\log({ratio})"), (-a - c, "")))
    steps = (
        f"The supremum of xy - f(x) is attained where y = -\\frac{{{a}}}{{x}} {'+' if b > 0 else '-'} {abs(b)}",
        f"So x = {ratio}, which is positive",
        f"There xy - f(x) = {-a} + {tex(a)}\\log({ratio}) - {wrapped(c)}",
        f"f^*(y) = {answer}",
    )
    question = _ask_conjugate(rng, combine(((-a, "\\log(x)"), (b, "x"), (c, ""))), "for x > 0", f" for y < {b}")
    return Exercise(question, steps, answer, 4 if hard else 3, {"coefficients": [a, b, c]})


def conjugate_exponential(rng: random.Random, hard: bool) -> Exercise:
    """The conjugate of an exponential plus an affine function, as a formula in y."""
    low, high = (10, 30) if hard else (1, 9)
    a, b, c = rng.randint(low, high), nonzero(rng, -high, high), rng.randint(-high, high)
    rate = rng.randint(3, 5) if hard else rng.randint(1, 2)
    shifted, power = combine(((1, "y"), (-b, ""))), f"e^{{{combine(((rate, 'x'),))}}}"
    factor = f"\\frac{{{shifted}}}{{{rate}}}" if rate > 1 else f"({shifted})"
    ratio = f"\\frac{{{shifted}}}{{{a * rate}}}" if a * rate > 1 else shifted
    answer = f"{factor}(\\log({ratio}) - 1){_constant(-c)}"
    steps = (
        f"The supremum of xy - f(x) is attained where y = {combine(((a * rate, power), (b, '')))}",
        f"So {combine(((rate, 'x'),))} = \\log({ratio})",
        f"f^*(y) = {answer}",
    )
    question = _ask_conjugate(rng, combine(((a, power), (b, "x"), (c, ""))), "on R", f" for y > {b}")
    return Exercise(question, steps, answer, 4 if hard else 3, {"coefficients": [a, rate, b, c]})


def _constant(value: int) -> str:
    return f" {'-' if value < 0 else '+'} {abs(value)}" if value else ""


def _ask_conjugate(rng: random.Random, text: str, domain: str, where: str) -> str:
    return rng.choice(
        (
            f"Find the convex conjugate f^*(y) of f(x) = {text} ({domain}){where} as a formula in y.",
            f"Let f(x) = {text}, {domain}. Compute f^*(y) = \\sup_x (xy - f(x)){where}.",
            f"What is the Fenchel conjugate f^*(y){where}, if f(x) = {text} {domain}? Answer with a formula in y.",
        )
    )


def conjugate_value(rng: random.Random, hard: bool) -> Exercise:
    """The value at a point of the conjugate of a quadratic function of two (harder: three) variables."""
    dimension, size = (3, 4) if hard else (2, 3)
    rows = definite(rng, dimension, size)
    slope, at = ([rng.randint(-6, 6) for _ in range(dimension)] for _ in range(2))
    shift = rng.randint(-5, 5)
    difference = [y - b for y, b in zip(at, slope, strict=True)]
    maximiser = solve([[2 * value for value in row] for row in rows], difference)
    value = Fraction(1, 2) * dot(difference, maximiser) - shift
    text = quadratic(rows, slope, shift)
    steps = (
        f"The maximiser of y \\cdot x - f(x) solves 2Ax = y - b = {vector(difference)}",
        f"So x = {vector(maximiser)}",
        f"f^*(y) = \\frac{{1}}{{2}}(y - b) \\cdot x - c = {number(value)}",
    )
    question = rng.choice(
        (
            f"Let f(x) = {text}. Find the value of the convex conjugate f^* at y = {vector(at)}.",
            f"Compute f^*{vector(at)} for the quadratic function f(x) = {text}.",
            f"What is the supremum over x in R^{dimension} of y \\cdot x - f(x) for y = {vector(at)} and f(x) = {text}?",
        )
    )
    steps = (f"Write f(x) = x^T A x + b^T x + c with b = {vector(slope)} and c = {shift}", *steps)
    parameters = {"matrix": rows, "slope": slope, "shift": shift, "at": at}
    return Exercise(question, steps, number(value), 4 if hard else 3, parameters)


def conjugate_piecewise(rng: random.Random, hard: bool) -> Exercise:
    """The value at a point of the conjugate of a maximum of affine functions."""
    count, size = (5, 9) if hard else (3, 5)
    slopes = sorted(rng.sample(range(-size, size + 1), count))
    kinks = sorted(rng.sample(range(-size, size + 1), count - 1))
    shifts = [rng.randint(-9, 9)]
    for index, kink in enumerate(kinks):
        shifts.append(shifts[-1] + (slopes[index] - slopes[index + 1]) * kink)
    index = rng.randrange(count - 1)
    at = Fraction(rng.randint(2 * slopes[index], 2 * slopes[index + 1]), 2)
    if at in (slopes[index], slopes[index + 1]):
        at = Fraction(slopes[index] + slopes[index + 1], 2)
    height = slopes[index] * kinks[index] + shifts[index]
    value = at * kinks[index] - height
    lines = list(zip(slopes, shifts, strict=True))
    rng.shuffle(lines)
    text = f"\\max({', '.join(combine(((a, 'x'), (b, ''))) for a, b in lines)})"
    steps = (
        f"The slope of f jumps at the kinks {listing([str(kink) for kink in kinks])}",
        f"It passes {tex(at)} at x = {kinks[index]}, from {slopes[index]} to {slopes[index + 1]}",
        f"There f(x) = {height}",
        f"So f^*({number(at)}) = {tex(at)} \\cdot {wrapped(kinks[index])} - {wrapped(height)} = {number(value)}",
    )
    question = rng.choice(
        (
            f"Let f(x) = {text}. Find the value of the conjugate f^* at y = {number(at)}.",
            f"Compute f^*({number(at)}) for the piecewise linear function f(x) = {text}.",
            f"What is the supremum of {tex(at)} \\cdot x - f(x) over all real x, where f(x) = {text}?",
        )
    )
    parameters = {"lines": sorted([a, b] for a, b in lines), "at": str(at)}
    return Exercise(question, steps, number(value), 4 if hard else 3, parameters)


def perspective(rng: random.Random, hard: bool) -> Exercise:
    """The perspective of a convex function, as a formula in x and t."""
    low, high = (10, 25) if hard else (1, 9)
    kinds = rng.sample(("square", "fourth", "logarithm", "exponential", "root"), 2 if hard else 1)
    pieces = [[kind, rng.randint(low, high), rng.randint(low, high)] for kind in kinds]
    slope, shift = nonzero(rng, -high, high), rng.randint(-high, high)
    terms, images = zip(*(_perspective(*piece) for piece in pieces), strict=True)
    text = combine([*terms, (slope, "x"), (shift, "")])
    answer = combine([*images, (slope, "x"), (shift, "t")])
    steps = (
        "The perspective is g(x, t) = t f(x/t) for t > 0",
        *(f"The term {combine([old])} becomes {combine([new])}" for old, new in zip(terms, images, strict=True)),
        f"The affine part becomes {combine(((slope, 'x'), (shift, 't')))}",
        f"g(x, t) = {answer}",
    )
    domain = " for x > 0" if "logarithm" in kinds else ""
    question = rng.choice(
        (
            f"Let f(x) = {text}{domain}. Find the perspective g(x, t) = t f(x/t), t > 0, in simplified form.",
            f"Write the perspective function g(x, t) of f(x) = {text}{domain} as a formula in x and t > 0.",
            f"What is the perspective of the convex function f(x) = {text}{domain}? Answer with a formula in x and t.",
        )
    )
    parameters = {"pieces": pieces, "slope": slope, "shift": shift}
    return Exercise(question, steps, answer, 4 if hard else 2, parameters)


def _perspective(kind: str, a: int, b: int) -> tuple[tuple[int, str], tuple[int, str]]:
    rate, factor = combine(((b, "x"),)), a if a > 1 else ""
    return {
        "square": ((1, f"({factor}x - {b})^2"), (1, f"\\frac{{({factor}x - {combine(((b, 't'),))})^{{2}}}}{{t}}")),
        "fourth": ((1, f"({factor}x - {b})^4"), (1, f"\\frac{{({factor}x - {combine(((b, 't'),))})^{{4}}}}{{t^{{3}}}}")),
        "logarithm": ((-a, f"\\log({rate})"), (-a, f"t\\log(\\frac{{{rate}}}{{t}})")),
        "exponential": ((a, f"e^{{{rate}}}"), (a, f"t\\exp(\\frac{{{rate}}}{{t}})")),
        "root": ((1, f"\\sqrt{{{factor}x^2 + {b}}}"), (1, f"\\sqrt{{{factor}x^{{2}} + {combine(((b, 't^{2}'),))}}}")),
    }[kind]
