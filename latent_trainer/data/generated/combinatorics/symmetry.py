"""Colourings up to symmetry, by Burnside's lemma."""

import random
from math import factorial, gcd, prod

from latent_trainer.data.generated.combinatorics.text import listed, power, summed, times
from latent_trainer.data.generated.families import Exercise

COLOURS = ("red", "blue", "green", "yellow", "white")
# for each solid: what is coloured, and how many rotations have how many cycles on it
SOLIDS = {
    "cube faces": ("the faces of a cube", {6: 1, 4: 3, 3: 12, 2: 8}),
    "cube corners": ("the corners of a cube", {8: 1, 4: 17, 2: 6}),
    "cube edges": ("the edges of a cube", {12: 1, 7: 6, 6: 3, 4: 8, 3: 6}),
    "tetrahedron faces": ("the faces of a regular tetrahedron", {4: 1, 2: 11}),
    "tetrahedron edges": ("the edges of a regular tetrahedron", {6: 1, 4: 3, 2: 8}),
}


def necklaces(rng: random.Random, hard: bool) -> Exercise:
    """Count necklaces or bracelets with a given number of beads of each colour."""
    factor = rng.choice((1, 1, 1, 2, 3))  # a common divisor of the counts, so that other rotations fix arrangements too
    units = max(2, (rng.randint(15, 18) if hard else rng.randint(6, 12)) // factor)
    cuts = sorted(rng.sample(range(1, units), rng.randint(1, min(4, units - 1))))
    counts = [factor * (stop - start) for start, stop in zip([0, *cuts], [*cuts, units], strict=True)]
    beads = factor * units
    flips = rng.choice((False, True))
    by_length = {}  # arrangements fixed by the rotations whose cycles have a certain length
    for length in range(1, beads + 1):
        if all(count % length == 0 for count in counts):
            steps_round = sum(1 for step in range(beads) if beads // gcd(step, beads) == length)
            by_length[length] = steps_round * _words([count // length for count in counts])
    fixed = sum(by_length.values())
    # an axis leaves at most two beads alone, so at most that many colours may have an odd number of beads
    odd = sum(count % 2 for count in counts)
    mirrored = beads * _words([count // 2 for count in counts]) if odd <= 2 - beads % 2 else 0
    group = 2 * beads if flips else beads
    answer = (fixed + (mirrored if flips else 0)) // group
    stock = listed(f"{count} {colour}" for count, colour in zip(counts, COLOURS, strict=False))
    same = "rotated or turned over" if flips else "rotated (but not turned over)"
    question = rng.choice(
        (
            f"A circular necklace is made of {stock} beads. Two necklaces are the same if one can be {same} to give the "
            "other. How many different necklaces are there?",
            f"In how many ways can {stock} beads be arranged on a circle, if arrangements that can be {same} into each "
            "other count as one?",
            f"Count the rings of {beads} beads, {stock}, where rings that match after being {same} are the same.",
        )
    )
    steps = [f"A rotation with cycles of length d fixes arrangements only if d divides {listed(counts)}"]
    steps.append("; ".join(f"d = {length}: {ways} fixed in all" for length, ways in by_length.items()))
    if flips:
        steps.append(f"The {beads} reflections together fix {mirrored} arrangements")
        steps.append(f"Burnside's lemma: \\frac{{{fixed}+{mirrored}}}{{{group}}} = {answer}")
    else:
        steps.append(f"Burnside's lemma: \\frac{{{fixed}}}{{{beads}}} = {answer}")
    return Exercise(question, steps, str(answer), 3 + flips + hard, {"counts": counts, "flips": flips})


def _words(counts: list[int]) -> int:
    return factorial(sum(counts)) // prod(map(factorial, counts))


def colourings_closed_form(rng: random.Random, hard: bool) -> Exercise:
    """Give a formula in m for the colourings of a polygon or solid up to symmetry with am+b colours."""
    kind = rng.choice(
        ("rotations", "rotations and reflections") if hard else ("rotations", "rotations and reflections", "solid")
    )
    if kind == "solid":
        name = rng.choice(tuple(SOLIDS))
        things, cycles = SOLIDS[name]
        turns = "rotations of the solid in space"
    else:
        corners = rng.randint(9, 14) if hard else rng.randint(3, 8)
        name, things, cycles = (
            str(corners),
            f"the corners of a regular polygon with {corners} corners",
            _polygon(corners, kind),
        )
        turns = f"{kind} of the polygon"
    rate, extra = rng.randint(1, 6), rng.randint(16, 40) if hard else rng.randint(0, 15)
    colours = summed([times(rate, "m"), str(extra)])
    order = sum(cycles.values())
    terms = [times(number, power(colours, size)) for size, number in sorted(cycles.items(), reverse=True)]
    answer = f"\\frac{{{summed(terms)}}}{{{order}}}"
    question = rng.choice(
        (
            f"Each of {things} gets one of ${colours}$ colours, where $m \\ge 1$. Colourings that {turns} turn into each "
            "other are the same. How many different colourings are there? Give a formula in $m$.",
            f"In how many ways, as a closed form in $m \\ge 1$, can {things} be coloured with ${colours}$ available "
            f"colours, not counting colourings as different if they agree after {turns}?",
            f"Let $m \\ge 1$. Find the number of colourings of {things} with at most ${colours}$ colours up to {turns}, in "
            "terms of $m$.",
        )
    )
    found = "; ".join(f"{number} with {size}" for size, number in sorted(cycles.items(), reverse=True))
    steps = (
        f"The symmetry group has {order} elements; numbers of elements by their number of cycles: {found}",
        f"An element with c cycles fixes {power(colours, 'c')} colourings",
        f"Burnside's lemma: {answer}",
    )
    parameters = {"kind": kind, "object": name, "rate": rate, "extra": extra}
    return Exercise(question, steps, answer, 3 + (kind == "solid") + hard, parameters)


def _polygon(corners: int, kind: str) -> dict[int, int]:
    cycles = {}
    for step in range(corners):
        cycles[gcd(step, corners)] = cycles.get(gcd(step, corners), 0) + 1
    if kind != "rotations":
        half = corners // 2
        axes = {half: half, half + 1: half} if corners % 2 == 0 else {half + 1: corners}
        for size, number in axes.items():
            cycles[size] = cycles.get(size, 0) + number
    return cycles
