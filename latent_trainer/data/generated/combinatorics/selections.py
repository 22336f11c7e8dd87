"""Selections: committees, spaced seats, sums modulo m, tuples of subsets."""

import random
from collections import Counter
from itertools import combinations_with_replacement
from math import comb, factorial, prod

from latent_trainer.data.generated.combinatorics.text import counted, multiplied, power, shifted, total
from latent_trainer.data.generated.families import Exercise


def committees(rng: random.Random, hard: bool) -> Exercise:
    """Choose a committee from three groups with a lower bound on one and an upper bound on another."""
    low, high = (9, 14) if hard else (3, 8)
    sizes = [rng.randint(low, high) for _ in range(3)]
    seats = rng.randint(6, 8) if hard else rng.randint(3, 5)
    least, most = rng.randint(1, 2), rng.randint(1, 2)
    rows = {}
    for first in range(least, seats + 1):
        ways = sum(
            comb(sizes[1], second) * comb(sizes[2], seats - first - second) for second in range(min(most, seats - first) + 1)
        )
        if comb(sizes[0], first) * ways:
            rows[first] = (comb(sizes[0], first), ways)
    answer = sum(first * rest for first, rest in rows.values())
    groups = f"{sizes[0]} teachers, {sizes[1]} parents and {sizes[2]} students"
    rule = f"at least {counted(least, 'teacher')} and at most {counted(most, 'parent')}"
    question = rng.choice(
        (
            f"A committee of {seats} is chosen from {groups}. How many committees have {rule}?",
            f"From {groups}, all different people, a group of {seats} must be formed with {rule}. How many choices are "
            "there?",
            f"In how many ways can {seats} people be selected from {groups} if the selection must contain {rule}?",
        )
    )
    steps = (
        f"Let i be the number of teachers, i >= {least}, and j the number of parents, j <= {most}: the rest is {seats} - i "
        "- j students",
        f"Sum \\binom{{{sizes[0]}}}{{i}} \\binom{{{sizes[1]}}}{{j}} \\binom{{{sizes[2]}}}{{{seats}-i-j}} over i and j",
        "; ".join(f"i = {key}: {ways} \\cdot {rest} = {ways * rest}" for key, (ways, rest) in rows.items()),
        f"Add: {total(ways * rest for ways, rest in rows.values())}",
    )
    parameters = {"sizes": sizes, "seats": seats, "least": least, "most": most}
    return Exercise(question, steps, str(answer), 2 + hard, parameters)


def spaced_seats(rng: random.Random, hard: bool) -> Exercise:
    """Choose seats in a row or circle with empty seats between any two chosen ones."""
    chosen, gap = rng.randint(7, 10) if hard else rng.randint(2, 6), rng.randint(1, 4)
    seats = chosen * (gap + 1) + rng.randint(0, 28)
    shape, named = rng.choice(("row", "circle")), rng.choice((False, True))
    where = "in a row" if shape == "row" else "around a circular table"
    empty = counted(gap, "empty seat" if named else "other seat")
    free = seats - (chosen - 1) * gap if shape == "row" else seats - chosen * gap - 1
    ways = comb(free, chosen) if shape == "row" else seats * comb(free, chosen - 1) // chosen
    answer = ways * factorial(chosen) if named else ways
    note = (
        "The seats are numbered, so rotating a choice gives a different one."
        if shape == "circle"
        else "The seats are numbered."
    )
    if named:
        question = rng.choice(
            (
                f"{chosen} different people sit down on {seats} seats {where}, with at least {empty} between any two of "
                f"them. {note} In how many ways can they do so?",
                f"There are {seats} seats {where}. {note} In how many ways can {chosen} different people take seats so that "
                f"between any two of them there is always at least {empty}?",
                f"Count the ways to place {chosen} different people on {seats} seats {where} such that any two people have "
                f"at least {empty} between them. {note}",
            )
        )
    else:
        question = rng.choice(
            (
                f"{chosen} of {seats} seats {where} are reserved, with at least {empty} between any two reserved seats. "
                f"{note} In how many ways can the reserved seats be chosen?",
                f"There are {seats} seats {where}. {note} How many sets of {chosen} seats have at least {empty} between any "
                "two seats of the set?",
                f"How many ways are there to choose {chosen} from {seats} seats {where} so that any two chosen seats have "
                f"at least {empty} between them? {note}",
            )
        )
    if shape == "row":
        steps = [
            f"Remove {counted(gap, 'seat')} after each chosen seat but the last: {seats} - {(chosen - 1) * gap} = {free} "
            "seats stay",
            f"Any {chosen} of them can be chosen: \\binom{{{free}}}{{{chosen}}} = {ways}",
        ]
    else:
        steps = [
            f"Fix one chosen seat in {seats} ways; remove {counted(gap, 'seat')} after each chosen seat: "
            f"{counted(free, 'other')} stay",
            f"Choose the other {chosen - 1} among them: \\binom{{{free}}}{{{chosen - 1}}} = {comb(free, chosen - 1)}",
            f"Each choice is counted {chosen} times: {seats} \\cdot {comb(free, chosen - 1)} / {chosen} = {ways}",
        ]
    if named:
        steps.append(f"The {chosen} people can be ordered in {chosen}! ways: {ways} \\cdot {factorial(chosen)} = {answer}")
    parameters = {"seats": seats, "chosen": chosen, "gap": gap, "shape": shape, "named": named}
    return Exercise(question, steps, str(answer), 2 + (shape == "circle") + hard, parameters)


def subset_sums(rng: random.Random, hard: bool) -> Exercise:
    """Count the subsets of {1, ..., n} of a given size whose sum has a given remainder."""
    top = rng.randint(50, 90) if hard else rng.randint(8, 45)
    size, modulus = (3, rng.randint(5, 8)) if hard else (rng.randint(2, 3), rng.randint(3, 7))
    remainder = rng.randrange(modulus)
    classes = [sum(1 for number in range(1, top + 1) if number % modulus == value) for value in range(modulus)]
    parts = []
    for residues in combinations_with_replacement(range(modulus), size):
        if sum(residues) % modulus == remainder:
            parts.append((residues, prod(comb(classes[value], times) for value, times in Counter(residues).items())))
    answer = sum(ways for _, ways in parts)
    rule = f"leaves the remainder {remainder} when divided by {modulus}" if remainder else f"is divisible by {modulus}"
    question = rng.choice(
        (
            f"How many subsets of {{1, 2, ..., {top}}} with exactly {size} elements have a sum that {rule}?",
            f"{size} different numbers are chosen from 1, 2, ..., {top}, the order not mattering. For how many choices is "
            f"it true that their sum {rule}?",
            f"Count the {size}-element subsets of the set of integers from 1 to {top} whose sum {rule}.",
        )
    )
    steps = (
        f"Numbers with remainder 0, ..., {modulus - 1} modulo {modulus}: {', '.join(map(str, classes))}",
        "Choices by remainders: " + ", ".join(f"({', '.join(map(str, residues))}): {ways}" for residues, ways in parts),
        f"Add: {total(ways for _, ways in parts)}",
    )
    parameters = {"top": top, "size": size, "modulus": modulus, "remainder": remainder}
    return Exercise(question, steps, str(answer), size + hard, parameters)


def subset_tuples(rng: random.Random, hard: bool) -> Exercise:
    """Give a formula in n for the tuples of subsets of an n-set under a condition, some elements bound to the first."""
    length = rng.randint(7, 9) if hard else rng.randint(2, 6)
    bound = rng.randint(7, 14) if hard else rng.randint(0, 6)
    extra = rng.randint(0, 8)
    rule = rng.choice(("chain", "disjoint", "partition", "cover", "no common"))
    sets = ", ".join(f"A_{{{index}}}" for index in range(1, length + 1))
    condition, all_choices, bound_choices, why = {
        "chain": (
            "each set is contained in the next one",
            length + 1,
            1,
            f"an element is given by the first set it lies in, or by lying in none: {length + 1} choices",
        ),
        "disjoint": (
            "no element lies in two of the sets",
            length + 1,
            1,
            f"an element lies in one set or none: {length + 1} choices",
        ),
        "partition": (
            "each element lies in exactly one of the sets",
            length,
            1,
            f"an element lies in one set: {length} choices",
        ),
        "cover": (
            "each element lies in at least one of the sets",
            2**length - 1,
            2 ** (length - 1),
            f"an element lies in any sets but not in none: 2^{length}-1 = {2**length - 1} choices",
        ),
        "no common": (
            "no element lies in all of the sets",
            2**length - 1,
            2 ** (length - 1) - 1,
            f"an element lies in any sets but not in all: 2^{length}-1 = {2**length - 1} choices",
        ),
    }[rule]
    size = shifted("n", extra)
    exponent = shifted("n", extra - bound)
    factors = [power(bound_choices, bound)] if bound and bound_choices > 1 else []
    answer = multiplied([*factors, power(all_choices, exponent)])
    smallest = max(1, bound - extra)
    also = f" and $A_1$ contains the numbers {', '.join(map(str, range(1, bound + 1)))}" if bound > 1 else ""
    also = " and $A_1$ contains the number 1" if bound == 1 else also
    whole = f"$\\{{1, \\dots, {size}\\}}$"
    question = rng.choice(
        (
            f"Let $n \\ge {smallest}$. How many ordered tuples $({sets})$ of subsets of {whole} are there such that "
            f"{condition}{also}? Answer with a closed form in $n$.",
            f"Find a formula in $n$ (for $n \\ge {smallest}$) for the number of ordered tuples $({sets})$ of subsets of "
            f"{whole} in which {condition}{also}. Here element means a number from {whole}.",
            f"The sets ${sets}$ are subsets of {whole}, where $n \\ge {smallest}$. In how many ways, in terms of $n$, can "
            f"they be chosen in this order so that {condition}{also}?",
        )
    )
    steps = [f"Choose for each element on its own: {why}"]
    if bound:
        steps.append(f"An element bound to lie in A_1 has {counted(bound_choices, 'choice')}; there are {bound} of them")
    steps.append(f"The other {exponent} elements have {all_choices} choices each")
    steps.append(f"The number of tuples is {answer}")
    parameters = {"length": length, "bound": bound, "extra": extra, "rule": rule}
    return Exercise(question, steps, answer, 2 + (bound > 0) + hard, parameters)
