"""Linear recurrences: terms, closed forms, restricted strings, tilings with coloured tiles."""

import random

from latent_trainer.data.generated.combinatorics.text import counted, listed, power, shifted, summed, times
from latent_trainer.data.generated.families import Exercise


def recurrence_term(rng: random.Random, hard: bool) -> Exercise:
    """Compute a term of a linear recurrence of second order with an added linear term."""
    p, q = rng.randint(1, 4), rng.choice((-3, -2, -1, 1, 2, 3))
    slope, constant = rng.randint(0, 2), rng.randint(-3, 5)
    values = [rng.randint(0, 4), rng.randint(1, 5)]
    starts = list(values)
    last = rng.randint(8, 11) if hard else rng.randint(4, 6)
    for index in range(2, last + 1):
        values.append(p * values[-1] + q * values[-2] + slope * index + constant)
    rule = "a_n = " + summed([times(p, "a_{n-1}"), times(q, "a_{n-2}"), times(slope, "n"), str(constant)])
    given = f"$a_0 = {starts[0]}$, $a_1 = {starts[1]}$ and ${rule}$ for $n \\ge 2$"
    question = rng.choice(
        (
            f"A sequence is defined by {given}. Find $a_{{{last}}}$.",
            f"Let {given}. What is $a_{{{last}}}$?",
            f"Compute the term $a_{{{last}}}$ of the sequence with {given}.",
        )
    )
    shown = [f"a_{{{index}}} = {value}" for index, value in enumerate(values)][2:]
    half = len(shown) // 2
    steps = shown if len(shown) <= 6 else [", ".join(shown[:half]), ", ".join(shown[half:])]
    parameters = {"p": p, "q": q, "slope": slope, "constant": constant, "starts": starts, "last": last}
    return Exercise(question, steps, str(values[-1]), 1 + hard, parameters)


def recurrence_closed_form(rng: random.Random, hard: bool) -> Exercise:
    """Solve a linear recurrence of second order in closed form; the harder ones have a constant added."""
    roots = [rng.choice((-3, -2, 2, 3, 4, 5)), rng.choice((-4, -2, -1, 1, 2, 3, 6))]
    if hard:
        roots[1] = rng.choice((-5, -4, -3, -2, 2, 3, 4, 5, 6))
    weights = [rng.choice((-3, -2, -1, 1, 2, 3, 4, 5)), rng.choice((-4, -3, -2, -1, 1, 2, 3, 4, 5))]
    shift = rng.choice((-5, -4, -3, -2, -1, 1, 2, 3, 4, 5)) if hard else 0
    roots.sort()
    double = roots[0] == roots[1]
    p, q = sum(roots), -roots[0] * roots[1]
    added = shift * (1 - p - q)
    first = shift + weights[0] + (0 if double else weights[1])
    second = shift + weights[0] * roots[0] + weights[1] * roots[1]
    rule = "a_n = " + summed([times(p, "a_{n-1}"), times(q, "a_{n-2}"), str(added)])
    body = [times(weights[0], power(roots[0], "n"))]
    tail = power(roots[1], "n")
    body.append(times(weights[1], f"n \\cdot {tail}" if double else tail))
    answer = summed([*body, str(shift)])
    given = f"$a_0 = {first}$, $a_1 = {second}$ and ${rule}$ for $n \\ge 2$"
    question = rng.choice(
        (
            f"Find a closed form in $n$ of the sequence with {given}.",
            f"A sequence satisfies {given}. Express $a_n$ as a function of $n$.",
            f"Solve the recurrence {given}: give $a_n$ in terms of $n$.",
        )
    )
    equation = summed(["x^2", times(-p, "x"), str(-q)])
    steps = [
        f"The characteristic equation {equation} = 0 has the {'double root' if double else 'roots'} "
        f"{listed(roots[: 2 - double])}"
    ]
    if hard:
        steps.append(f"A constant solution c satisfies {times(1 - p - q, 'c')} = {added}, so c = {shift}")
    form = f"(A+Bn) \\cdot {power(roots[0], 'n')}" if double else f"A \\cdot {power(roots[0], 'n')}+B \\cdot {tail}"
    steps.append(f"So a_n = {summed([form, str(shift)])}")
    steps.append(f"The initial values give A = {weights[0]} and B = {weights[1]}")
    steps.append(f"a_n = {answer}")
    parameters = {"roots": roots, "weights": weights, "shift": shift}
    return Exercise(question, steps, answer, 3 + hard, parameters)


def restricted_strings(rng: random.Random, hard: bool) -> Exercise:
    """Count codes in which runs of letters are shorter than a limit, with a condition on the ends."""
    letters, digits = rng.randint(7, 10) if hard else rng.randint(1, 6), rng.randint(1, 8)
    run, length = rng.randint(2, 4), rng.randint(10, 16) if hard else rng.randint(4, 9)
    ends = rng.choice(("any", "last", "both"))
    free = length - {"any": 0, "last": 1, "both": 2}[ends]
    factor = digits ** (length - free)
    table = [(letters + digits) ** size for size in range(run)]
    while len(table) <= free:
        table.append(sum(letters**size * digits * table[-1 - size] for size in range(run)))
    answer = factor * table[free]
    rule = f"no {run} consecutive symbols are all letters"
    close = {"any": "", "last": " and the last symbol is a digit", "both": " and the first and the last symbol are digits"}[
        ends
    ]
    alphabet = f"{counted(letters, 'letter')} and {counted(digits, 'digit')}"
    question = rng.choice(
        (
            f"Codes of {length} symbols are written with {alphabet}; symbols may be repeated. In how many codes is it true "
            f"that {rule}{close}?",
            f"How many strings of length {length} over an alphabet of {alphabet} are there such that {rule}{close}?",
            f"A password has {length} symbols, each one of {alphabet}. Count the passwords for which {rule}{close}.",
        )
    )
    recurrence = summed(times(letters**size * digits, f"f({shifted('m', -size - 1)})") for size in range(run))
    steps = [
        f"Let f(m) count strings of length m without {run} consecutive letters; split by the number of letters at the end",
        f"f(m) = {recurrence} for m >= {run}",
        "; ".join(f"f({size}) = {value}" for size, value in enumerate(table[: free + 1])),
    ]
    if free < length:
        steps.append(f"The ends are digits, which separate runs: {factor} \\cdot f({free}) = {answer}")
    else:
        steps.append(f"So f({length}) = {answer}")
    parameters = {"letters": letters, "digits": digits, "run": run, "length": length, "ends": ends}
    return Exercise(question, steps, str(answer), 3 + hard, parameters)


def tilings(rng: random.Random, hard: bool) -> Exercise:
    """Count tilings of a strip with coloured tiles when one inner line must, or must not, be crossed."""
    sizes = [1, *sorted(rng.sample((2, 3, 4, 5), 2 if hard else 1))]
    tiles = {size: rng.randint(1, 3) for size in sizes}
    length = rng.randint(13, 18) if hard else rng.randint(6, 12)
    cut = rng.randint(2, length - 2)
    crossed = rng.choice((False, True))
    table = [1]
    while len(table) <= length:
        table.append(sum(colours * table[-size] for size, colours in tiles.items() if size <= len(table)))
    apart = table[cut] * table[length - cut]
    answer = table[length] - apart if crossed else apart
    stock = listed(f"tiles of length {size} in {counted(colours, 'colour')}" for size, colours in tiles.items())
    rule = f"{'some' if crossed else 'no'} tile covers both cell {cut} and cell {cut + 1}"
    question = rng.choice(
        (
            f"A strip of {length} cells, numbered from the left, is covered with {stock}. How many tilings are there in "
            f"which {rule}?",
            f"In how many ways can a 1 by {length} board be tiled with {stock} so that {rule}? Cells are numbered from left "
            "to right.",
            f"There are {stock}. Count the coverings of a row of cells numbered 1 to {length}, without gaps or overlaps, in "
            f"which {rule}.",
        )
    )
    recurrence = summed(times(colours, f"t({shifted('m', -size)})") for size, colours in tiles.items())
    steps = [
        f"Let t(m) count the tilings of m cells: t(m) = {recurrence}, t(0) = 1, t of a negative number is 0",
        "; ".join(f"t({size}) = {value}" for size, value in enumerate(table)),
        f"Tilings that split after cell {cut}: t({cut}) \\cdot t({length - cut}) = {apart}",
    ]
    if crossed:
        steps.append(f"The others have a tile across: {table[length]} - {apart} = {answer}")
    parameters = {
        "tiles": [[size, colours] for size, colours in tiles.items()],
        "length": length,
        "cut": cut,
        "crossed": crossed,
    }
    return Exercise(question, steps, str(answer), 2 + crossed + hard, parameters)
