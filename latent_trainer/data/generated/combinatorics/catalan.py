"""Catalan objects: bracket sequences, handshakes that do not cross, triangulations."""

import random
from math import comb, prod

from latent_trainer.data.generated.combinatorics.text import binomial, counted, listed, multiplied
from latent_trainer.data.generated.families import Exercise


def bracket_sequences(rng: random.Random, hard: bool) -> Exercise:
    """Count balanced bracket sequences with given ends, the pairs being of several kinds."""
    pairs = rng.randint(18, 26) if hard else rng.randint(5, 17)
    opening, closing, kinds = rng.randint(1, min(6, pairs - 2)), rng.randint(1, min(6, pairs - 2)), rng.randint(1, 5)
    middle = 2 * pairs - opening - closing
    plain, bad = comb(middle, pairs - opening), comb(middle, pairs + 1)
    shapes = plain - bad
    answer = shapes * kinds**pairs
    kind = "Brackets are of one kind" if kinds == 1 else f"Each matching pair has one of {kinds} shapes, such as ( ) or [ ]"
    starts = "starts with an opening bracket" if opening == 1 else f"starts with at least {opening} opening brackets"
    ends = "ends with a closing bracket" if closing == 1 else f"ends with at least {closing} closing brackets"
    question = rng.choice(
        (
            f"{kind}. How many correctly nested bracket sequences of {pairs} pairs are there such that the sequence "
            f"{starts} and {ends}?",
            f"Count the balanced sequences of {pairs} bracket pairs in which the sequence {starts} and {ends}. {kind}.",
            f"A sequence of {2 * pairs} brackets is balanced, {starts} and {ends}. {kind}. How many such sequences exist?",
        )
    )
    steps = [
        f"Read an opening bracket as a step up: the middle part has {middle} steps, goes from height {opening} to "
        f"{closing}, never below 0",
        f"Without the last condition: {binomial(middle, pairs - opening)} = {plain}",
        f"Reflection at height -1 counts the bad ones: {binomial(middle, pairs + 1)} = {bad}",
        f"So there are {plain} - {bad} = {shapes} patterns",
    ]
    if kinds > 1:
        steps.append(f"Each of the {pairs} pairs has {kinds} shapes: {shapes} \\cdot {kinds}^{{{pairs}}} = {answer}")
    parameters = {"pairs": pairs, "opening": opening, "closing": closing, "kinds": kinds}
    return Exercise(question, steps, str(answer), 3 + hard, parameters)


def handshakes(rng: random.Random, hard: bool) -> Exercise:
    """Count handshakes round a table that do not cross when some of them are given."""
    couples = rng.randint(10, 14) if hard else rng.randint(4, 9)
    regions, given = [list(range(1, 2 * couples + 1))], []
    for _ in range(3 if hard else rng.randint(1, 2)):
        people = regions.pop(rng.choice([i for i, region in enumerate(regions) if region]))
        first = rng.randrange(len(people) - 1)
        second = first + 1 + 2 * rng.randrange((len(people) - first) // 2)
        given.append([people[first], people[second]])
        regions += [people[first + 1 : second], people[:first] + people[second + 1 :]]
    halves = [len(region) // 2 for region in regions if region]
    answer = prod(map(_catalan, halves))
    fixed = listed(f"{a} with {b}" for a, b in sorted(given))
    question = rng.choice(
        (
            f"{2 * couples} people, numbered in order, sit around a round table. They shake hands in pairs, all at once, "
            f"and no two arm pairs cross. These handshakes are prescribed: {fixed}. How many complete sets of handshakes "
            "are possible?",
            f"The points 1 to {2 * couples} lie in this order on a circle and are joined in pairs by {couples} chords that "
            "do not cross; every point is used once. In how many ways can this be done if the following points are joined: "
            f"{fixed}?",
            f"Count the ways to pair the numbers 1 to {2 * couples}, placed around a circle in order, by non-crossing "
            f"chords when these pairs are given: {fixed}.",
        )
    )
    steps = (
        f"The given chords split the other {2 * (couples - len(given))} points into {counted(len(halves), 'region')}",
        f"Points per region: {listed(2 * half for half in halves)}",
        "2m points in one region can be paired in the m-th Catalan number of ways: "
        + ", ".join(f"C_{half} = {_catalan(half)}" for half in sorted(set(halves))),
        f"Multiply: {multiplied(_catalan(half) for half in halves)} = {answer}",
    )
    return Exercise(question, steps, str(answer), 2 + hard, {"couples": couples, "given": sorted(given)})


def triangulations(rng: random.Random, hard: bool) -> Exercise:
    """Count the triangulations of a convex polygon that contain given diagonals."""
    corners = rng.randint(14, 18) if hard else rng.randint(7, 13)
    polygons, given = [list(range(1, corners + 1))], []
    for _ in range(3 if hard else rng.randint(1, 2)):
        polygon = polygons.pop(rng.choice([i for i, polygon in enumerate(polygons) if len(polygon) > 3]))
        first = rng.randrange(len(polygon) - 2)
        second = rng.randrange(first + 2, len(polygon) - (first == 0))
        given.append([polygon[first], polygon[second]])
        polygons += [polygon[first : second + 1], polygon[: first + 1] + polygon[second:]]
    sizes = [len(polygon) for polygon in polygons]
    answer = prod(_catalan(size - 2) for size in sizes)
    lines = listed(f"{a}-{b}" for a, b in sorted(given))
    word = "diagonal" if len(given) == 1 else "diagonals"
    question = rng.choice(
        (
            f"A convex polygon has corners numbered 1 to {corners} in order. How many of its triangulations contain the "
            f"{word} {lines}?",
            f"In how many ways can a convex {corners}-gon with corners 1, 2, ..., {corners} in order be cut into triangles "
            f"by diagonals that do not cross, if the {word} {lines} must be among them?",
            f"The corners of a convex polygon are labelled 1 to {corners} around it. Count the triangulations (using its "
            f"diagonals only) in which the {word} {lines} must appear.",
        )
    )
    steps = (
        f"The given {word} cut the polygon into {len(sizes)} polygons with {listed(sizes)} corners",
        "A polygon with m corners has the (m-2)-th Catalan number of triangulations: "
        + ", ".join(f"C_{size - 2} = {_catalan(size - 2)}" for size in sorted(set(sizes))),
        f"Multiply: {multiplied(_catalan(size - 2) for size in sizes)} = {answer}",
    )
    return Exercise(question, steps, str(answer), 2 + hard, {"corners": corners, "given": sorted(given)})


def _catalan(number: int) -> int:
    return comb(2 * number, number) // (number + 1)
