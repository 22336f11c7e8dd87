"""Probabilities as fractions: balls drawn without replacement, sums of dice."""

import random
from fractions import Fraction
from math import comb

from latent_trainer.data.generated.combinatorics.text import binomial, counted, listed, multiplied, total
from latent_trainer.data.generated.families import Exercise

COLOURS = ("red", "blue", "green", "white")


def drawn_balls(rng: random.Random, hard: bool) -> Exercise:
    """Find the probability that drawn balls are alike, all different, or have some number of reds."""
    low, high = (9, 14) if hard else (3, 8)
    counts = [rng.randint(low, high) for _ in range(4 if hard else rng.randint(2, 3))]
    kind = rng.choice(("same", "different", "exactly", "at least"))
    drawn = rng.randint(2, len(counts)) if kind == "different" else rng.randint(5, 7) if hard else rng.randint(2, 4)
    reds = rng.randint(1, min(drawn, counts[0])) if kind in ("exactly", "at least") else 0
    balls, first, others = sum(counts), counts[0], sum(counts[1:])
    if kind == "same":
        parts = [comb(count, drawn) for count in counts]
        why = "Draws of a single colour: " + total(parts)
    elif kind == "different":
        symmetric = [1] + [0] * drawn
        for count in counts:
            for size in range(drawn, 0, -1):
                symmetric[size] += count * symmetric[size - 1]
        parts = [symmetric[drawn]]
        why = f"Add the products of {drawn} of the numbers {listed(counts)}: {parts[0]}"
    else:
        values = [reds] if kind == "exactly" else range(reds, min(drawn, first) + 1)
        parts = [comb(first, value) * comb(others, drawn - value) for value in values]
        why = f"Draws with {listed(values, 'or')} red balls: {total(parts)}"
    answer = Fraction(sum(parts), comb(balls, drawn))
    stock = listed(f"{count} {colour}" for count, colour in zip(counts, COLOURS, strict=False))
    event = {
        "same": "all of them have the same colour",
        "different": "they all have different colours",
        "exactly": f"exactly {reds} of them {'is' if reds == 1 else 'are'} red",
        "at least": f"at least {reds} of them {'is' if reds == 1 else 'are'} red",
    }[kind]
    question = rng.choice(
        (
            f"A bag contains {stock} balls. {drawn} balls are drawn at random without replacement. What is the probability "
            f"that {event}?",
            f"From an urn with {stock} balls, {drawn} balls are taken at once at random. Find the probability that {event}, "
            "as a fraction.",
            f"{drawn} balls are chosen at random from {stock} balls, all choices being equally likely. How likely is it "
            f"that {event}? Give an exact fraction.",
        )
    )
    steps = (
        f"All draws: {binomial(balls, drawn)} = {comb(balls, drawn)}",
        why,
        f"Probability: \\frac{{{sum(parts)}}}{{{comb(balls, drawn)}}} = {answer}",
    )
    parameters = {"counts": counts, "drawn": drawn, "kind": kind, "reds": reds}
    return Exercise(question, steps, str(answer), 2 + hard, parameters)


def dice_sums(rng: random.Random, hard: bool) -> Exercise:
    """Find the probability of a sum of several dice, one of which has another number of faces."""
    dice, faces = (rng.randint(5, 6), rng.randint(9, 12)) if hard else (rng.randint(2, 4), rng.randint(4, 8))
    special = rng.choice([number for number in range(2, 13) if number != faces])
    highest = dice * faces + special
    target = rng.randint(dice + 2, (highest + dice + 1) // 2 + 1)
    kind = rng.choice(("equal to", "at most"))
    rest, bars = target - dice - 1, dice + (kind == "at most")
    terms = {}
    for both in (0, 1):
        for number in range(dice + 1):
            left = rest - number * faces - both * special
            if left >= 0:
                key = (number, both)
                terms[key] = (-1) ** (number + both) * comb(dice, number) * comb(left + bars, bars)
    outcomes = faces**dice * special
    answer = Fraction(sum(terms.values()), outcomes)
    roll = f"{dice} fair dice with {faces} faces (1 to {faces}) and one fair die with {special} faces (1 to {special})"
    question = rng.choice(
        (
            f"{roll} are rolled. What is the probability that the sum is {kind} {target}?",
            f"Someone rolls {roll}. Find the probability, as a fraction, that the total is {kind} {target}.",
            f"The numbers shown by {roll} are added. How likely is it that the sum is {kind} {target}? Give an exact "
            "fraction.",
        )
    )
    slack = ", one more variable for what is missing" if kind == "at most" else ""
    steps = (
        f"There are {multiplied([f'{faces}^{dice}', special])} = {outcomes} equally likely outcomes",
        f"Subtract 1 from each die: {counted(dice + 1, 'nonnegative variable')} with sum {kind} {rest}{slack}",
        f"Without upper limits: {binomial(rest + bars, bars)} = {terms[(0, 0)]}; then exclude dice above their limit",
        f"Inclusion-exclusion: {total(terms.values())}",
        f"Probability: \\frac{{{sum(terms.values())}}}{{{outcomes}}} = {answer}",
    )
    parameters = {"dice": dice, "faces": faces, "special": special, "target": target, "kind": kind}
    return Exercise(question, steps, str(answer), 3 + hard, parameters)
