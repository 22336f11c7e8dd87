"""Proper colourings of graphs, as numbers and as polynomials."""

import random
from math import perm

from latent_trainer.data.generated.combinatorics.graphs import draw_graph, edge_text
from latent_trainer.data.generated.combinatorics.text import counted, multiplied, power, total
from latent_trainer.data.generated.families import Exercise


def proper_colourings(rng: random.Random, hard: bool) -> Exercise:
    """Count the colourings of a small graph in which neighbours get different colours."""
    vertices = 6 if hard else rng.randint(4, 5)
    edges = draw_graph(rng, vertices, rng.randint(8, 11) if hard else vertices + rng.randint(0, 4))
    colours = rng.randint(7, 10) if hard else rng.randint(3, 6)
    joined = {(a, b) for a, b in edges}
    classes = dict.fromkeys(range(1, vertices + 1), 0)

    def split(vertex, groups):
        if vertex > vertices:
            classes[len(groups)] += 1
            return
        for group in groups:
            if all((other, vertex) not in joined for other in group):
                group.append(vertex)
                split(vertex + 1, groups)
                group.pop()
        split(vertex + 1, [*groups, [vertex]])

    split(1, [])
    colours = max(colours, min(number for number, ways in classes.items() if ways))
    rows = {number: (ways, perm(colours, number)) for number, ways in classes.items() if ways and number <= colours}
    answer = sum(ways * each for ways, each in rows.values())
    graph = f"vertices 1 to {vertices} and the edges {edge_text(edges)}"
    question = rng.choice(
        (
            f"In how many ways can the vertices of the graph with {graph} be coloured with {colours} available colours such "
            "that adjacent vertices get different colours? Not all colours need be used.",
            f"A graph has the {graph}. How many proper colourings of its vertices with at most {colours} given colours are "
            "there?",
            f"Evaluate the chromatic polynomial of the graph with {graph} at {colours}.",
        )
    )
    steps = (
        "Splits of the vertices into j classes without an edge inside: "
        + ", ".join(f"j = {number}: {ways}" for number, ways in classes.items() if ways),
        f"Classes get different colours: {', '.join(f'j = {number}: {each} ways' for number, (_, each) in rows.items())}",
        f"Multiply and add: {total(ways * each for ways, each in rows.values())}",
    )
    parameters = {"vertices": vertices, "edges": edges, "colours": colours}
    return Exercise(question, steps, str(answer), 2 + (vertices > 4) + hard, parameters)


def chromatic_polynomial(rng: random.Random, hard: bool) -> Exercise:
    """Give the chromatic polynomial of a graph that grows from a cycle or a complete graph."""
    core = rng.choice(("cycle", "complete"))
    size = rng.randint(4, 9) if core == "cycle" else rng.randint(3, 5)
    if hard:
        size += 6 if core == "cycle" else 3
    leaves, roofs, alone = rng.randint(9, 16) if hard else rng.randint(0, 8), rng.randint(0, 5), rng.randint(0, 4)
    if core == "cycle":
        sign = "+" if size % 2 == 0 else "-"
        factors = [f"({power('(k-1)', size)}{sign}(k-1))"]
        base = f"The cycle of length {size} has {power('(k-1)', size)}{sign}(k-1) colourings"
        ones, twos, isolated = leaves, roofs, alone
    else:
        factors = ["(k-3)", "(k-4)", "(k-5)", "(k-6)", "(k-7)"][: size - 3]
        base = f"The complete graph has {multiplied(['k', '(k-1)', '(k-2)', *factors])} colourings"
        ones, twos, isolated = leaves + 1, roofs + 1, alone + 1
    rest = [(("(k-2)"), twos), ("(k-1)", ones), ("k", isolated)]
    for name, exponent in rest:
        if exponent:
            factors.insert(0, power(name, exponent))
    answer = multiplied(factors)
    start = f"a cycle of {size} vertices" if core == "cycle" else f"a complete graph with {size} vertices"
    growth = []
    if leaves:
        growth.append(_joined(leaves, "one vertex already present"))
    if roofs:
        growth.append(_joined(roofs, "both ends of an edge already present"))
    if alone:
        growth.append(counted(alone, "isolated vertex", "isolated vertices"))
    added = f", to which are added one after another: {'; '.join(growth)}" if growth else ""
    question = rng.choice(
        (
            f"A graph is made from {start}{added}. In how many ways can its vertices be coloured properly with $k$ colours? "
            "Give a closed form in $k$.",
            f"Start with {start}{added}. Find the chromatic polynomial of the resulting graph in $k$.",
            f"Let G be the graph obtained from {start}{added}. Express the number of proper vertex colourings of G with $k$ "
            "available colours in terms of $k$.",
        )
    )
    steps = [base]
    if leaves:
        steps.append(f"Each vertex with one neighbour has k-1 choices: {power('(k-1)', leaves)}")
    if roofs:
        steps.append(f"Each vertex joined to two adjacent vertices has k-2 choices: {power('(k-2)', roofs)}")
    if alone:
        steps.append(f"Each isolated vertex has k choices: {power('k', alone)}")
    steps.append(f"The product is {answer}")
    parameters = {"core": core, "size": size, "leaves": leaves, "roofs": roofs, "alone": alone}
    return Exercise(question, steps, answer, 2 + (core == "cycle") + hard, parameters)


def _joined(number: int, place: str) -> str:
    return f"1 vertex joined to {place}" if number == 1 else f"{number} vertices, each joined to {place}"
