"""Distributions: integer solutions of sums with bounds, different objects in boxes."""

import random
from itertools import combinations
from math import comb

from latent_trainer.data.generated.combinatorics.text import (
    binomial,
    counted,
    listed,
    multiplied,
    power,
    shifted,
    summed,
    times,
    total,
)
from latent_trainer.data.generated.families import Exercise


def bounded_sums(rng: random.Random, hard: bool) -> Exercise:
    """Count the integer solutions of a sum when each variable has a lower and an upper bound."""
    variables = 5 if hard else rng.randint(3, 4)
    low, high = (7, 11) if hard else (2, 6)
    lows = [rng.randint(0, 3) for _ in range(variables)]
    widths = [rng.randint(low, high) for _ in range(variables)]
    rest = rng.randint(2, sum(widths) - 2)
    target = sum(lows) + rest
    levels = []
    for size in range(variables + 1):
        excess = [sum(widths[i] + 1 for i in chosen) for chosen in combinations(range(variables), size)]
        levels.append(sum(comb(rest - value + variables - 1, variables - 1) for value in excess if value <= rest))
    answer = sum((-1) ** size * ways for size, ways in enumerate(levels))
    bounds = [(a, a + width) for a, width in zip(lows, widths, strict=True)]
    names = [f"x_{index}" for index in range(1, variables + 1)]
    shares = "; ".join(f"child {index} gets at least {a} and at most {b}" for index, (a, b) in enumerate(bounds, 1))
    limits = ", ".join(f"{a} \\le {name} \\le {b}" for name, (a, b) in zip(names, bounds, strict=True))
    question = rng.choice(
        (
            f"How many integer solutions does ${'+'.join(names)} = {target}$ have with ${limits}$?",
            f"Find the number of tuples of integers with ${'+'.join(names)} = {target}$ and ${limits}$.",
            f"{target} identical sweets are shared among {variables} children: {shares}. In how many ways is this possible?",
        )
    )
    steps = [
        f"Subtract the lower bounds: the new variables add up to {target} - {sum(lows)} = {rest}, with upper limits "
        f"{listed(widths)}",
        f"Stars and bars without upper limits gives {binomial(rest + variables - 1, variables - 1)} = {levels[0]}",
    ]
    for size in range(1, variables + 1):
        if levels[size]:
            kind = "one variable" if size == 1 else f"{size} variables"
            steps.append(f"Solutions with {kind} above the limit, over all choices: {levels[size]}")
    steps.append(f"Inclusion-exclusion: {total((-1) ** size * ways for size, ways in enumerate(levels) if ways)}")
    steps = steps if len(steps) <= 6 else [*steps[:2], "; ".join(steps[2:-1]), steps[-1]]
    return Exercise(question, steps, str(answer), 3 + hard, {"lows": lows, "widths": widths, "target": target})


def sums_closed_form(rng: random.Random, hard: bool) -> Exercise:
    """Give a formula in n for the integer solutions of a sum, or of an inequality, with lower bounds."""
    variables = rng.randint(6, 8) if hard else rng.randint(2, 5)
    lows = [rng.randint(0, 4) for _ in range(variables)]
    extra = rng.randint(10, 20) if hard else rng.randint(0, 9)
    relation = rng.choice(("=", "\\le", "<"))
    bars = variables - 1 if relation == "=" else variables
    spare = extra - sum(lows) - (relation == "<")
    answer = binomial(shifted("n", spare + bars), bars)
    names = [f"x_{index}" for index in range(1, variables + 1)]
    bounds = ", ".join(f"{name} \\ge {value}" for name, value in zip(names, lows, strict=True))
    equation = f"{'+'.join(names)} {relation} {shifted('n', extra)}"
    smallest = max(1, -spare)
    question = rng.choice(
        (
            f"Let $n \\ge {smallest}$. Give a closed form in $n$ for the number of integer solutions of ${equation}$ with "
            f"${bounds}$.",
            f"How many integer tuples satisfy ${equation}$ and ${bounds}$? Answer in terms of $n$, where $n \\ge "
            f"{smallest}$.",
            f"For $n \\ge {smallest}$, express through $n$ how many solutions in integers ${equation}$ has under the "
            f"conditions ${bounds}$.",
        )
    )
    steps = [
        f"Subtract the lower bounds, {sum(lows)} in all: nonnegative variables with sum {relation} "
        f"{shifted('n', extra - sum(lows))}"
    ]
    if relation == "<":
        steps.append(f"A sum below {shifted('n', extra - sum(lows))} is at most {shifted('n', spare)}")
    if relation != "=":
        steps.append("One more nonnegative variable takes up what is missing, which makes it an equation")
    steps.append(f"{shifted('n', spare)} stars and {counted(bars, 'bar')} give {answer}")
    return Exercise(
        question, steps, answer, 2 + (relation != "=") + hard, {"lows": lows, "extra": extra, "relation": relation}
    )


def gifts(rng: random.Random, hard: bool) -> Exercise:
    """Give different gifts to children: two get a fixed number, some others at least one."""
    objects = rng.randint(15, 24) if hard else rng.randint(6, 14)
    children = rng.randint(8, 9) if hard else rng.randint(4, 7)
    needy = rng.randint(4 if hard else 1, children - 2)
    fixed = [rng.randint(0, 3), rng.randint(0, 3)]
    while objects - sum(fixed) < needy:
        fixed = [count // 2 for count in fixed]
    rest, open_to = objects - sum(fixed), children - 2
    chosen = comb(objects, fixed[0]) * comb(objects - fixed[0], fixed[1])
    terms = [(-1) ** empty * comb(needy, empty) * (open_to - empty) ** rest for empty in range(needy + 1)]
    answer = chosen * sum(terms)
    gets = [f"exactly {counted(count, 'gift')}" if count else "no gift" for count in fixed]
    group = f"children 3 to {needy + 2} get" if needy > 1 else "child 3 gets"
    rule = f"child 1 gets {gets[0]}, child 2 gets {gets[1]}, and {group} at least one gift{' each' if needy > 1 else ''}"
    question = rng.choice(
        (
            f"{objects} different gifts are handed out to {children} children, numbered from 1. In how many ways can this "
            f"be done if {rule}?",
            f"In how many ways can {objects} different gifts be distributed among children numbered 1 to {children} so that "
            f"{rule}?",
            f"Children 1 to {children} share {objects} different gifts, every gift going to one child. Count the "
            f"distributions in which {rule}.",
        )
    )
    steps = (
        f"Gifts for children 1 and 2: {binomial(objects, fixed[0])} \\cdot {binomial(objects - fixed[0], fixed[1])} = "
        f"{chosen}",
        f"Left for the other {open_to} children: {counted(rest, 'gift')}; {needy} of these children must not be left out",
        f"Inclusion-exclusion over those left out: {total(term for term in terms if term)}",
        f"Multiply: {chosen} \\cdot {sum(terms)} = {answer}",
    )
    parameters = {"objects": objects, "children": children, "needy": needy, "fixed": fixed}
    return Exercise(question, steps, str(answer), 3 + hard, parameters)


def nonempty_boxes_closed_form(rng: random.Random, hard: bool) -> Exercise:
    """Give a formula in n for different balls put into boxes, some of which must not stay empty."""
    boxes = rng.randint(21, 45) if hard else rng.randint(6, 20)
    needed = rng.randint(4, 5) if hard else rng.randint(1, 3)
    extra, single = rng.randint(0, 18), rng.choice((False, True))
    balls = shifted("n", extra)
    exponent = shifted("n", extra - single)
    base = boxes - single
    terms = [(-1) ** empty * comb(needed, empty) for empty in range(needed + 1)]
    bracket = summed(times(factor, power(base - empty, exponent)) for empty, factor in enumerate(terms))
    outside = balls if extra == 0 else f"({balls})"
    answer = multiplied([outside, f"({bracket})"]) if single else bracket
    red = "the red box is" if needed == 1 else f"none of the {needed} red boxes is"
    rule = f"{'not ' if needed == 1 else ''}empty"
    kinds = [counted(needed, "is red", "are red")] + (["1 is blue"] if single else [])
    blue = " and the blue box contains exactly one ball" if single else ""
    question = rng.choice(
        (
            f"{boxes} different boxes are given: {listed(kinds)}, the others are white. In how many ways can ${balls}$ "
            f"different balls be put into the boxes so that {red} {rule}{blue}? Give a closed form in $n$, where $n \\ge "
            f"{needed + 1}$.",
            f"Of {boxes} different boxes, {listed(kinds)}. Find a formula in $n$ for the number of ways to put ${balls}$ "
            f"different balls into the {boxes} boxes such that {red} {rule}{blue} ($n \\ge {needed + 1}$).",
            f"Let $n \\ge {needed + 1}$. ${balls}$ different balls are thrown into {boxes} different boxes, of which "
            f"{listed(kinds)}. For how many outcomes is it true that {red} {rule}{blue}? Answer in terms of $n$.",
        )
    )
    steps = []
    if single:
        steps.append(f"Choose the ball in the blue box: {balls} ways; the other {exponent} balls go to {base} boxes")
    steps.append(f"Without further conditions: {power(base, exponent)} ways")
    steps.append(
        f"Exclude the outcomes with j red boxes empty: sum of (-1)^j {binomial(needed, 'j')} ({base}-j)^{{{exponent}}}"
    )
    steps.append(f"The number of ways is {answer}")
    parameters = {"boxes": boxes, "needed": needed, "extra": extra, "single": single}
    return Exercise(question, steps, answer, 3 + hard, parameters)
