"""Lattice paths: closed crossings, lines that must not be crossed, formulas in n."""

import random
from itertools import pairwise
from math import comb

from latent_trainer.data.generated.combinatorics.text import binomial, listed, multiplied, shifted, summed, times, total
from latent_trainer.data.generated.families import Exercise

MOVES = "Each step goes one unit to the right or one unit up."


def paths_with_obstacles(rng: random.Random, hard: bool) -> Exercise:
    """Count lattice paths that avoid closed crossings and, sometimes, pass through a given point."""
    low, high = (9, 13) if hard else (4, 8)
    end = (rng.randint(low, high), rng.randint(low, high))
    via = rng.choice((None, (rng.randint(1, end[0] - 1), rng.randint(1, end[1] - 1))))
    cells = [(x, y) for x in range(end[0] + 1) for y in range(end[1] + 1) if (x, y) not in ((0, 0), end, via)]
    closed = sorted(rng.sample(cells, 3 if hard else rng.randint(1, 2)))
    corners = [(0, 0), *([via] if via else []), end]
    steps, factors = [], []
    for start, stop in pairwise(corners):
        ways, lines = _avoiding(start, stop, closed)
        factors.append(ways)
        steps += lines if via is None else ["; ".join(lines)]
    answer = factors[0] * factors[-1] if via else factors[0]
    if via:
        steps.append(f"Multiply the two parts: {multiplied(factors)} = {answer}")
    points = listed(closed, "or")
    through = f"pass through {via} but " if via else ""
    question = rng.choice(
        (
            f"{MOVES} How many such paths from (0, 0) to {end} {through}do not visit {points}?",
            f"How many lattice paths from (0, 0) to {end} {through}avoid {points}? {MOVES}",
            f"A robot walks on a grid from (0, 0) to {end}. {MOVES} In how many ways can it {through}never enter {points}?",
        )
    )
    parameters = {"end": list(end), "via": list(via) if via else None, "closed": [list(point) for point in closed]}
    return Exercise(question, steps, str(answer), 2 + (len(closed) > 1) + hard, parameters)


def _avoiding(start: tuple, stop: tuple, closed: list[tuple]) -> tuple[int, list[str]]:
    def between(a, b):
        across, up = b[0] - a[0], b[1] - a[1]
        return comb(across + up, up) if across >= 0 and up >= 0 else 0

    first = {}  # paths to a closed point that meet no closed point before it
    for point in closed:
        ways = between(start, point) - sum(known * between(before, point) for before, known in first.items())
        if ways and between(point, stop):
            first[point] = ways
    plain = between(start, stop)
    lines = [f"All paths from {start} to {stop}: {plain}"]
    for point, ways in first.items():
        lines.append(f"First closed point {point}: {ways} \\cdot {between(point, stop)} = {ways * between(point, stop)}")
    if first:
        lines.append(f"Allowed: {total([plain] + [-ways * between(point, stop) for point, ways in first.items()])}")
    return plain - sum(ways * between(point, stop) for point, ways in first.items()), lines


def ballot_paths(rng: random.Random, hard: bool) -> Exercise:
    """Count lattice paths that stay below, never touch or do touch a diagonal line, by reflection."""
    across, offset = (rng.randint(17, 26), rng.randint(6, 9)) if hard else (rng.randint(4, 16), rng.randint(1, 5))
    up = rng.randint(offset + 1, across + offset - 1)
    rule = rng.choice(("never above", "never touch", "touch"))
    line = shifted("x", offset)
    plain = comb(across + up, up)
    level = offset + (rule == "never above")
    bad = comb(across + up, up - level)
    answer = bad if rule == "touch" else plain - bad
    condition = {
        "never above": f"never go above the line $y = {line}$ (touching it is allowed)",
        "never touch": f"have no point in common with the line $y = {line}$",
        "touch": f"have at least one point in common with the line $y = {line}$",
    }[rule]
    votes = {
        "never above": f"B is never more than {offset} ahead of A",
        "never touch": f"B's lead over A never reaches {offset}",
        "touch": f"B's lead over A is exactly {offset} at some moment",
    }[rule]
    question = rng.choice(
        (
            f"{MOVES} How many such paths from (0, 0) to ({across}, {up}) {condition}?",
            f"Count the lattice paths from (0, 0) to ({across}, {up}) that {condition}. {MOVES}",
            f"Candidate A gets {across} votes and B gets {up}; the votes are counted one by one. In how many orders of the "
            f"letters A and B can this happen so that {votes}?",
        )
    )
    reached = shifted("x", level)
    steps = [
        f"All orders of {across} steps right (A) and {up} steps up (B): {binomial(across + up, up)} = {plain}",
        f"Reflecting the part after the first point on y = {reached} sends the end to ({up - level}, {across + level})",
        f"Paths that meet y = {reached}: {binomial(across + up, up - level)} = {bad}",
        f"The answer is {bad}" if rule == "touch" else f"Take them away: {plain} - {bad} = {answer}",
    ]
    parameters = {"across": across, "up": up, "offset": offset, "rule": rule}
    return Exercise(question, steps, str(answer), 3 + hard, parameters)


def paths_closed_form(rng: random.Random, hard: bool) -> Exercise:
    """Give a formula in n for lattice paths to (n, b) through one point and around another."""
    low, high = (5, 8) if hard else (1, 4)
    via = (rng.randint(low, high), rng.randint(low, high))
    closed = (via[0] + rng.randint(1, 4), via[1] + rng.randint(0, 4))
    height = closed[1] + rng.randint(1, 6)
    first = comb(sum(via), via[0])
    middle = comb(closed[0] - via[0] + closed[1] - via[1], closed[0] - via[0])
    free = binomial(shifted("n", height - sum(via)), height - via[1])
    hit = binomial(shifted("n", height - sum(closed)), height - closed[1])
    answer = summed([times(first, free), times(-first * middle, hit)])
    smallest = closed[0] + 1
    question = rng.choice(
        (
            f"{MOVES} For $n \\ge {smallest}$, how many such paths from $(0, 0)$ to $(n, {height})$ pass through ${via}$ "
            f"but not through ${closed}$? Give a closed form in $n$.",
            f"Let $n \\ge {smallest}$. Find a formula in $n$ for the number of lattice paths from $(0, 0)$ to $(n, "
            f"{height})$ that visit ${via}$ and avoid ${closed}$. {MOVES}",
            f"A robot walks from $(0, 0)$ to $(n, {height})$, where $n \\ge {smallest}$. {MOVES} It must visit ${via}$ and "
            f"must not visit ${closed}$. Express the number of its paths in terms of $n$.",
        )
    )
    steps = (
        f"From (0, 0) to {via}: {binomial(sum(via), via[0])} = {first}",
        f"From {via} to (n, {height}) without a condition: {free}",
        f"Of these, {times(middle, hit)} go through {closed}",
        f"Multiply by {first}: {answer}",
    )
    parameters = {"via": list(via), "closed": list(closed), "height": height}
    return Exercise(question, steps, answer, 3 + hard, parameters)
