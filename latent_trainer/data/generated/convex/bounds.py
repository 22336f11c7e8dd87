"""What convexity says about values: tangents, chords, envelopes, kinks and subgradients."""

import random
from fractions import Fraction

from latent_trainer.data.generated.convex.draws import integers, nonzero
from latent_trainer.data.generated.convex.linear import dot
from latent_trainer.data.generated.convex.notation import combine, interval, linear, listing, number, vector
from latent_trainer.data.generated.families import Exercise


def tangent_bound(rng: random.Random, hard: bool) -> Exercise:
    """The best lower bound on a convex function from subgradients at two points of the plane (harder: three in space)."""
    dimension, count = (3, 3) if hard else (2, 2)
    bend, slope = [rng.randint(1, 2) for _ in range(dimension)], [rng.randint(-4, 4) for _ in range(dimension)]
    shift = rng.randint(-9, 9)
    points = [[rng.randint(-3, 3) for _ in range(dimension)] for _ in range(count)]
    # a hidden quadratic function makes the data those of a convex function
    values = [shift + dot(slope, p) + sum(a * x * x for a, x in zip(bend, p, strict=True)) for p in points]
    slopes = [[b + 2 * a * x for a, b, x in zip(bend, slope, p, strict=True)] for p in points]
    target = integers(rng, dimension, -5, 5)
    moves = [[t - x for t, x in zip(target, p, strict=True)] for p in points]
    bounds = [value + dot(g, move) for value, g, move in zip(values, slopes, moves, strict=True)]
    data = listing(
        [f"f{vector(p)} = {v} with subgradient {vector(g)}" for p, v, g in zip(points, values, slopes, strict=True)]
    )
    steps = [
        f"At {vector(p)}: f{vector(target)} >= {v} + {vector(g)} \\cdot {vector(move)} = {bound}"
        for p, v, g, move, bound in zip(points, values, slopes, moves, bounds, strict=True)
    ]
    steps.append(
        f"The maximum of these tangents is itself a convex function with the data, so the best bound is {max(bounds)}"
    )
    question = rng.choice(
        (
            f"A convex function f has {data}. What is the best lower bound on f{vector(target)} that follows?",
            f"Let f be a convex function such that {data}. Find the largest number that f{vector(target)} cannot fall "
            "below.",
            f"About a convex function f it is known that {data}. What is the smallest value f{vector(target)} can have?",
        )
    )
    parameters = {"points": points, "subgradients": slopes, "values": values, "target": target}
    return Exercise(question, steps, str(max(bounds)), 3 if hard else 2, parameters)


def convex_interpolation(rng: random.Random, hard: bool) -> Exercise:
    """The possible values of a convex function between points where it is known."""
    count, gap = (5, 5) if hard else (4, 3)
    places, heights, rise = [rng.randint(-6, 2)], [rng.randint(-6, 12)], Fraction(rng.randint(-9, -3))
    for _ in range(count - 1):
        step = rng.randint(2, gap)
        places.append(places[-1] + step)
        heights.append(heights[-1] + int(rise) * step)
        rise += rng.randint(1, 5)
    left = rng.randint(1, count - 3)
    at = rng.randint(places[left] + 1, places[left + 1] - 1)
    rises = [Fraction(heights[i + 1] - heights[i], places[i + 1] - places[i]) for i in range(count - 1)]
    upper = heights[left] + rises[left] * (at - places[left])
    before = heights[left] + rises[left - 1] * (at - places[left])
    after = heights[left + 1] - rises[left + 1] * (places[left + 1] - at)
    steps = (
        f"The chord from {places[left]} to {places[left + 1]} lies above f: f({at}) <= {number(upper)}",
        f"The chord that ends at {places[left]}, continued, lies below f: f({at}) >= {number(before)}",
        f"The chord that starts at {places[left + 1]}, continued, lies below f: f({at}) >= {number(after)}",
        f"All values in {interval(max(before, after), upper)} are possible",
    )
    data = listing([f"f({x}) = {y}" for x, y in zip(places, heights, strict=True)])
    question = rng.choice(
        (
            f"A convex function f on the real line satisfies {data}. Which values can f({at}) have? Give the interval.",
            f"Let f be convex on R with {data}. Find the interval of all possible values of f({at}).",
            f"Of a convex function on R only {data} are known. In which smallest interval does f({at}) lie?",
        )
    )
    answer = interval(max(before, after), upper)
    return Exercise(question, steps, answer, 4 if hard else 3, {"places": places, "heights": heights, "at": at})


def convex_envelope(rng: random.Random, hard: bool) -> Exercise:
    """The value of the largest convex function below given points."""
    count, size = (6, 20) if hard else (4, 9)
    places = sorted(rng.sample(range(-size, size + 1), count))
    heights = [rng.randint(-size, size) for _ in places]
    at = places[0]
    while at in (places[0], places[-1]):
        at = rng.randint(places[0] + 1, places[-1] - 1)
    chords = [
        (heights[i] + Fraction(heights[j] - heights[i], places[j] - places[i]) * (at - places[i]), i, j)
        for i in range(count)
        for j in range(i + 1, count)
        if places[i] <= at <= places[j]
    ]
    value, i, j = min(chords)
    first, second = (places[i], heights[i]), (places[j], heights[j])
    steps = (
        "The largest convex function below the points is the lower boundary of their convex hull",
        f"Above x = {at} that boundary runs on the segment from {vector(first)} to {vector(second)}",
        f"There the height is {heights[i]} + ({number(Fraction(heights[j] - heights[i], places[j] - places[i]))})"
        f" \\cdot {at - places[i]} = {number(value)}",
    )
    data = listing([vector(point) for point in zip(places, heights, strict=True)])
    question = rng.choice(
        (
            f"A convex function g satisfies g(x) <= y for each of the points (x, y) = {data}. How large can g({at}) be?",
            f"Let g be the largest convex function whose graph does not lie above any of the points {data}. Find g({at}).",
            f"What is the value at x = {at} of the convex envelope of the points {data}?",
        )
    )
    return Exercise(question, steps, number(value), 4 if hard else 3, {"places": places, "heights": heights, "at": at})


def subdifferential(rng: random.Random, hard: bool) -> Exercise:
    """The subdifferential, an interval, of a sum of absolute values and a quadratic at a kink."""
    count, size = (4, 12) if hard else (2, 6)
    kinks = sorted(rng.sample(range(-size, size + 1), count))
    weights = [rng.randint(1, size) for _ in kinks]
    bend, slope = rng.randint(1, 5), rng.randint(-9, 9)
    index = rng.randrange(count)
    at = kinks[index]
    sides = [weight if at > kink else -weight for weight, kink in zip(weights, kinks, strict=True) if kink != at]
    smooth = 2 * bend * at + slope
    low, high = smooth + sum(sides) - weights[index], smooth + sum(sides) + weights[index]
    text = combine(
        [
            *((w, f"|{combine(((1, 'x'), (-k, '')))}|") for w, k in zip(weights, kinks, strict=True)),
            (bend, "x^2"),
            (slope, "x"),
        ]
    )
    steps = (
        f"The quadratic and linear terms have the derivative {smooth} at x = {at}",
        f"The absolute values that are smooth at x = {at} contribute {sum(sides)}",
        f"The absolute value with its kink at x = {at} contributes [-{weights[index]}, {weights[index]}]",
        f"The sum is {interval(low, high)}",
    )
    question = rng.choice(
        (
            f"Find the subdifferential of f(x) = {text} at x = {at}.",
            f"Let f(x) = {text}. Give the interval of all subgradients of f at x = {at}.",
            f"Which numbers are subgradients of the convex function f(x) = {text} at x = {at}? Give the interval.",
        )
    )
    parameters = {"kinks": kinks, "weights": weights, "bend": bend, "slope": slope, "at": at}
    return Exercise(question, steps, interval(low, high), 3 if hard else 2, parameters)


def minimal_subgradient(rng: random.Random, hard: bool) -> Exercise:
    """The subgradient of least norm of a weighted l1 norm plus a linear function."""
    dimension, size = (5, 20) if hard else (3, 8)
    weights = [rng.randint(1, size) for _ in range(dimension)]
    slope = [nonzero(rng, -size, size) for _ in range(dimension)]
    at = [rng.choice((0, 0, nonzero(rng, -5, 5))) for _ in range(dimension)]
    at[rng.randrange(dimension)] = 0
    answer, steps = [], []
    for index, (w, c, x) in enumerate(zip(weights, slope, at, strict=True)):
        if x:
            answer.append(c + (w if x > 0 else -w))
            steps.append(f"Coordinate {index + 1} is smooth there: {c} {'+' if x > 0 else '-'} {w} = {answer[-1]}")
        else:
            answer.append(max(c - w, 0) if c > 0 else min(c + w, 0))
            steps.append(
                f"Coordinate {index + 1} may be anything in {interval(c - w, c + w)}; nearest to zero is {answer[-1]}"
            )
    steps.append(f"The subgradient of least norm is {vector(answer)}")
    names = [f"|x_{index + 1}|" for index in range(dimension)]
    text = f"{linear(weights, names=names)}{_signed(linear(slope))}"
    question = rng.choice(
        (
            f"Find the subgradient of least Euclidean norm of f(x) = {text} at x = {vector(at)}.",
            f"Let f(x) = {text}. Which element of the subdifferential at {vector(at)} has the smallest Euclidean norm?",
            f"Among all subgradients of f(x) = {text} at the point {vector(at)}, give the one closest to the origin.",
        )
    )
    parameters = {"weights": weights, "slope": slope, "at": at}
    return Exercise(question, steps, vector(answer), 4 if hard else 3, parameters)


def _signed(text: str) -> str:
    return f" - {text[1:]}" if text.startswith("-") else f" + {text}"


def epigraph_membership(rng: random.Random, hard: bool) -> Exercise:
    """Whether a point lies in the epigraph of a maximum of affine functions plus a quadratic."""
    size, count = (20, 4) if hard else (6, 2)
    lines = [(nonzero(rng, -size, size), rng.randint(-size, size)) for _ in range(count)]
    bend, at = rng.randint(1, 3), rng.randint(-size, size)
    values = [a * at + b for a, b in lines]
    value = max(values) + bend * at * at
    inside = rng.choice((True, False))
    height = value + rng.randint(0, 4) if inside else value - rng.randint(1, 4)
    text = f"\\max({', '.join(combine(((a, 'x'), (b, ''))) for a, b in lines)}) + {combine(((bend, 'x^2'),))}"
    steps = (
        f"At x = {at} the affine functions are {listing([str(v) for v in values])}",
        f"So f({at}) = {max(values)} + {bend * at * at} = {value}",
        f"The point belongs to the epigraph exactly if its height {height} is at least {value}: "
        f"{'it does' if inside else 'it does not'}",
    )
    question = rng.choice(
        (
            f"Does the point ({at}, {height}) belong to the epigraph of f(x) = {text}?",
            f"Let f(x) = {text}. Is ({at}, {height}) in the epigraph of f?",
            f"Decide whether (x, t) = ({at}, {height}) satisfies f(x) <= t for f(x) = {text}.",
        )
    )
    parameters = {"lines": [list(line) for line in lines], "bend": bend, "point": [at, height]}
    return Exercise(question, steps, "yes" if inside else "no", 2 if hard else 1, parameters)
