"""How the graphs of ProsQA grow: node by node, each from a few earlier ones, so that chains are long and branches many."""

import math
import random

EDGES_IN = 1.5  # of the Poisson distribution of edges into a concept, which has one at least
ENTITY = 0.05  # share of the new nodes that are entities
OWN_SIDE = 0.39  # share of the new nodes that follow from no node of one side, and as many of the other
DEPTH = 2.5  # how much likelier a node is to be continued for each step it lies away from its entity


def grow(rng: random.Random, size: int) -> tuple[list[tuple[int, int]], list[int]]:
    """Grow a graph node by node.

    Returns:
        Edges between numbers of nodes, and of every node what it follows from: bit 0 for node 0, bit 1 for node 1.
    """
    edges: list[tuple[int, int]] = []
    sides, depths = [1, 2], [0, 0]
    while len(sides) < size:
        node, share = len(sides), rng.random()
        apart = 2 if share < OWN_SIDE else 1 if share < 2 * OWN_SIDE else 0
        candidates = [one for one in range(node) if not sides[one] & apart]
        number = 0 if rng.random() < ENTITY else _edges_in(rng)
        chosen = []
        while candidates and len(chosen) < number:
            weights = [1 + DEPTH * depths[one] for one in candidates]
            (one,) = rng.choices(candidates, weights)
            candidates.remove(one)
            chosen.append(one)
        edges += [(one, node) for one in chosen]
        sides.append(_together(sides, chosen))
        depths.append(min((depths[one] + 1 for one in chosen), default=0))
    left = {one for one, _ in edges}
    kept = [node for node in range(size) if node in left or node in {end for _, end in edges}]  # nothing is said of others
    place = {node: number for number, node in enumerate(kept)}
    if not {0, 1} <= set(place):
        return grow(rng, size)
    return [(place[one], place[end]) for one, end in edges], [sides[node] for node in kept]


def _edges_in(rng: random.Random) -> int:
    """Draw from a Poisson distribution, one at least."""
    while True:
        number, product, limit = 0, rng.random(), math.exp(-EDGES_IN)
        while product > limit:
            number += 1
            product *= rng.random()
        if number:
            return number


def _together(sides: list[int], nodes: list[int]) -> int:
    together = 0
    for node in nodes:
        together |= sides[node]
    return together
