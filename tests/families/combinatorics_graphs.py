"""The graph families by other routes: matrix powers, all edge sets, deletion and contraction, colouring in turn."""

from itertools import combinations

from combinatorics_counting import same, same_formula


def walks(p, answer):
    size = p["vertices"]
    step = [[int([min(a, b), max(a, b)] in p["edges"]) for b in range(1, size + 1)] for a in range(1, size + 1)]

    def times(left, right):
        return [
            [sum(a * b for a, b in zip(row, column, strict=True)) for column in zip(*right, strict=True)] for row in left
        ]

    def power(exponent):
        if exponent == 1:
            return step
        half = power(exponent // 2)
        return times(times(half, half), step) if exponent % 2 else times(half, half)

    same(answer, power(p["length"])[p["start"] - 1][p["stop"] - 1])


def spanning_trees(p, answer):
    found = 0
    for tree in combinations(p["edges"], p["vertices"] - 1):
        if p["rule"] != "all" and (p["edge"] in tree) != (p["rule"] == "with"):
            continue
        parts = list(range(p["vertices"] + 1))
        for a, b in tree:
            if parts[a] == parts[b]:
                break
            old, new = parts[a], parts[b]
            parts = [new if part == old else part for part in parts]
        else:
            found += 1
    same(answer, found)


def deletion_contraction(vertices, edges, colours):
    if not edges:
        return colours ** len(vertices)
    a, b = min(map(sorted, edges))
    left = edges - {frozenset((a, b))}
    merged = frozenset(frozenset(a if x == b else x for x in edge) for edge in left)
    return deletion_contraction(vertices, left, colours) - deletion_contraction(vertices - {b}, merged, colours)


def proper_colourings(p, answer):
    edges = frozenset(map(frozenset, p["edges"]))
    same(answer, deletion_contraction(frozenset(range(1, p["vertices"] + 1)), edges, p["colours"]))


def chromatic_polynomial(p, answer):
    """One such graph is built and coloured vertex by vertex, keeping the colours of the vertices that matter later."""
    size = p["size"]
    earlier = [list(range(v)) if p["core"] == "complete" else [v - 1] * (v > 0) + [0] * (v == size - 1) for v in range(size)]
    earlier += [[0]] * p["leaves"] + [[0, 1]] * p["roofs"] + [[]] * p["alone"]

    def count(colours):
        states = {(): 1}
        for vertex, joined in enumerate(earlier):
            needed = [v for v in range(vertex + 1) if v < 2 or any(v in later for later in earlier[vertex + 1 :])]
            longer = {}
            for state, number in states.items():
                named = dict(state)
                for colour in range(colours):
                    if all(named[other] != colour for other in joined):
                        key = tuple((v, colour if v == vertex else named[v]) for v in needed)
                        longer[key] = longer.get(key, 0) + number
            states = longer
        return sum(states.values())

    same_formula(answer, count, "k", range(1, 5 if p["core"] == "complete" else 4))
