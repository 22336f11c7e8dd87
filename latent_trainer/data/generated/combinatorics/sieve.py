"""Inclusion-exclusion: divisibility, letters in their own envelopes, forbidden seats."""

import random
from itertools import combinations
from math import comb, factorial, lcm

from latent_trainer.data.generated.combinatorics.text import listed, total
from latent_trainer.data.generated.families import Exercise


def divisibility(rng: random.Random, hard: bool) -> Exercise:
    """Count the integers of a range divisible by none, at least one or exactly one of several numbers."""
    divisors = sorted(rng.sample(range(2, 16), 4 if hard else rng.randint(2, 3)))
    first, last = rng.choice((1, rng.randint(2, 99))), rng.randint(2000, 6000) if hard else rng.randint(150, 999)
    kind = rng.choice(("none", "at least one", "exactly one"))
    levels = []
    for size in range(1, len(divisors) + 1):
        levels.append(sum(last // lcm(*c) - (first - 1) // lcm(*c) for c in combinations(divisors, size)))
    numbers = last - first + 1
    if kind == "exactly one":
        terms = [(-1) ** size * (size + 1) * value for size, value in enumerate(levels)]
        step = "A number divisible by exactly one: sum of (-1)^{j-1} j S_j"
    elif kind == "at least one":
        terms = [(-1) ** size * value for size, value in enumerate(levels)]
        step = "A number divisible by at least one: sum of (-1)^{j-1} S_j"
    else:
        terms = [numbers] + [(-1) ** (size + 1) * value for size, value in enumerate(levels)]
        step = f"Of the {numbers} numbers, take those divisible by none: {numbers} + sum of (-1)^j S_j"
    what = f"{kind} of the numbers {listed(divisors)}"
    question = rng.choice(
        (
            f"How many integers from {first} to {last}, both included, are divisible by {what}?",
            f"Find the number of integers x with ${first} \\le x \\le {last}$ that are divisible by {what}.",
            f"Among the integers {first}, {first + 1}, ..., {last}, how many are multiples of {what}?",
        )
    )
    steps = (
        f"S_j is the number of multiples of the least common multiple, added up over all choices of j of {listed(divisors)}",
        ", ".join(f"S_{size} = {value}" for size, value in enumerate(levels, 1)),
        step,
        total(terms),
    )
    parameters = {"first": first, "last": last, "divisors": divisors, "kind": kind}
    return Exercise(question, steps, str(sum(terms)), len(divisors) + (kind == "exactly one"), parameters)


def fixed_points(rng: random.Random, hard: bool) -> Exercise:
    """Count permutations with exactly, at most or at least k fixed points among some elements, others being fixed."""
    letters, known = rng.randint(14, 18) if hard else rng.randint(5, 13), rng.randint(0, 3)
    marked = rng.randint(2, letters - known)
    kind = rng.choice(("exactly", "at most", "at least"))
    hits = rng.randint(1 if kind == "at least" else 0, min(3, marked - 1))
    free = letters - known
    exact = [
        comb(marked, k) * sum((-1) ** j * comb(marked - k, j) * factorial(free - k - j) for j in range(marked - k + 1))
        for k in range(hits + 1)
    ]
    if kind == "exactly":
        answer, sum_up = exact[hits], f"So {exact[hits]} arrangements have exactly {hits} of them in place"
    elif kind == "at most":
        answer, sum_up = sum(exact), f"Exactly 0 to {hits} in place: {total(exact)}"
    else:
        answer = factorial(free) - sum(exact[:hits])
        sum_up = (
            f"Take away those with fewer than {hits} in place: {total([factorial(free)] + [-ways for ways in exact[:hits]])}"
        )
    given = ""
    if known:
        which = f"Letter {marked + 1} is" if known == 1 else f"Letters {listed(range(marked + 1, marked + known + 1))} are"
        given = f"{which} already in the envelope{'s' if known > 1 else ''} of the same number. "
    condition = f"{kind} {hits} of the letters {'1 and 2' if marked == 2 else f'1 to {marked}'}"
    question = rng.choice(
        (
            f"Letters numbered 1 to {letters} are put into envelopes numbered 1 to {letters}, one in each. {given}In how "
            f"many ways can {condition} get into the envelope of the same number?",
            f"{letters} numbered letters go into {letters} envelopes with the same numbers, one letter each. {given}How "
            f"many ways are there to put {condition} into the envelope of the same number?",
            f"{given}Count the ways to distribute letters 1 to {letters} over envelopes 1 to {letters}, one each, with "
            f"{condition} in the envelope of the same number.",
        )
    )
    shown = {"exactly": [hits], "at most": range(hits + 1), "at least": range(hits)}[kind]
    number = "k" if kind != "exactly" else str(hits)
    steps = (
        f"{free} letters are free to move; choose the {number} of the {marked} that are in place",
        f"The others of the {marked} must miss: sum of (-1)^j \\binom{{{marked}-{number}}}{{j}} ({free}-{number}-j)! over j",
        "Exactly k in place: " + ", ".join(f"k = {k}: {exact[k]}" for k in shown),
        sum_up,
    )
    parameters = {"letters": letters, "known": known, "marked": marked, "kind": kind, "hits": hits}
    return Exercise(question, steps, str(answer), 3 + hard, parameters)


def forbidden_seats(rng: random.Random, hard: bool) -> Exercise:
    """Seat people so that nobody gets a seat he or she refuses, by rook numbers."""
    people = rng.randint(7, 8) if hard else rng.randint(4, 6)
    cells = [(person, seat) for person in range(1, people + 1) for seat in range(1, people + 1)]
    refused = sorted(rng.sample(cells, 5 if hard else rng.randint(2, 4)))
    rooks = []
    for size in range(len(refused) + 1):
        choices = combinations(refused, size)
        rooks.append(sum(len({p for p, _ in c}) == size == len({s for _, s in c}) for c in choices))
    terms = [(-1) ** size * ways * factorial(people - size) for size, ways in enumerate(rooks) if size <= people and ways]
    answer = sum(terms)
    wishes = {}
    for person, seat in refused:
        wishes.setdefault(person, []).append(seat)
    rule = "; ".join(
        f"person {person} refuses seat{'s' if len(seats) > 1 else ''} {listed(seats)}" for person, seats in wishes.items()
    )
    question = rng.choice(
        (
            f"{people} people numbered 1 to {people} take {people} seats numbered 1 to {people}, one each. These seats are "
            f"refused: {rule}. In how many ways can everybody be seated?",
            f"In how many ways can persons 1 to {people} be assigned to seats 1 to {people}, one seat each, if {rule}?",
            f"Seats 1 to {people} are to be given to persons 1 to {people}, one to each. Count the possible assignments, "
            f"given that {rule}.",
        )
    )
    steps = (
        "Ways to place j people on j refused pairs at once: "
        f"{', '.join(f'r_{size} = {ways}' for size, ways in enumerate(rooks))}",
        f"Each can be completed in ({people}-j)! ways, so the answer is the sum of (-1)^j r_j ({people}-j)!",
        total(terms),
    )
    parameters = {"people": people, "refused": [list(cell) for cell in refused]}
    return Exercise(question, steps, str(answer), (3 if len(refused) > 2 else 2) + hard, parameters)
