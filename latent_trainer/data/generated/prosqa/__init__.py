"""ProsQA: is Tom a lempus or a scrompus? Questions about a graph of made-up concepts, generated or from the published files.

Coconut (Hao et al. 2024, section 4.1 and an appendix) makes them so that no chain is found without planning: the
graph has many branches, the right answer follows from the entity asked about, the wrong one from another entity only.
Its graphs grow node by node; each new node gets edges from a few earlier ones, deeper ones more likely, and a label that
says which of the two main entities it follows from. That procedure is followed here, with its free numbers set so that size,
depth and branching are those of the published validation file; docs/data.md has the comparison.
"""

import hashlib
import random
import zlib
from collections.abc import Iterator
from typing import Annotated

from latent_trainer.data.files import Place
from latent_trainer.data.forms import check_form
from latent_trainer.data.generated.prosqa.graph import Graph, reachable
from latent_trainer.data.generated.prosqa.growth import grow
from latent_trainer.data.problem import Problem
from latent_trainer.data.sources import jsonl
from latent_trainer.data.splits import load_split
from latent_trainer.errors import InputError
from latent_trainer.options import Bounds, Positive

SIZES = {"train": 18_000, "validation": 300, "test": 500}  # as published
SHARES = {"train": range(0, 80), "validation": range(80, 90), "test": range(90, 100)}
ENTITIES = (
    "Alex",
    "Bob",
    "Carol",
    "Davis",
    "Eva",
    "Fae",
    "Gabriel",
    "Jack",
    "Max",
    "Oliver",
    "Polly",
    "Rex",
    "Sally",
    "Sam",
    "Stella",
    "Tom",
    "Wren",
)
CONCEPTS = (
    "bompus",
    "boompus",
    "brimpus",
    "chorpus",
    "dumpus",
    "felpus",
    "fompus",
    "gerpus",
    "gorpus",
    "grimpus",
    "gwompus",
    "hilpus",
    "impus",
    "jelpus",
    "jompus",
    "kerpus",
    "lempus",
    "lorpus",
    "numpus",
    "quimpus",
    "rempus",
    "rompus",
    "rorpus",
    "scrompus",
    "shumpus",
    "sterpus",
    "storpus",
    "terpus",
    "timpus",
    "tumpus",
    "vumpus",
    "worpus",
    "wumpus",
    "yerpus",
    "yimpus",
    "yumpus",
    "zhorpus",
    "zumpus",
)
NODES = (17, 28)  # fewest and most of the published file; their mean and spread:
MEAN_NODES, SPREAD = 23.2, 2.0
MAX_DRAWS = 20_000  # without a new graph
Steps = Annotated[int, Bounds(least=1, most=6)]
Nodes = Annotated[int, Bounds(least=5, most=40)]


def load(
    split: str,
    path: str | None = None,
    seed: int = 0,
    validation_path: str | None = None,
    test_path: str | None = None,
    columns: dict[str, str] | None = None,
    size: Positive | None = None,
    min_steps: Steps = 3,
    max_steps: Steps = 4,
    nodes: Nodes | None = None,
) -> list[Problem]:
    """Generate questions, or load the published files (``prosqa_train.json`` and the like) where they are given.

    Args:
        split: train, validation or test; generated ones never share a graph, whatever its names.
        path: published train rows: ``question``, ``steps``, ``answer``; the graph beside them is not read.
        seed: decides which questions are drawn; with files, which are held out for validation.
        validation_path, test_path: files of these splits.
        columns: field -> column, for files with other names.
        size: number of generated problems.
        min_steps, max_steps: fewest and most steps of a generated chain, its difficulty; all are equally frequent.
        nodes: entities and concepts that a generated graph grows to on average, for shorter questions or longer ones; None
            takes those of the published file, 23.

    Raises:
        InputError: a row that is wrong (names file and row), an option of generated problems with a file, more steps at
            least than at most, or fewer different graphs exist than asked for.
        FileNotFoundError: a file does not exist.
    """
    if (path, validation_path, test_path) != (None, None, None):
        if (size, min_steps, max_steps, nodes) != (None, 3, 4, None):
            raise InputError("size, min_steps, max_steps and nodes are of generated problems; leave them out, or the files")
        return load_split("prosqa", problem, split, seed, path, validation_path, test_path, columns)
    if columns is not None:
        raise InputError("columns names columns of files; give dataset_path, or leave it out")
    if min_steps > max_steps:
        raise InputError(f"min_steps={min_steps} is above max_steps={max_steps}; lower it")
    size = SIZES[split] if size is None else size
    rng = random.Random(f"prosqa/{split}/{seed}/{min_steps}/{max_steps}" + ("" if nodes is None else f"/{nodes}"))
    found: dict[str, Problem] = {}
    draws = 0
    while len(found) < size:
        draws += 1
        if draws > MAX_DRAWS:
            raise InputError(f"dataset 'prosqa', split '{split}': size={size} is too many, about {len(found)} exist")
        edges, sides = grow(rng, _number(rng, nodes))
        if zlib.crc32(repr(edges).encode()) % 100 not in SHARES[split]:
            continue
        graph = ask(rng, edges, sides, min_steps + len(found) % (max_steps - min_steps + 1))
        if graph is None:
            continue
        name = f"prosqa/{hashlib.sha256(graph.question.encode()).hexdigest()[:16]}"
        if name not in found:
            found[name] = graph.problem(name)
            draws = 0
    return list(found.values())


def _number(rng: random.Random, nodes: int | None) -> int:
    """Draw how many entities and concepts a graph grows to; the shape of the distribution is that of the published file."""
    scale = 1 if nodes is None else nodes / MEAN_NODES
    return min(max(round(rng.gauss(scale * MEAN_NODES, scale * SPREAD)), round(scale * NODES[0])), round(scale * NODES[1]))


def problem(row: dict, place: Place) -> Problem:
    """Return a published row as a problem.

    Raises:
        InputError: a field is missing or of the wrong kind.
    """
    check_form(row, "prosqa", place)
    return jsonl.read_fields(row, place)


def ask(rng: random.Random, edges: list[tuple[int, int]], sides: list[int], steps: int) -> Graph | None:
    """Return a graph with names and a question; None where it has none.

    Args:
        rng: decides root, options, names and the order in which the edges are told.
        edges, sides: see `grow`.
        steps: from the entity to the right answer, one of the concepts furthest from it.
    """
    inner = {left for left, _ in edges}
    root = rng.randrange(2)  # one of the two main entities; the wrong answer follows from the other
    depths = _depths(edges, root)
    ends = [node for node, depth in depths.items() if sides[node] == 1 << root and node not in inner]
    deepest = max((depths[node] for node in ends), default=0)
    wrong = [node for node, side in enumerate(sides) if side == 2 >> root and node not in inner and node > 1]
    if deepest != steps or not wrong:
        return None
    options = [rng.choice([node for node in ends if depths[node] == deepest]), rng.choice(wrong)]
    entities = set(range(len(sides))) - {end for _, end in edges}
    people, concepts = rng.sample(ENTITIES, len(entities)), rng.sample(CONCEPTS, len(sides) - len(entities))
    names = [people.pop() if node in entities else concepts.pop() for node in range(len(sides))]
    told = [(names[left], names[end]) for left, end in edges]
    rng.shuffle(told)
    rng.shuffle(options)
    return Graph(tuple(told), names[root], (names[options[0]], names[options[1]]))


def _depths(edges: list[tuple[int, int]], start: int) -> dict[int, int]:
    """Return how many steps lie between a node and all that follows from it."""
    depths: dict[int, int] = {}
    for node, before in reachable(edges, start).items():
        depths[node] = 0 if before is None else depths[before] + 1
    return depths


def changed(problem: Problem, place: int, end: str) -> Problem:
    """Return the problem with another edge in its graph, worked out anew.

    Args:
        problem: of this data set, generated or published.
        place: which sentence of the question, from 0.
        end: the concept that stands at its end instead.

    Raises:
        InputError: not a question of ProsQA, no such sentence or concept, or one after which both or neither of the two
            answers follow.
    """
    return Graph.read(problem).with_edge(place, end).problem()


def variants(problem: Problem, rng: random.Random) -> Iterator[Problem]:
    """Yield the problem with another end of one edge, every edge and end in a random order, where one answer follows."""
    graph = Graph.read(problem)
    concepts = sorted({end for _, end in graph.edges})
    pairs = [(place, end) for place, edge in enumerate(graph.edges) for end in concepts if end != edge[1]]
    rng.shuffle(pairs)
    for place, end in pairs:
        try:
            yield changed(problem, place, end)
        except InputError:  # both or neither answer would follow, or a chain would lead back
            continue
