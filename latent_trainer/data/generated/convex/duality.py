"""Lagrange duality: dual functions, multipliers, sensitivity and gaps."""

import random
from fractions import Fraction

from latent_trainer.data.generated.convex.draws import integers, nonzero
from latent_trainer.data.generated.convex.linear import dot, solve, times
from latent_trainer.data.generated.convex.notation import combine, coordinates, linear, listing, number, tex, vector
from latent_trainer.data.generated.families import Exercise


def _separable(rng: random.Random, hard: bool) -> tuple[list[int], list[int], list[int], str]:
    """Draw sum_i d_i x_i^2 + c_i x_i and a vector a; return d, c, a and the text of the function."""
    dimension, size = (3, 6) if hard else (2, 4)
    bends = [rng.randint(1, size) for _ in range(dimension)]
    slope = [rng.randint(-size, size) for _ in range(dimension)]
    normal = [nonzero(rng, -size, size) for _ in range(dimension)]
    names = coordinates(dimension)
    text = combine([*((d, f"{name}^2") for d, name in zip(bends, names, strict=True)), *zip(slope, names, strict=True)])
    return bends, slope, normal, text


def _sums(bends: list[int], slope: list[int], normal: list[int]) -> tuple[Fraction, Fraction, Fraction]:
    """Return the sums of a_i^2/(4 d_i), a_i c_i/(2 d_i) and c_i^2/(4 d_i)."""
    triples = list(zip(bends, slope, normal, strict=True))
    return (
        sum(Fraction(a * a, 4 * d) for d, c, a in triples),
        sum(Fraction(a * c, 2 * d) for d, c, a in triples),
        sum(Fraction(c * c, 4 * d) for d, c, a in triples),
    )


def dual_function(rng: random.Random, hard: bool) -> Exercise:
    """The Lagrange dual function of a quadratic program with one equation, as a formula in the multiplier."""
    bends, slope, normal, text = _separable(rng, hard)
    bound = nonzero(rng, -9, 9)
    square, mixed, rest = _sums(bends, slope, normal)
    answer = combine(((-square, "\\lambda^{2}"), (-mixed - bound, "\\lambda"), (-rest, "")))
    constraint = f"{linear(normal)} = {bound}"
    pushes = [combine(((a, "\\lambda"), (c, ""))) for c, a in zip(slope, normal, strict=True)]
    minimisers = [f"x_{i + 1} = -({push})/{2 * d}" for i, (push, d) in enumerate(zip(pushes, bends, strict=True))]
    steps = (
        f"The Lagrangian is {text} + \\lambda({linear(normal, -bound)})",
        f"It is minimal at {listing(minimisers)}",
        f"g(\\lambda) = {answer}",
    )
    question = rng.choice(
        (
            f"Minimise {text} subject to {constraint}. With the Lagrangian f(x) + \\lambda({linear(normal, -bound)}), "
            "find the dual "
            "function g(\\lambda).",
            f"Let L(x, \\lambda) = {text} + \\lambda({linear(normal, -bound)}). Compute g(\\lambda), the minimum of L "
            "over x.",
            f"Find the Lagrange dual function g(\\lambda) of the problem: minimise {text} subject to "
            f"{linear(normal, -bound)} = 0, "
            "with the multiplier \\lambda added times the left side of the equation.",
        )
    )
    parameters = {"bends": bends, "slope": slope, "normal": normal, "bound": bound}
    return Exercise(question, steps, answer, 4 if hard else 3, parameters)


def value_function(rng: random.Random, hard: bool) -> Exercise:
    """The optimal value of a quadratic program as a function of the right side of its equation."""
    bends, slope, normal, text = _separable(rng, hard)
    square, mixed, rest = _sums(bends, slope, normal)
    answer = combine(((1 / (4 * square), "u^{2}"), (mixed / (2 * square), "u"), (mixed * mixed / (4 * square) - rest, "")))
    dual = combine(((-square, "\\lambda^2"), (-rest, "")))
    steps = (
        f"With the Lagrangian f(x) + \\lambda({linear(normal)} - u) the dual function is "
        f"{dual} - \\lambda({combine(((1, 'u'), (mixed, '')))})",
        f"It is maximal at \\lambda = {tex(Fraction(-1) / (2 * square))}({combine(((1, 'u'), (mixed, '')))})",
        "Strong duality holds, so the maximum is the optimal value",
        f"p(u) = {answer}",
    )
    question = rng.choice(
        (
            f"Let p(u) be the minimum of {text} subject to {linear(normal)} = u. Find p(u) as a formula in u.",
            f"Express the optimal value of the problem: minimise {text} subject to {linear(normal)} = u, as a polynomial "
            "in u.",
            f"How does the minimum p(u) of {text} over all x with {linear(normal)} = u depend on u? Give a formula.",
        )
    )
    parameters = {"bends": bends, "slope": slope, "normal": normal}
    return Exercise(question, steps, answer, 5 if hard else 4, parameters)


def kkt_multiplier(rng: random.Random, hard: bool) -> Exercise:
    """The multiplier of the inequality in a quadratic program with one inequality."""
    bends, slope, normal, text = _separable(rng, hard)
    free = [Fraction(-c, 2 * d) for d, c in zip(bends, slope, strict=True)]
    reached = dot(normal, free)
    bound = int(reached // 1) + (rng.randint(1, 3) if rng.randrange(4) == 0 else -rng.randint(0, 8))
    square = sum(Fraction(a * a, 2 * d) for d, a in zip(bends, normal, strict=True))
    answer = max((reached - bound) / square, Fraction(0))
    steps = [f"Without the constraint the minimiser is {vector(free)}, where {linear(normal)} = {number(reached)}"]
    if answer > 0:
        steps.append(f"Stationarity moves the left side to {number(reached)} - {tex(square)}\\lambda")
        steps.append(f"It equals {bound} for \\lambda = {number(answer)}")
    else:
        steps.append(f"This satisfies the constraint {linear(normal)} <= {bound}")
        steps.append("Complementary slackness is met with \\lambda = 0")
    constraint = f"{linear(normal)} <= {bound}"
    question = rng.choice(
        (
            f"Minimise {text} subject to {constraint}. Find the Lagrange multiplier \\lambda >= 0 of the constraint.",
            f"Which multiplier \\lambda satisfies the KKT conditions of the problem: minimise {text} subject to "
            f"{constraint}?",
            f"Solve the dual of the problem: minimise {text} subject to {constraint}. What is the optimal \\lambda >= 0?",
        )
    )
    parameters = {"bends": bends, "slope": slope, "normal": normal, "bound": bound}
    return Exercise(question, steps, number(answer), 4 if hard else 3, parameters)


def lp_multipliers(rng: random.Random, hard: bool) -> Exercise:
    """The dual solution of a linear program in two (harder: three) variables."""
    dimension, extra, size = (3, 2, 4) if hard else (2, 1, 5)
    rows = [[0] * dimension] * dimension
    while solve(rows, [0] * dimension) is None:
        rows = [integers(rng, dimension, -size, size) for _ in range(dimension)]
    vertex = [rng.randint(-size, size) for _ in range(dimension)]
    multipliers = [rng.randint(1, 6) for _ in range(dimension)]
    cost = times(list(zip(*rows, strict=True)), multipliers)
    table = [(row, dot(row, vertex), y) for row, y in zip(rows, multipliers, strict=True)]
    for _ in range(extra):
        row = integers(rng, dimension, -size, size)
        table.append((row, dot(row, vertex) + rng.randint(1, 6), 0))
    rng.shuffle(table)
    answer = [y for _, _, y in table]
    conditions = listing([f"{linear(row)} <= {bound}" for row, bound, _ in table])
    tight = [str(index + 1) for index, y in enumerate(answer) if y]
    steps = (
        f"At x = {vector(vertex)} the inequalities {listing(tight)} hold with equality, all others strictly",
        f"The others get the multiplier 0, and {vector(cost)} has to be a combination of the tight rows",
        f"Solving gives y = {vector(answer)}, not negative, so x and y are optimal by complementary slackness",
    )
    question = rng.choice(
        (
            f"Maximise {linear(cost)} subject to {conditions} (variables free in sign). Find the optimal dual solution y, "
            "one "
            "entry for each inequality in this order.",
            f"Give the vector of Lagrange multipliers, in the order of the inequalities, at the optimum of: maximise "
            f"{linear(cost)} subject to {conditions}, where the variables may have any sign.",
            f"The linear program max {linear(cost)} subject to {conditions} has free variables. Solve its dual: which y "
            ">= 0, "
            "listed in the order of the inequalities, is optimal?",
        )
    )
    parameters = {"rows": [row for row, _, _ in table], "bounds": [bound for _, bound, _ in table], "cost": cost}
    return Exercise(question, steps, vector(answer), 5 if hard else 4, parameters)


def duality_gap(rng: random.Random, hard: bool) -> Exercise:
    """The duality gap of a feasible pair for a least-norm problem with inequalities."""
    dimension = 3 if hard else 2
    rows = [integers(rng, dimension, -4, 4) for _ in range(dimension)]
    point = integers(rng, dimension, -5, 5)
    bounds = [dot(row, point) - rng.randint(0, 3) for row in rows]
    multipliers = integers(rng, dimension, 0, 3)
    pulled = times(list(zip(*rows, strict=True)), multipliers)
    primal = Fraction(dot(point, point), 2)
    dual = dot(bounds, multipliers) - Fraction(dot(pulled, pulled), 2)
    conditions = listing([f"{linear(row)} >= {bound}" for row, bound in zip(rows, bounds, strict=True)])
    steps = (
        f"The primal value is \\frac{{1}}{{2}}\\|x\\|_2^2 = {number(primal)}",
        f"The dual function is b \\cdot \\lambda - \\frac{{1}}{{2}}\\|A^T \\lambda\\|_2^2, with A^T \\lambda = "
        f"{vector(pulled)}",
        f"The dual value is {dot(bounds, multipliers)} - {number(Fraction(dot(pulled, pulled), 2))} = {number(dual)}",
        f"The gap is {number(primal - dual)}",
    )
    question = rng.choice(
        (
            f"Minimise \\frac{{1}}{{2}}\\|x\\|_2^2 subject to {conditions}. Find the duality gap of x = {vector(point)} "
            "and the "
            f"multipliers \\lambda = {vector(multipliers)}.",
            f"For the problem of minimising \\frac{{1}}{{2}}\\|x\\|_2^2 subject to {conditions}, take the feasible point "
            f"{vector(point)} and the dual feasible point {vector(multipliers)}. How large is the duality gap?",
            f"By how much does the objective \\frac{{1}}{{2}}\\|x\\|_2^2 at x = {vector(point)} exceed the dual function at "
            f"\\lambda = {vector(multipliers)}, if the constraints are {conditions}?",
        )
    )
    parameters = {"rows": rows, "bounds": bounds, "point": point, "multipliers": multipliers}
    return Exercise(question, steps, number(primal - dual), 4 if hard else 3, parameters)
