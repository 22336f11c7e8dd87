"""The table that holds the generated ProsQA against the published file, for `build`."""

MEASURES = {
    "entities": "entities (Tom, Max)",
    "concepts": "concepts (lempus, rorpus)",
    "edges": "sentences of the question",
    "steps": "steps of the shortest chain",
    "chains": "shortest chains to the answer",
    "branching": "facts about an entity or concept that has any",
    "parents": "facts that end in a concept",
    "ends": "concepts of which nothing is said",
    "reached": "concepts that follow from the entity asked about",
}


def prosqa(record: dict) -> str:
    """Return the table of means and spreads, and the shares of steps and entities."""
    both = ("published", "generated")
    numbers = [f"{record[one]['problems']:,} problems" for one in both]
    lines = [f"| | published, {numbers[0]} | generated, {numbers[1]} |", "|---|---:|---:|"]
    for name, title in MEASURES.items():
        cells = [f"{row['mean']:.2f} ({row['spread']:.2f})" for row in (record[one]["measures"][name] for one in both)]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    for name in ("steps", "entities"):
        keys = sorted({key for one in both for key in record[one]["shares"][name]}, key=int)
        cells = [", ".join(f"{key}: {100 * record[one]['shares'][name].get(key, 0):.0f} %" for key in keys) for one in both]
        lines.append(f"| {name}, shares | {' | '.join(cells)} |")
    lines += [
        "",
        "Mean over problems (standard deviation). The published file is ProsQA's validation split, the generated problems "
        "are the first of train. From [results/prosqa.json](../results/prosqa.json), rewritten by "
        "`python benchmarks/prosqa_statistics.py --published prosqa_valid.json`.",
    ]
    return "\n".join(lines)
