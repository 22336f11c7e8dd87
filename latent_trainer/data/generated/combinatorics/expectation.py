"""Expected values: equal neighbours, draws until something happens, collecting prizes, occupied boxes."""

import random
from fractions import Fraction

from latent_trainer.data.generated.combinatorics.text import binomial, counted, listed, power, shifted, times
from latent_trainer.data.generated.families import Exercise

COLOURS = ("red", "blue", "green", "white")


def neighbours(rng: random.Random, hard: bool) -> Exercise:
    """Find the expected number of neighbouring pairs of equal, different or red balls in a random row or circle."""
    low, high = (9, 20) if hard else (2, 8)
    counts = [rng.randint(low, high) for _ in range(rng.randint(3, 4) if hard else rng.randint(2, 3))]
    kind, shape = rng.choice(("equal", "different", "red")), rng.choice(("row", "circle"))
    balls = sum(counts)
    pairs = balls if shape == "circle" else balls - 1
    good = counts[0] * (counts[0] - 1) if kind == "red" else sum(count * (count - 1) for count in counts)
    good = balls * (balls - 1) - good if kind == "different" else good
    share = Fraction(good, balls * (balls - 1))
    answer = pairs * share
    stock = listed(f"{count} {colour}" for count, colour in zip(counts, COLOURS, strict=False))
    what = {"equal": "of the same colour", "different": "of different colours", "red": "that are both red"}[kind]
    place = "in a row" if shape == "row" else "in a circle"
    question = rng.choice(
        (
            f"{stock} balls are placed {place} at random, all orders being equally likely. What is the expected number of "
            f"pairs of neighbouring balls {what}?",
            f"A random arrangement {place} is made of {stock} balls. Find the expected number of neighbouring pairs {what}.",
            f"Someone shuffles {stock} balls and lays them {place}. On average, how many pairs of adjacent balls are there "
            f"{what}? Give the exact value.",
        )
    )
    steps = (
        f"There are {pairs} pairs of neighbouring places",
        f"A pair of places is filled in this way with probability \\frac{{{good}}}{{{balls * (balls - 1)}}} = {share}",
        f"Expectations add up: {pairs} \\cdot {share} = {answer}",
    )
    return Exercise(question, steps, str(answer), 2 + hard, {"counts": counts, "kind": kind, "shape": shape})


def draws_until(rng: random.Random, hard: bool) -> Exercise:
    """Find the expected number of cards drawn until the k-th ace, or of other cards before it."""
    cards = rng.randint(36, 65) if hard else rng.randint(9, 35)
    aces = rng.randint(9, 14) if hard else rng.randint(1, 8)
    wanted = rng.randint(1, aces)
    kind = rng.choice(("all", "others"))
    gap = Fraction(cards - aces, aces + 1)
    answer = wanted * gap + (wanted if kind == "all" else 0)
    ordinal = f"ace number {wanted}" if aces > 1 else "the ace"
    pack = f"{cards} cards, {counted(aces, 'of which is an ace', 'of which are aces')}"
    count = "cards drawn, this ace included" if kind == "all" else "cards other than aces drawn before it"
    question = rng.choice(
        (
            f"A shuffled pack has {pack}. Cards are drawn one by one without replacement until {ordinal} appears. What is "
            f"the expected number of {count}?",
            f"From a well mixed pack of {pack}, cards are turned over one after another until {ordinal} is seen. Find the "
            f"expected number of {count}.",
            f"One draws without replacement from {pack}, in random order, and stops at {ordinal}. Compute the mean number "
            f"of {count}.",
        )
    )
    steps = [
        f"The {counted(aces, 'ace')} split the {counted(cards - aces, 'other card')} into {aces + 1} gaps, which have equal "
        "expectations",
        f"So the expected size of each gap is {gap}",
        f"Other cards before {ordinal}: {wanted} \\cdot {gap} = {wanted * gap}",
    ]
    if kind == "all":
        steps.append(f"Add the {counted(wanted, 'ace')} drawn: {wanted * gap} + {wanted} = {answer}")
    parameters = {"cards": cards, "aces": aces, "wanted": wanted, "kind": kind}
    return Exercise(question, steps, str(answer), 2 + hard, parameters)


def collecting(rng: random.Random, hard: bool) -> Exercise:
    """Find the expected number of spins until enough different prizes are collected, some fields being blank."""
    prizes, blanks = rng.randint(11, 16) if hard else rng.randint(3, 10), rng.randint(0, 9)
    owned = rng.randint(0, prizes - 2)
    wanted = rng.randint(owned + 1, min(prizes, owned + 5))
    fields = prizes + blanks
    waits = [Fraction(fields, prizes - have) for have in range(owned, wanted)]
    answer = sum(waits)
    blank = f" and {blanks} are blank" if blanks else ""
    have = f"{counted(owned, 'different prize')} of the wheel" if owned else "none of the prizes"
    goal = f"all {prizes}" if wanted == prizes else str(wanted)
    question = rng.choice(
        (
            f"A wheel of fortune has {fields} equally likely fields: {prizes} bear different prizes{blank}. A player owns "
            f"{have}. What is the expected number of spins until the player owns {goal} different prizes?",
            f"Each spin of a wheel hits one of {fields} fields with equal probability; {prizes} fields bear different "
            f"prizes{blank}. Starting with {have}, how many spins are needed on average to own {goal} different prizes?",
            f"Of the {fields} equally likely fields of a wheel, {prizes} give different prizes{blank}. Find the expected "
            f"number of spins for somebody who has {have} to reach {goal} different prizes.",
        )
    )
    steps = (
        f"With i different prizes a spin brings a new one with probability ({prizes}-i)/{fields}, so it takes "
        f"{fields}/({prizes}-i) spins",
        f"Take i from {owned} to {wanted - 1}: {listed(waits)}",
        f"The sum is {answer}",
    )
    parameters = {"prizes": prizes, "blanks": blanks, "owned": owned, "wanted": wanted}
    return Exercise(question, steps, str(answer), 2 + hard, parameters)


def occupancy_closed_form(rng: random.Random, hard: bool) -> Exercise:
    """Give a formula in n for the expected number of red boxes that hold exactly j of n random balls."""
    boxes = rng.randint(26, 60) if hard else rng.randint(3, 25)
    red, held = rng.randint(1, boxes), rng.randint(3, 6) if hard else rng.randint(0, 4)
    chance = f"\\frac{{{power(boxes - 1, shifted('n', -held))}}}{{{power(boxes, 'n')}}}"
    ways = {0: "", 1: "n"}.get(held, binomial("n", held))
    body = f"{ways} \\cdot {chance}" if ways else chance
    answer = times(red, body)
    smallest = max(1, held)
    reds = f"{red} of which are red" if red > 1 else "one of which is red"
    number = f"exactly {counted(held, 'ball')}" if held else "no ball"
    question = rng.choice(
        (
            f"$n \\ge {smallest}$ balls are thrown independently and uniformly into {boxes} boxes, {reds}. Find the "
            f"expected number of red boxes with {number}, as a formula in $n$.",
            f"Each of $n$ balls ($n \\ge {smallest}$) falls into one of {boxes} boxes, all equally likely, independently; "
            f"{reds.replace('of which', 'of the boxes')}. What is the expected number of red boxes that hold {number}? Give "
            "a closed form in $n$.",
            f"There are {boxes} boxes, {reds}. $n$ balls, $n \\ge {smallest}$, are put into random boxes independently of "
            f"each other. Express the mean number of red boxes containing {number} in terms of $n$.",
        )
    )
    steps = (
        f"A given box holds {number} with probability {body}",
        f"Add over the {counted(red, 'red box', 'red boxes')}: {answer}",
    )
    return Exercise(question, steps, answer, 2 + (held > 1) + hard, {"boxes": boxes, "red": red, "held": held})
