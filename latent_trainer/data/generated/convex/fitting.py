"""Least squares, log-sum-exp, entropy and water-filling."""

import random
from fractions import Fraction

from latent_trainer.data.generated.convex.draws import integers
from latent_trainer.data.generated.convex.linear import dot, solve
from latent_trainer.data.generated.convex.notation import combine, coordinates, linear, listing, matrix, number, vector
from latent_trainer.data.generated.families import Exercise


def line_fit(rng: random.Random, hard: bool) -> Exercise:
    """The least-squares line through points."""
    count, size = (6, 15) if hard else (3, 6)
    places = sorted(rng.sample(range(-size, size + 1), count))
    heights = [rng.randint(-size, size) for _ in places]
    sums = sum(places), dot(places, places), sum(heights), dot(places, heights)
    answer = solve([[count, sums[0]], [sums[0], sums[1]]], [sums[2], sums[3]])
    steps = (
        f"The normal equations are {linear([count, sums[0]], names='ab')} = {sums[2]} and "
        f"{linear(sums[:2], names='ab')} = {sums[3]}",
        f"Their solution is (a, b) = {vector(answer)}",
    )
    points = listing([vector(point) for point in zip(places, heights, strict=True)])
    question = rng.choice(
        (
            f"Fit a line y = a + bt to the points (t, y) = {points} by least squares. Give (a, b).",
            f"Which (a, b) minimises the sum of (a + bt - y)^2 over the points (t, y) = {points}?",
            f"Find the least-squares line a + bt through {points} and answer with the pair (a, b).",
        )
    )
    return Exercise(question, steps, vector(answer), 3 if hard else 2, {"places": places, "heights": heights})


def ridge(rng: random.Random, hard: bool) -> Exercise:
    """The solution of a ridge regression with two (harder: three) unknowns."""
    unknowns, count, size = (3, 4, 4) if hard else (2, 3, 3)
    rows = [integers(rng, unknowns, -size, size) for _ in range(count)]
    right, weight = [rng.randint(-6, 6) for _ in rows], rng.randint(1, 9)
    columns = list(zip(*rows, strict=True))
    system = [[dot(u, v) + weight * (i == j) for j, v in enumerate(columns)] for i, u in enumerate(columns)]
    pulled = [dot(column, right) for column in columns]
    answer = solve(system, pulled)
    steps = (
        f"The normal equations are (A^T A + {weight}I)x = A^T b",
        f"A^T A + {weight}I = {matrix(system)} and A^T b = {vector(pulled)}",
        f"The solution is x = {vector(answer)}",
    )
    penalty = combine(((weight, "\\|x\\|_2^2"),))
    question = rng.choice(
        (
            f"Minimise \\|Ax - b\\|_2^2 + {penalty} for A = {matrix(rows)} and b = {vector(right)}. Which x is optimal?",
            f"Find the ridge regression solution x that minimises \\|Ax - b\\|_2^2 + {penalty}, where A = {matrix(rows)} "
            "and "
            f"b = {vector(right)}.",
            f"Let A = {matrix(rows)} and b = {vector(right)}. Solve the regularised least-squares problem min "
            f"\\|Ax - b\\|_2^2 + {penalty}.",
        )
    )
    return Exercise(question, steps, vector(answer), 4 if hard else 3, {"rows": rows, "right": right, "weight": weight})


def log_sum_exp_curvature(rng: random.Random, hard: bool) -> Exercise:
    """The second derivative of a log-sum-exp function of one variable."""
    count, size, base = (4, 6, rng.randint(2, 3)) if hard else (3, 5, 1)
    rates = sorted(rng.sample(range(0 if hard else -size, size + 1), count))
    weights = [rng.randint(1, 9) for _ in rates]
    masses = [
        w * base ** abs(rate) for w, rate in zip(weights, rates, strict=True)
    ]  # the base is 1 where a rate is negative
    mean = Fraction(dot(masses, rates), sum(masses))
    square = Fraction(dot(masses, [rate * rate for rate in rates]), sum(masses))
    value, at = square - mean * mean, f"\\log({base})" if hard else "0"
    terms = [(w, f"e^{{{combine(((rate, 'x'),))}}}" if rate else "") for w, rate in zip(weights, rates, strict=True)]
    steps = (
        f"At x = {at} the terms are {listing([str(mass) for mass in masses])}, with the sum {sum(masses)}",
        f"The mean of the exponents under these weights is {number(mean)}, the mean of their squares {number(square)}",
        f"f'' is their variance: {number(square)} - ({number(mean)})^2 = {number(value)}",
    )
    text = f"\\log({combine(terms)})"
    question = rng.choice(
        (
            f"Let f(x) = {text}. Find f''({at}).",
            f"Compute the second derivative of the convex function f(x) = {text} at x = {at}.",
            f"How large is the curvature f''(x) of f(x) = {text} at x = {at}?",
        )
    )
    parameters = {"rates": rates, "weights": weights, "base": base}
    return Exercise(question, steps, number(value), 4 if hard else 3, parameters)


def entropy_maximum(rng: random.Random, hard: bool) -> Exercise:
    """The maximum of an entropy plus a linear function over the probability simplex."""
    count, high = (5, 30) if hard else (3, 15)
    weights = [rng.randint(2, high) for _ in range(count)]
    factor = rng.randint(2, 9) if hard else 1
    names = coordinates(count, "p")
    gain = " + ".join(f"{name}\\log({w})" for name, w in zip(names, weights, strict=True))
    entropy = combine((-1, f"{name}\\log({name})") for name in names)
    objective = f"{gain} - ({entropy[1:].replace(' - ', ' + ')})"
    objective = f"{factor}({objective})" if factor > 1 else objective
    answer = combine(((factor, f"\\log({sum(weights)})"),))
    steps = (
        f"At the maximum p is proportional to {vector(weights)}",
        f"So p_i is the i-th weight divided by {sum(weights)}, and \\log(w_i) - \\log(p_i) = \\log({sum(weights)}) for "
        "every i",
        f"The maximum is {answer}",
    )
    simplex = f"nonnegative {listing(names)} with the sum 1"
    question = rng.choice(
        (
            f"Find the maximum of {objective} over all {simplex}.",
            f"How large can {objective} be for {simplex}?",
            f"Maximise {objective} over the probability vectors p in R^{count}. What is the optimal value?",
        )
    )
    return Exercise(question, steps, answer, 4 if hard else 3, {"weights": weights, "factor": factor})


def kl_projection(rng: random.Random, hard: bool) -> Exercise:
    """The distribution nearest to a given one in relative entropy when the probability of an event is fixed."""
    count, high = (5, 12) if hard else (3, 7)
    weights = [rng.randint(1, high) for _ in range(count)]
    event = rng.randint(2, count - 2) if hard else rng.randint(1, 2)
    total, inside = sum(weights), sum(weights[:event])
    below = rng.randint(2, 9)
    target = Fraction(rng.randint(1, below - 1), below)
    q = [Fraction(w, total) for w in weights]
    answer = [target * w / inside if i < event else (1 - target) * w / (total - inside) for i, w in enumerate(weights)]
    names = coordinates(count, "p")
    condition = f"{' + '.join(names[:event])} = {number(target)}"
    steps = (
        f"Under q the event has the probability {number(Fraction(inside, total))}",
        "The optimal p keeps the proportions of q inside and outside the event",
        f"Inside multiply by {number(target * total / inside)}, outside by "
        f"{number((1 - target) * total / (total - inside))}",
        f"p = {vector(answer)}",
    )
    question = rng.choice(
        (
            f"Let q = {vector(q)}. Which probability vector p with {condition} minimises the sum of p_i \\log(p_i/q_i)?",
            f"Find the probability vector p closest to q = {vector(q)} in relative entropy KL(p, q) subject to {condition}.",
            f"Minimise the Kullback-Leibler divergence of p from q = {vector(q)} over all probability vectors p with "
            f"{condition}. "
            "Which p is optimal?",
        )
    )
    parameters = {"q": list(map(str, q)), "event": event, "target": str(target)}
    return Exercise(question, steps, vector(answer), 4 if hard else 3, parameters)


def water_filling(rng: random.Random, hard: bool) -> Exercise:
    """The optimal power allocation over channels with different noise."""
    count, size = (5, 20) if hard else (3, 9)
    noise, power = [rng.randint(1, size) for _ in range(count)], rng.randint(size // 2, 2 * size)
    ordered, kept = sorted(noise), 1
    while kept < count and ordered[kept] * kept < sum(ordered[:kept]) + power:
        kept += 1
    level = Fraction(sum(ordered[:kept]) + power, kept)
    answer = [max(level - n, Fraction(0)) for n in noise]
    steps = (
        "The optimal power is \\max(\\nu - n_i, 0) with a common water level \\nu",
        f"The {kept} channels with the least noise get power"
        if kept > 1
        else "Only the channel with the least noise gets power",
        f"\\nu = ({sum(ordered[:kept])} + {power})/{kept} = {number(level)}",
        f"The allocation is {vector(answer)}",
    )
    text = " + ".join(f"\\log({n} + {name})" for n, name in zip(noise, coordinates(count, "p"), strict=True))
    question = rng.choice(
        (
            f"Maximise {text} over p >= 0 with {' + '.join(coordinates(count, 'p'))} = {power}. Which p is optimal?",
            f"Channels have the noise levels n = {vector(noise)} and the total power {power} is to be split. Which "
            "allocation p "
            "maximises the sum of \\log(1 + p_i/n_i)?",
            f"Find the nonnegative vector p with the sum {power} that maximises {text}.",
        )
    )
    return Exercise(question, steps, vector(answer), 4 if hard else 3, {"noise": noise, "power": power})
