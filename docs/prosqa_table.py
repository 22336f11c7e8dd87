"""The tables on ProsQA for `build`: the generated problems against the published file, and CoT against latents."""

PUBLISHED = {"cot-after-cot": "77.5", "pause": "96.6", "coconut": "97.0"}  # Hao et al. 2024, GPT-2, published sizes
ROWS = {  # of a record of benchmarks/pretrained.py
    "cot": "CoT, the checkpoint that others go on from",
    "cot-after-cot": "CoT",
    "no-cot": "no-CoT",
    "pause": "pause tokens, the curriculum of Coconut",
    "coconut": "Coconut",
}

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


def methods_on_prosqa(record: dict) -> str:
    """Return accuracy, tests against the others on the same problems, and what stands in the latents' place."""
    rows = {key.rsplit("-", 1)[0]: (key, row) for key, row in record["rows"].items()}
    lines = [
        "| trained as | steps | test accuracy | tokens written | latents | published |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, title in ROWS.items():
        if name not in rows:
            continue
        row = rows[name][1]
        steps = row["steps"] + (rows["cot"][1]["steps"] if _goes_on(row) else 0)
        lines.append(
            f"| {title} | {steps:,} | {100 * row['accuracy']:.1f} ± {100 * row['accuracy_stderr']:.1f} % "
            f"| {row['tokens_written']:.1f} | {row['latents']:.0f} | {PUBLISHED.get(name, '-')} |"
        )
    titles = {key: ROWS[name].partition(",")[0] for name, (key, _) in rows.items()}
    tests = [test for test in record["tests"] if "cot-0" not in (test["run"], test["baseline"])]
    compared = [
        f"{titles[test['run']]} against {titles[test['baseline']]} {100 * test['difference']:+.1f} ± "
        f"{100 * test['difference_stderr']:.1f} points (p = {test['p_value']:.2g})"
        for test in tests
        if test["run"] in titles and test["baseline"] in titles
    ]
    lines += ["", f"On the same problems (McNemar): {'; '.join(compared)}."] if compared else []
    controls = rows["coconut"][1].get("controls") if "coconut" in rows else None
    if controls:
        intact = 100 * rows["coconut"][1]["controls_intact"]
        shown = [f"{name} {100 * one['accuracy']:.1f} %" for name, one in controls.items() if "accuracy" in one]
        lines += ["", f"Coconut with something else in the latents' place ({intact:.1f} % as it is): {', '.join(shown)}."]
    config, (_, first) = record["config"], next(iter(rows.values()))
    small = "model_config" in rows["cot"][1]["settings"]
    path, more = (
        ("tiny", " --recipes recipes/tiny --results results/tiny --runs runs/tiny-table") if small else ("pretrained", "")
    )
    lines += [
        "",
        f"{config['problems']} test problems, one seed; ± is the standard error over problems. Chance is 50 %. Published is "
        f"GPT-2 on questions of the published size; these are of `{first['settings']['dataset_options']}`. From "
        f"[results/{path}/prosqa.json](../results/{path}/prosqa.json), rewritten by "
        f"`python benchmarks/pretrained.py prosqa{more}`.",
    ]
    return "\n".join(lines)


def _goes_on(row: dict) -> bool:
    """Return whether a run starts from the checkpoint of another one."""
    return row["settings"].get("model_name_or_path", "").startswith("runs/")
