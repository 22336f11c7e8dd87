"""How large, deep and branched the generated ProsQA is, beside the published validation file.

    python benchmarks/prosqa_statistics.py --published prosqa_valid.json

Writes results/prosqa.json, from which docs/data.md has its table; without --published the numbers of that file stay as they
are.
"""

import argparse
import json
from collections import Counter
from pathlib import Path
from statistics import mean, pstdev

from latent_trainer.data import as_problems, load_problems
from latent_trainer.data.generated.prosqa import Graph, reachable
from latent_trainer.data.problem import Problem
from latent_trainer.evaluation.record import environment
from latent_trainer.whole_files import write_json

OUTPUT = Path(__file__).resolve().parents[1] / "results" / "prosqa.json"


def shape(problem: Problem) -> dict[str, float]:
    """Return the measures of one question's graph."""
    graph = Graph.read(problem)
    nodes = {name for edge in graph.edges for name in edge}
    children = Counter(left for left, _ in graph.edges)
    parents = Counter(end for _, end in graph.edges)
    steps, _ = graph.solution()
    return {
        "entities": sum(name[0].isupper() for name in nodes),
        "concepts": sum(not name[0].isupper() for name in nodes),
        "edges": len(graph.edges),
        "steps": len(steps),
        "branching": mean(children.values()),
        "parents": mean(parents.values()),
        "ends": len(nodes - set(children)),
        "reached": len(reachable(graph.edges, graph.root)) - 1,
        "chains": shortest_ways(graph),
    }


def shortest_ways(graph: Graph) -> int:
    """Return the number of shortest chains from the entity to the answer."""
    ways, level, seen = {graph.root: 1}, {graph.root}, {graph.root}
    while level and not level & set(graph.options):
        after: Counter = Counter()
        for left, end in graph.edges:
            if left in level and end not in seen:
                after[end] += ways[left]
        ways, level = dict(after), set(after)
        seen |= level
    return sum(ways.get(option, 0) for option in graph.options)


def measured(problems: list[Problem]) -> dict:
    """Return mean and spread of every measure, and the shares of the numbers of steps and entities."""
    shapes = [shape(problem) for problem in problems]
    found = {
        name: {"mean": mean(row[name] for row in shapes), "spread": pstdev(row[name] for row in shapes)}
        for name in shapes[0]
    }
    counts = {name: Counter(row[name] for row in shapes) for name in ("steps", "entities")}
    shares = {name: {str(key): count[key] / len(shapes) for key in sorted(count)} for name, count in counts.items()}
    return {"problems": len(problems), "measures": found, "shares": shares}


def main() -> None:
    """Measure and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--published", help="the published validation file")
    parser.add_argument("--size", type=int, default=2_000, help="generated problems")
    args = parser.parse_args()
    record = json.loads(OUTPUT.read_text(encoding="utf-8")) if OUTPUT.is_file() else {}
    if args.published:
        record["published"] = measured(as_problems(load_problems("prosqa", "test", test_path=args.published)))
    record["generated"] = measured(as_problems(load_problems("prosqa", "train", size=args.size)))
    write_json(str(OUTPUT), {**record, **environment()}, indent=2, sort_keys=True)
    for name in record["generated"]["measures"]:
        row = [f"{record[of]['measures'][name]['mean']:.2f}" for of in ("published", "generated") if of in record]
        print(f"{name:10} {'  '.join(row)}")
    print({of: record[of]["shares"] for of in ("published", "generated") if of in record})


if __name__ == "__main__":
    main()
