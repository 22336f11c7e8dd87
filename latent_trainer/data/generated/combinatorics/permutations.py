"""Permutations by their cycles: how many have a cycle type, orders of products."""

import random
from collections import Counter
from fractions import Fraction
from math import factorial, lcm, prod

from latent_trainer.data.generated.combinatorics.text import counted, listed, multiplied
from latent_trainer.data.generated.families import Exercise


def cycle_types(rng: random.Random, hard: bool) -> Exercise:
    """Count the permutations of a cycle type in which the elements 1 and 2 lie as prescribed."""
    elements = rng.randint(15, 20) if hard else rng.randint(5, 14)
    lengths, left = [], elements
    while left:
        lengths.append(rng.randint(1, min(left, rng.choice((2, 3, 5, 8)))))
        left -= lengths[-1]
    lengths.sort(reverse=True)
    number_of = Counter(lengths)
    all_of_type = factorial(elements) // prod(size**number * factorial(number) for size, number in number_of.items())
    rule = rng.choice(("none", "one", "same", "different"))
    cycle = rng.choice(lengths)
    if rule in ("same", "different"):
        inside = sum(size * (size - 1) * number for size, number in number_of.items())
        share = Fraction(inside, elements * (elements - 1))
        share, cycle = (share if rule == "same" else 1 - share), 0
    else:
        share = Fraction(cycle * number_of[cycle], elements) if rule == "one" else Fraction(1)
        cycle = cycle if rule == "one" else 0
    answer = int(all_of_type * share)
    shape = listed(
        counted(number, f"cycle of length {size}", f"cycles of length {size}")
        if size > 1
        else counted(number, "fixed point")
        for size, number in sorted(number_of.items(), reverse=True)
    )
    where = {
        "none": "",
        "one": f", with the element 1 in a cycle of length {cycle}"
        if cycle > 1
        else ", with the element 1 as a fixed point",
        "same": ", with the elements 1 and 2 in the same cycle",
        "different": ", with the elements 1 and 2 in different cycles",
    }[rule]
    question = rng.choice(
        (
            f"How many permutations of {{1, ..., {elements}}} have exactly {shape}{where}? A fixed point is a cycle of "
            "length 1.",
            f"Count the permutations of {elements} elements, numbered from 1, whose cycle decomposition has {shape}{where}.",
            f"In the symmetric group on {{1, ..., {elements}}}, find the number of elements with {shape}{where}.",
        )
    )
    below = multiplied(f"{size}^{number} \\cdot {number}!" for size, number in sorted(number_of.items(), reverse=True))
    steps = [
        f"A cycle of length m can be written in m ways and equal lengths can be swapped: divide by {below}",
        f"All permutations of the cycle type: \\frac{{{elements}!}}{{{below}}} = {all_of_type}",
    ]
    if rule == "one":
        steps.append(
            f"By symmetry the element 1 lies in such a cycle in {cycle * number_of[cycle]} of {elements} cases, a share of "
            f"{share}"
        )
    elif rule != "none":
        steps.append(f"Of the {elements * (elements - 1)} ordered pairs of places, {inside} lie in one cycle")
        steps.append(
            f"So 1 and 2 lie in {'the same cycle' if rule == 'same' else 'different cycles'} for a share of {share}"
        )
    if rule != "none":
        steps.append(f"{all_of_type} \\cdot {share} = {answer}")
    parameters = {"lengths": lengths, "rule": rule, "cycle": cycle}
    return Exercise(question, steps, str(answer), 2 + (rule != "none") + hard, parameters)


def product_orders(rng: random.Random, hard: bool) -> Exercise:
    """Find the order of a product of two permutations given by their cycles."""
    elements = rng.randint(9, 13) if hard else rng.randint(5, 8)
    first, second = _cycles(rng, elements), _cycles(rng, elements)
    maps = [
        {a: b for cycle in cycles for a, b in zip(cycle, cycle[1:] + cycle[:1], strict=True)} for cycles in (first, second)
    ]
    image = {x: maps[0].get(maps[1].get(x, x), maps[1].get(x, x)) for x in range(1, elements + 1)}
    product, seen = [], set()
    for start in image:
        cycle = []
        while start not in seen:
            seen.add(start)
            cycle.append(start)
            start = image[start]
        if len(cycle) > 1:
            product.append(cycle)
    lengths = sorted(map(len, product), reverse=True) or [1]
    answer = lcm(*lengths)
    a, b = _text(first), _text(second)
    question = rng.choice(
        (
            f"Let $\\sigma = {a}$ and $\\tau = {b}$ be permutations of {{1, ..., {elements}}} in cycle notation. What is "
            "the order of $\\sigma\\tau$, where $\\tau$ is applied first?",
            f"Find the order of the product {a}{b} in the symmetric group on {elements} elements. Products are read from "
            "right to left.",
            f"Apply first $\\tau = {b}$ and then $\\sigma = {a}$ to the numbers 1 to {elements}. What is the smallest k >= "
            "1 such that doing this k times in all leaves every number in its place?",
        )
    )
    steps = (
        f"The product has the cycles {_text(product)}" if product else "The product is the identity",
        f"Lengths of the cycles other than fixed points: {listed(lengths)}"
        if product
        else "All its cycles have the length 1",
        f"The order is their least common multiple, {answer}",
    )
    parameters = {"elements": elements, "first": first, "second": second}
    return Exercise(question, steps, str(answer), 2 + hard, parameters)


def _cycles(rng: random.Random, elements: int) -> list[list[int]]:
    order = list(range(1, elements + 1))
    rng.shuffle(order)
    cycles = []
    while len(order) > 1:
        length = min(len(order), rng.randint(2, 4))
        cycles.append(order[:length])
        order = order[length + rng.randrange(2) :]
    return cycles


def _text(cycles: list[list[int]]) -> str:
    return "".join(f"({' '.join(map(str, cycle))})" for cycle in cycles)
