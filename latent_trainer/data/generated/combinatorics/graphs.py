"""Graphs: walks, spanning trees, perfect matchings."""

import random
from math import comb

from latent_trainer.data.generated.combinatorics.text import counted, listed, total
from latent_trainer.data.generated.families import Exercise


def draw_graph(rng: random.Random, vertices: int, edges: int) -> list[list[int]]:
    """Draw a connected graph on the vertices 1, 2, ...

    Args:
        rng: the source of randomness.
        vertices: number of vertices.
        edges: number of edges, at least ``vertices - 1``; capped by the complete graph.

    Returns:
        Sorted list of edges [a, b] with a < b.
    """
    order = list(range(1, vertices + 1))
    rng.shuffle(order)
    tree = [sorted((order[index], order[rng.randrange(index)])) for index in range(1, vertices)]
    others = [[a, b] for a in range(1, vertices + 1) for b in range(a + 1, vertices + 1) if [a, b] not in tree]
    extra = min(edges, comb(vertices, 2)) - len(tree)
    return sorted(tree + rng.sample(others, extra))


def edge_text(edges: list[list[int]]) -> str:
    """Return the edges as ``1-2, 1-3 and 2-4``."""
    return listed(f"{a}-{b}" for a, b in edges)


def walks(rng: random.Random, hard: bool) -> Exercise:
    """Count the walks of a given length between two vertices of a graph."""
    vertices, length = (rng.randint(6, 7), rng.randint(6, 8)) if hard else (rng.randint(4, 5), rng.randint(3, 5))
    edges = draw_graph(rng, vertices, vertices + rng.randint(1, 3))
    start, stop = rng.randint(1, vertices), rng.randint(1, vertices)
    rows = [[int(vertex == start) for vertex in range(1, vertices + 1)]]
    for _ in range(length):
        row = [0] * vertices
        for a, b in edges:
            row[a - 1] += rows[-1][b - 1]
            row[b - 1] += rows[-1][a - 1]
        rows.append(row)
    answer = rows[-1][stop - 1]
    graph = f"vertices 1 to {vertices} and the edges {edge_text(edges)}"
    question = rng.choice(
        (
            f"A graph has the {graph}. How many walks of length {length} go from vertex {start} to vertex {stop}? A walk "
            "may repeat vertices and edges; its length is its number of steps.",
            f"On the graph with {graph}, a token moves along one edge per step. In how many ways can it get from {start} to "
            f"{stop} in exactly {length} steps (vertices and edges may be used again)?",
            f"Count the walks with exactly {length} steps from vertex {start} to vertex {stop} in the graph with {graph}. "
            "Vertices and edges may be repeated.",
        )
    )
    shown = [f"{counted(number, 'step')}: ({', '.join(map(str, row))})" for number, row in enumerate(rows)][1:]
    grouped = shown if len(shown) <= 4 else ["; ".join(shown[i : i + 2]) for i in range(0, len(shown), 2)]
    steps = [
        f"Number of walks from {start} to each of the vertices 1, ..., {vertices}; each is the sum over the neighbours "
        "before"
    ]
    steps += [*grouped, f"The entry for vertex {stop} is {answer}"]
    parameters = {"vertices": vertices, "edges": edges, "start": start, "stop": stop, "length": length}
    return Exercise(question, steps, str(answer), 2 + hard, parameters)


def spanning_trees(rng: random.Random, hard: bool) -> Exercise:
    """Count the spanning trees of a graph, by the matrix-tree theorem."""
    vertices = rng.randint(6, 7) if hard else rng.randint(4, 5)
    edges = draw_graph(rng, vertices, vertices + rng.randint(3, 5) if hard else vertices + rng.randint(0, 3))
    rule = rng.choice(("all", "with", "without"))
    edge = rng.choice(edges)
    degrees = [sum(vertex in pair for pair in edges) for vertex in range(1, vertices + 1)]
    minor = _laplacian_minor(vertices, edges)
    trees, others = determinant(minor), determinant(_laplacian_minor(vertices, [pair for pair in edges if pair != edge]))
    answer = {"all": trees, "with": trees - others, "without": others}[rule]
    special = edge_text([edge])
    rest = {"all": "", "with": f" that contain the edge {special}", "without": f" that do not contain the edge {special}"}[
        rule
    ]
    graph = f"vertices 1 to {vertices} and the edges {edge_text(edges)}"
    question = rng.choice(
        (
            f"How many spanning trees{rest} are there in the graph with {graph}? Vertices are labelled.",
            f"A graph has the {graph}. Find the number of its spanning trees{rest}.",
            f"Count the labelled spanning trees{rest}, taken from the graph with {graph}.",
        )
    )
    rows = "; ".join(f"({', '.join(map(str, row))})" for row in minor)
    steps = [
        f"Degrees of the vertices: {listed(degrees)}",
        f"Laplacian matrix without the last row and column, by rows: {rows}",
        f"By the matrix-tree theorem its determinant is the number of all spanning trees: {trees}",
    ]
    if rule != "all":
        steps.append(f"Without the edge {special} the determinant is {others}")
    if rule == "with":
        steps.append(f"Trees with the edge {special}: {trees} - {others} = {answer}")
    parameters = {"vertices": vertices, "edges": edges, "rule": rule, "edge": edge if rule != "all" else None}
    return Exercise(question, steps, str(answer), 3 + hard, parameters)


def _laplacian_minor(vertices: int, edges: list[list[int]]) -> list[list[int]]:
    matrix = [[0] * vertices for _ in range(vertices)]
    for a, b in edges:
        matrix[a - 1][b - 1] = matrix[b - 1][a - 1] = -1
        matrix[a - 1][a - 1] += 1
        matrix[b - 1][b - 1] += 1
    return [row[:-1] for row in matrix[:-1]]


def determinant(matrix: list[list[int]]) -> int:
    """Return the determinant of a positive semidefinite integer matrix, by elimination without fractions."""
    rows, last = [list(row) for row in matrix], 1
    for pivot in range(len(rows) - 1):
        if rows[pivot][pivot] == 0:  # a semidefinite matrix with a zero pivot is singular
            return 0
        for row in rows[pivot + 1 :]:
            lead = row[pivot]
            for column in range(pivot + 1, len(rows)):
                row[column] = (row[column] * rows[pivot][pivot] - lead * rows[pivot][column]) // last
        last = rows[pivot][pivot]
    return rows[-1][-1]


def matchings(rng: random.Random, hard: bool) -> Exercise:
    """Count the ways to give each worker one job he or she can do."""
    workers = rng.randint(6, 7) if hard else rng.randint(4, 5)
    sure = list(range(1, workers + 1))
    rng.shuffle(sure)
    able = []
    for worker in range(workers):
        extra = rng.sample(range(1, workers + 1), rng.randint(2, 3) if hard else rng.randint(1, 3))
        able.append([job for job in range(1, workers + 1) if job == sure[worker] or job in extra])
    rows = {job: _assignments(able, 1, frozenset((job,))) for job in able[0]}
    answer = sum(rows.values())
    skills = "; ".join(
        f"worker {number} can do job{'s' if len(jobs) > 1 else ''} {listed(jobs)}" for number, jobs in enumerate(able, 1)
    )
    question = rng.choice(
        (
            f"{workers} workers and {workers} jobs are numbered from 1: {skills}. In how many ways can every worker get "
            "exactly one job he or she can do, all jobs being done?",
            f"Count the perfect matchings between workers 1 to {workers} and jobs 1 to {workers} if {skills}.",
            f"Each of the jobs 1 to {workers} goes to one of {workers} workers, one job each, where {skills}. How many "
            "assignments are there?",
        )
    )
    steps = ["Split by the job of worker 1, then match the other workers in the same way"]
    steps += [
        "; ".join(f"job {job}: {counted(ways, 'way')} for the others" for job, ways in rows.items()),
        f"Add: {total(rows.values())}",
    ]
    return Exercise(question, steps, str(answer), 2 + hard, {"able": able})


def _assignments(able: list[list[int]], worker: int, taken: frozenset) -> int:
    if worker == len(able):
        return 1
    return sum(_assignments(able, worker + 1, taken | {job}) for job in able[worker] if job not in taken)
