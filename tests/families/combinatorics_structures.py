"""Sums, recurrences, symmetry, graphs and chances of the combinatorics families, worked out by another route."""

from fractions import Fraction
from functools import cache
from itertools import combinations, permutations, product
from math import prod

from combinatorics_counting import same, same_formula
from combinatorics_formulas import binomial


def weighted_binomial_sum(p, answer):
    def count(n):
        weights = (p["square"] * k * (k - 1) + p["linear"] * k + p["constant"] for k in range(n + 1))
        return sum(w * binomial(n, k) * p["first"] ** k * p["second"] ** (n - k) for k, w in enumerate(weights))

    same_formula(answer, count, "n", range(2, 8))


def weighted_vandermonde(p, answer):
    def count(n):
        terms = ((p["linear"] * k + p["constant"], k, p["size"] - k) for k in range(p["size"] + 1))
        return sum(weight * binomial(p["fixed"], k) * binomial(n, rest) for weight, k, rest in terms)

    same_formula(answer, count, "n", range(p["size"], p["size"] + 4))


def weighted_column_sum(p, answer):
    def count(n):
        return sum((p["linear"] * i + p["constant"]) * binomial(i + p["shift"], p["lower"]) for i in range(n + 1))

    same_formula(answer, count, "n", range(p["lower"], p["lower"] + 4))


def multiplied(left, right, degree):
    result = [0] * (degree + 1)
    for i, a in enumerate(left[: degree + 1]):
        for j, b in enumerate(right[: degree + 1 - i]):
            result[i + j] += a * b
    return result


def expansion_coefficient(p, answer):
    polynomial = [1]
    for _ in range(p["exponent"]):
        polynomial = multiplied(polynomial, [p["c"], p["b"], p["a"]], p["degree"])
    same(answer, polynomial[p["degree"]])


def product_coefficient(p, answer):
    factors = [[0] * p["first"] + [1] * (p["width"] + 1)] * p["finite"] + [[1] * (p["degree"] + 1)] * p["full"]
    series = [1]
    for factor in factors:
        series = multiplied(series, factor, p["degree"])
    same(answer, series[p["degree"]])


def series_closed_form(p, answer):
    series = [p["constant"], p["slope"]]
    for _ in range(p["order"]):
        series = multiplied(series, [p["base"] ** k for k in range(7)], 6)
    same_formula(answer, lambda n: series[n], "n", range(1, 7))


def recurrence_term(p, answer):
    """The state (a_n, a_{n-1}, n, 1) is multiplied by a matrix."""
    matrix = [[p["p"], p["q"], p["slope"], p["slope"] + p["constant"]], [1, 0, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1]]
    state = [p["starts"][1], p["starts"][0], 1, 1]
    for _ in range(p["last"] - 1):
        state = [sum(a * b for a, b in zip(row, state, strict=True)) for row in matrix]
    same(answer, state[0])


def recurrence_closed_form(p, answer):
    """The question's numbers are rebuilt from the first terms, and the answer must go on with the same rule."""
    (r, s), (a, b), c = p["roots"], p["weights"], p["shift"]
    terms = [c + a + (0 if r == s else b), c + a * r + b * s]
    for _ in range(6):
        terms.append((r + s) * terms[-1] - r * s * terms[-2] + c * (1 - r) * (1 - s))
    same_formula(answer, lambda n: terms[n], "n", range(8))


def restricted_strings(p, answer):
    runs = [1] + [0] * (p["run"] - 1)  # strings by the letters they end with
    for place in range(p["length"]):
        letter_here = not (p["ends"] == "both" and place == 0) and not (p["ends"] != "any" and place == p["length"] - 1)
        longer = [p["digits"] * sum(runs)]
        runs = longer + [p["letters"] * ways * letter_here for ways in runs[:-1]]
    same(answer, sum(runs))


def tilings(p, answer):
    """The tile over the first cell of the right part is placed first; both sides are sums over numbers of tiles."""
    sizes = p["tiles"]

    @cache
    def ways(length, kinds):
        if kinds == 0:
            return {0: 1} if length == 0 else {}
        size, colours = sizes[kinds - 1]
        found = {}
        for number in range(length // size + 1):
            for others, count in ways(length - number * size, kinds - 1).items():
                tiles = others + number
                found[tiles] = found.get(tiles, 0) + count * colours**number * binomial(tiles, number)
        return found

    def covered(length):
        return sum(ways(length, len(sizes)).values())

    found = 0
    for size, colours in sizes:
        for start in range(max(0, p["cut"] - size + 1), p["cut"] + 1):
            if start + size <= p["length"] and (start < p["cut"]) == p["crossed"]:
                found += colours * covered(start) * covered(p["length"] - start - size)
    same(answer, found)


def cycle_lengths(mapping):
    seen, lengths = set(), []
    for start in range(len(mapping)):
        length = 0
        while start not in seen:
            seen.add(start)
            start = mapping[start]
            length += 1
        if length:
            lengths.append(length)
    return sorted(lengths)


def necklace_group(beads, flips):
    turns = [[(place + step) % beads for place in range(beads)] for step in range(beads)]
    return turns + [turn[::-1] for turn in turns] if flips else turns


def fixed_words(lengths, counts):
    """Words constant on cycles of these lengths, with the given number of each letter."""

    @cache
    def fill(place, left):
        if place == len(lengths):
            return 1
        size = lengths[place]
        options = ((*left[:i], count - size, *left[i + 1 :]) for i, count in enumerate(left) if count >= size)
        return sum(fill(place + 1, rest) for rest in options)

    return fill(0, tuple(counts))


def spelled(counts):
    """All words with the given number of each letter."""
    if not any(counts):
        yield ()
    for letter, count in enumerate(counts):
        if count:
            for word in spelled((*counts[:letter], count - 1, *counts[letter + 1 :])):
                yield (letter, *word)


def necklaces(p, answer):
    counts, beads = p["counts"], sum(p["counts"])
    group = necklace_group(beads, p["flips"])
    words = fixed_words((1,) * beads, counts)
    if words <= 400:  # few enough to sort into classes one by one
        classes = {min(tuple(word[i] for i in symmetry) for symmetry in group) for word in spelled(tuple(counts))}
        same(answer, len(classes))
        return
    types = [tuple(cycle_lengths(symmetry)) for symmetry in group]
    same(answer, sum(types.count(kind) * fixed_words(kind, counts) for kind in set(types)) // len(group))


@cache
def solid_group(name):
    """Permutations of the faces, corners or edges of a solid by its rotations, from coordinates."""
    solid, part = name.split()
    corners = [c for c in product((-1, 1), repeat=3) if solid == "cube" or prod(c) == 1]
    edges = [tuple(a + b for a, b in zip(*pair, strict=True)) for pair in combinations(corners, 2)]
    if solid == "cube":
        edges = [edge for edge in edges if sorted(map(abs, edge)) == [0, 2, 2]]
        faces = [tuple(sign * (axis == i) for i in range(3)) for axis in range(3) for sign in (-1, 1)]
    else:
        faces = [tuple(-x for x in corner) for corner in corners]
    points = {"corners": corners, "edges": edges, "faces": faces}[part]
    group = []
    for axes in permutations(range(3)):
        parity = prod(1 if axes[i] < axes[j] else -1 for i, j in combinations(range(3), 2))
        for signs in product((-1, 1), repeat=3):
            images = [tuple(sign * point[axis] for sign, axis in zip(signs, axes, strict=True)) for point in points]
            if parity * prod(signs) == 1 and set(images) == set(points):
                kept = [tuple(s * c[x] for s, x in zip(signs, axes, strict=True)) in corners for c in corners]
                if all(kept):
                    group.append([points.index(image) for image in images])
    return group


@cache
def group_cycles(kind, name):
    group = solid_group(name) if kind == "solid" else necklace_group(int(name), kind != "rotations")
    return [len(cycle_lengths(symmetry)) for symmetry in group]


def colourings_closed_form(p, answer):
    cycles = group_cycles(p["kind"], p["object"])

    def count(m):
        return Fraction(sum((p["rate"] * m + p["extra"]) ** size for size in cycles), len(cycles))

    same_formula(answer, count, "m", range(1, 5))


def cycle_types(p, answer):
    """The cycle of the smallest element is chosen first; elements 1 and 2 are the two smallest."""

    @cache
    def ways(left):
        size = sum(left)
        return 1 if not left else sum(first_cycle(size, length) * ways(without(left, length)) for length in set(left))

    def without(left, length):
        place = left.index(length)
        return left[:place] + left[place + 1 :]

    def first_cycle(size, length):  # ordered choice of the elements that follow
        return prod(range(size - length + 1, size))

    lengths = tuple(p["lengths"])
    found = 0
    for length in set(lengths):
        together = Fraction(length - 1, sum(lengths) - 1)  # the element 2 is one of those chosen
        share = {"none": 1, "one": int(length == p["cycle"]), "same": together, "different": 1 - together}[p["rule"]]
        found += share * first_cycle(sum(lengths), length) * ways(without(lengths, length))
    same(answer, Fraction(found))


def product_orders(p, answer):
    def act(cycles, x):
        for cycle in cycles:
            if x in cycle:
                return cycle[(cycle.index(x) + 1) % len(cycle)]
        return x

    start = list(range(1, p["elements"] + 1))
    now, times = start, 0
    while times == 0 or now != start:
        now, times = [act(p["first"], act(p["second"], x)) for x in now], times + 1
    same(answer, times)
