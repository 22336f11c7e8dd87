"""Arrangements: seatings of groups, words with repeated letters, formulas for any number of people."""

import random
from math import factorial, perm, prod

from latent_trainer.data.generated.combinatorics.text import counted, listed, multiplied, shifted, times
from latent_trainer.data.generated.families import Exercise


def seating_groups(rng: random.Random, hard: bool) -> Exercise:
    """Seat people in a row or round a table when groups stay together and some people must not be neighbours."""
    groups = [rng.randint(2, 5) for _ in range(4 if hard else rng.randint(1, 3))]
    apart = rng.choice((4, 5) if hard else (0, 2, 3))
    others = max(1, apart) + rng.randint(0, 7)
    shape = rng.choice(("row", "circle"))
    people, units = sum(groups) + apart + others, len(groups) + others
    inside = prod(map(factorial, groups))
    outside = factorial(units if shape == "row" else units - 1)
    gaps = units + 1 if shape == "row" else units
    answer = inside * outside * perm(gaps, apart)
    if len(groups) == 1:
        together = f"{groups[0]} of them are a family and must occupy consecutive seats"
    else:
        together = (
            f"Among them are {len(groups)} families of {listed(groups)}, and each family must occupy consecutive seats"
        )
    judges = f", while {apart} others are judges, no two of whom may be neighbours" if apart else ""
    places = {
        "row": (f"in a row of {people} chairs", ""),
        "circle": (f"around a round table with {people} chairs", " Seatings that differ by a rotation count as the same."),
    }
    place, note = places[shape]
    question = rng.choice(
        (
            f"{people} different people sit down {place}. {together}{judges}. In how many ways can they sit?{note}",
            f"How many ways are there to seat {people} different people {place} under these conditions? "
            f"{together}{judges}.{note}",
            f"A host seats {people} guests, all different, {place}. {together}{judges}. Find the number of seatings.{note}",
        )
    )
    seats = "in the row" if shape == "row" else "around the table, up to rotation"
    steps = [
        f"Treat each family as one unit: {len(groups)} + {others} = {units} units can be ordered in "
        f"{counted(outside, 'way')} {seats}",
        f"Inside the families there are {multiplied(f'{size}!' for size in groups)} = {inside} orders",
    ]
    if apart:
        steps.append(f"The judges take {apart} different gaps out of {gaps}, in order: {perm(gaps, apart)} ways")
    factors = [outside, inside, perm(gaps, apart)] if apart else [outside, inside]
    steps.append(f"Multiply: {multiplied(factors)} = {answer}")
    parameters = {"groups": groups, "apart": apart, "others": others, "shape": shape}
    return Exercise(question, steps, str(answer), 2 + (apart > 0) + hard, parameters)


def word_arrangements(rng: random.Random, hard: bool) -> Exercise:
    """Arrange the letters of a word with repeated letters under a condition on one letter."""
    letters = rng.sample("ABCDEFGH", 4 if hard else rng.randint(3, 4))
    counts = [rng.randint(3, 5) if hard else rng.randint(1, 3) for _ in letters]
    counts[0] = max(2, counts[0])
    letter, copies = letters[0], counts[0]
    rule = rng.choice(("together", "apart", "begins", "both ends"))
    word = "".join(sorted(name * count for name, count in zip(letters, counts, strict=True)))
    rest = sum(counts[1:])
    others = factorial(rest) // prod(map(factorial, counts[1:]))
    places = {
        "together": rest + 1,
        "apart": perm(rest + 1, copies) // factorial(copies),
        "begins": perm(rest + copies - 1, rest) // factorial(rest),
        "both ends": perm(rest + copies - 2, rest) // factorial(rest),
    }[rule]
    condition = {
        "together": f"all {copies} letters {letter} stand together in one block",
        "apart": f"no two letters {letter} are next to each other",
        "begins": f"the first letter is {letter}",
        "both ends": f"the first and the last letter are both {letter}",
    }[rule]
    question = rng.choice(
        (
            f"How many different arrangements of the letters {word} are there in which {condition}?",
            f"The letters {word} are put in a row. In how many different words is it true that {condition}?",
            f"Using every letter of {word} exactly once, count the different strings in which {condition}.",
        )
    )
    why = {
        "together": f"The block of {letter}s goes into one of the {rest + 1} gaps around them: {places} ways",
        "apart": f"The {letter}s go into {copies} different gaps out of {rest + 1}: {counted(places, 'way')}",
        "begins": f"One {letter} is fixed; choose {copies - 1} of the other {rest + copies - 1} places "
        f"for {letter}: {places}",
        "both ends": f"Two {letter}s are fixed; choose {copies - 2} of the {rest + copies - 2} inner places "
        f"for {letter}: {places}",
    }[rule]
    below = " ".join(f"{count}!" for count in counts[1:])
    steps = (
        f"The {rest} letters other than {letter} can be ordered in \\frac{{{rest}!}}{{{below}}} = {counted(others, 'way')}",
        why,
        f"Multiply: {others} \\cdot {places} = {others * places}",
    )
    parameters = {"word": word, "letter": letter, "rule": rule}
    return Exercise(question, steps, str(others * places), 2 + (rule == "apart") + hard, parameters)


def blocks_closed_form(rng: random.Random, hard: bool) -> Exercise:
    """Give a formula in n for the seatings of n people (or a few more or fewer) with several blocks."""
    blocks = [[rng.randint(2, 5), rng.choice(("free", "ordered"))] for _ in range(4 if hard else rng.randint(1, 3))]
    extra = rng.randint(-9, -3) if hard else rng.randint(-2, 6)
    shape = rng.choice(("row", "circle"))
    used = sum(size for size, _ in blocks)
    smallest = max(2, used - extra + 1)
    factor = prod(factorial(size) for size, kind in blocks if kind == "free")
    units = extra - used + len(blocks)
    offset = units if shape == "row" else units - 1
    tail = f"({shifted('n', offset)})!" if offset else "n!"
    answer = times(factor, tail)
    people = shifted("n", extra)
    place = {
        "row": "in a row",
        "circle": "around a round table (rotations count as the same seating, reflections do not)",
    }[shape]
    direction = "from left to right" if shape == "row" else "clockwise"
    teams = []
    for size, kind in blocks:
        order = "in any order" if kind == "free" else f"in order of age {direction}"
        teams.append(f"one team of {size} sitting {order}")
    if len(teams) == 1:
        rules = f"Among them is {teams[0]}, on consecutive seats."
    else:
        rules = f"Among them are {listed(teams)}; each team has members of its own and fills consecutive seats."
    question = rng.choice(
        (
            f"${people}$ different people sit {place}, where $n \\ge {smallest}$. {rules} Give the number of seatings as a "
            "formula in $n$.",
            f"Let $n \\ge {smallest}$. In how many ways, as a closed form in $n$, can ${people}$ people be seated "
            f"{place}? {rules}",
            f"Find a closed form in $n$ for the number of ways to seat ${people}$ different people {place}, with $n \\ge "
            f"{smallest}$. {rules}",
        )
    )
    steps = (
        f"{counted(len(blocks), 'team')} and {shifted('n', extra - used)} single people make {shifted('n', units)} units",
        f"The units can be ordered in {tail} ways" + (" up to rotation" if shape == "circle" else ""),
        f"Only teams without a given order can be permuted inside: a factor of {factor}",
        f"The number of seatings is {answer}",
    )
    return Exercise(question, steps, answer, 3 + hard, {"blocks": blocks, "extra": extra, "shape": shape})
