"""Rewrite the generated parts of the documentation from the files in results/.

A generated part stands between ``<!-- results/NAME.json -->`` and ``<!-- end -->``, or begins with ``<!-- families of NAME
-->``, ``<!-- stock NAME -->``, ``<!-- papers -->`` or ``<!-- file NAME -->``; what is between them is replaced.
"""

import inspect
import json
import random
import re
import sys
from pathlib import Path

from evidence import audits, pretrained, pretrained_in_short
from papers import papers
from prosqa_table import methods_on_prosqa, prosqa
from reinforcement_table import costs, policies, reinforced, reinforced_in_short, shorter
from speed_tables import bound, decoding, evaluating, generation, growth, memory, parts, peers, serving, training

from latent_trainer.analysis.audit.verdicts import QUESTIONS
from latent_trainer.data.generated import combinatorics, convex
from latent_trainer.training.inherited import ARGUMENTS, FIELDS

ROOT = Path(__file__).resolve().parents[1]
PAGES = (
    "README.md",
    "docs/architectures.md",
    "docs/methods.md",
    "docs/papers.md",
    "docs/tutorials/read-the-controls.md",
    "docs/tutorials/add-a-method.md",
    "docs/log.md",
    "docs/data.md",
    "docs/evidence.md",
    "docs/analysis.md",
    "docs/audit.md",
    "docs/evaluation.md",
    "docs/vllm.md",
    "docs/hub.md",
    "docs/performance.md",
    "docs/reinforcement.md",
    "docs/scaling.md",
    "docs/testing.md",
    "docs/trainer.md",
)
PART = re.compile(
    r"(<!-- (results/[\w./-]+\.json[a-z ]*|families of \w+|stock \w+|papers|file [\w./-]+) -->\n).*?(<!-- end -->)",
    re.DOTALL,
)


def demo(record: dict) -> str:
    """Return the table of the demonstration."""
    titles = {"latent": "latents", "pause": "pause tokens", "no_cot": "no-CoT", "cot": "CoT (steps written)"}
    lines = ["| method | test accuracy | tokens written | latents | ms per problem |", "|---|---:|---:|---:|---:|"]
    for name, title in titles.items():
        row = record["methods"][name]
        lines.append(
            f"| {title} | {100 * row['accuracy']:.1f} ± {100 * row['accuracy_stderr']:.1f} % | {row['tokens_written']:.1f} "
            f"| {row['latents']:.0f} | {1000 * row['seconds_per_problem']:.2f} |"
        )
    config, problems = record["config"], record["methods"]["latent"]["problems"]
    lines += [
        "",
        f"{problems} test problems, seed {config['seed']}, {record['seconds']:.0f} seconds in all, one core a model; "
        "± is one standard error. From [results/demo.json](results/demo.json), rewritten by `make demo`.",
        "",
        "![Validation accuracy of the four runs](results/demo.png)",
    ]
    return "\n".join(lines)


def audited(record: dict) -> str:
    """Return the arms of the demonstration's audit and its verdicts."""
    free, forced = record["arms"]["free"], record["arms"]["forced"]
    lines = ["| in place of the latents | right, freely | right, forced | same answer, forced |", "|---|---:|---:|---:|"]
    for name, title in AUDITED.items():
        cells = [(rows[name], key) for rows, key in ((free, "accuracy"), (forced, "accuracy"), (forced, "unchanged"))]
        lines.append(f"| {title} | {' | '.join(f'{100 * row[key]:.1f} %' for row, key in cells)} |")
    verdicts = [f"{name}: **{record['verdicts'][name]['verdict']}**" for name in QUESTIONS]
    lines += [
        "",
        f"Are the latents ... {'; '.join(verdicts)}. {record['problems']} test problems, {record['num_latents']} latents; "
        "forced is with the answer's prefix right after the thought. From `results/demo-audit.json`, rewritten by "
        "`make demo`.",
    ]
    return "\n".join(lines)


AUDITED = {
    "intact": "nothing",
    "zero": "zero vectors",
    "frozen": "their mean over problems",
    "noise": "noise of the same length",
    "filler": "filler tokens",
    "shuffle": "another problem's",
    "removed": "none, markers kept",
    "pause": "a model with pause tokens",
}


def methods(record: dict) -> str:
    """Return the table of all trainable methods."""
    seeds = record["config"]["seeds"]
    lines = [
        "| method | test accuracy | each seed | tokens written | latents | training seconds |",
        "|---|---:|---|---:|---:|---:|",
    ]
    for name, row in record["rows"].items():
        error = f" ± {100 * row['accuracy_stderr']:.1f}" if row["accuracy_stderr"] is not None else ""
        each = ", ".join(f"{100 * accuracy:.1f}" for accuracy in row["accuracies"])
        lines.append(
            f"| {name} | {100 * row['accuracy']:.1f}{error} % | {each} | {row['tokens_written']:.1f} "
            f"| {row['latents']:.0f} | {row['train_seconds']:.0f} |"
        )
    lines += [
        "",
        f"Seeds {', '.join(map(str, seeds))}; ± is the standard error over seeds. {record['config']['steps']} steps of "
        f"{record['config']['batch']} problems, {record['config']['test_problems']} test problems, one core a run, "
        "two at a time. Rewritten by `python benchmarks/methods.py`.",
    ]
    return "\n".join(lines)


def controls(record: dict) -> str:
    """Return the table of an evaluation with controls, and its sweep over the number of latents."""
    titles = {"zero": "zeros", "noise": "noise of the same length", "shuffle": "latents of another problem"}
    titles |= {"frozen": "the mean latent", "pause": "pause tokens, trained for it"}
    lines = ["| in place of the latents | test accuracy | lost | p (McNemar) |", "|---|---:|---:|---:|"]
    lines.append(f"| nothing: intact | {_share(record)} % | | |")
    for name, row in record["controls"].items():
        lost = f"{100 * row['difference']:.1f} ± {100 * row['difference_stderr']:.1f}"
        lines.append(f"| {titles[name]} | {_share(row)} % | {lost} | {row['p_value']:.0e} |")
    sweep = "; ".join(f"{number}: {100 * row['accuracy']:.1f} %" for number, row in record["sweep"].items())
    model, paused = record["config"]["model"], record["config"]["pause_model"]
    command = f"latent-trainer evaluate --model {model} --pause_model {paused} --dataset {record['config']['dataset']}"
    lines += [
        "",
        f"Accuracy with other numbers of latents: {sweep}.",
        "",
        f"{record['problems']} test problems, one model, ± is one standard error (paired for what is lost). Rewritten by "
        f"`{command} --controls all --sweep_latents true --batch_size {record['config']['batch_size']} "
        "--output results/controls.json`.",
    ]
    return "\n".join(lines)


def domain(record: dict) -> str:
    """Return the tables of one generated data set: by split, by difficulty and by family."""
    rows, config = record["rows"], record["config"]
    splits = {"untrained": "untrained", "validation": "validation", "test": "test"}
    splits |= {"test_families": "families never trained on", "test_harder": "harder parameters"}
    lines = [f"| method | {' | '.join(splits.values())} | tokens written |", "|---|" + "---:|" * (len(splits) + 1)]
    for name, row in rows.items():
        lines.append(f"| {name} | {' | '.join(_share(row[one]) for one in splits)} | {row['test']['tokens_written']:.1f} |")
    for group in ("by_difficulty", "by_family"):
        keys = next(iter(rows.values()))[group]["test"]
        title = group.removeprefix("by_")
        lines += ["", f"| {title} | problems | {' | '.join(rows)} |", "|---|---:|" + "---:|" * len(rows)]
        for key, first in keys.items():
            shares = " | ".join(_share(row[group]["test"][key]) for row in rows.values())
            lines.append(f"| {key} | {first['problems']} | {shares} |")
    seeds = ", ".join(map(str, config["seeds"]))
    over = "seeds" if len(config["seeds"]) > 1 else "problems"
    lines += [
        "",
        f"Accuracy in %, seeds {seeds}; ± is the standard error over {over}. Rewritten by `python benchmarks/families.py`.",
    ]
    return "\n".join(lines)


def probes(record: dict) -> str:
    """Return the table of what the latents of one model hold."""
    found, config = record["probes"], record["config"]
    patched = {(row["others"], row["latent"]): row for row in found["patching"]["rows"]}
    lines = [
        "| latent | lens: its step's value | linear probe | shuffled labels "
        "| patched, later ones recomputed | patched, others kept |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for row, own in zip(found["lens"]["layers"][-1]["latents"], found["linear"]["own"], strict=True):
        number = own["latent"]
        cells = [(row["match"], row["match_stderr"])]
        cells += [(own[name], own[f"{name}_stderr"]) for name in ("accuracy", "shuffled")]
        ways = [patched[way, number] for way in ("rethought", "kept")]
        cells += [(way["follows"], way["follows_stderr"]) for way in ways]
        lines.append(f"| {number} | {' | '.join(f'{100 * mean:.1f} ± {100 * error:.1f}' for mean, error in cells)} |")
    pairs = [row["pairs"] for row in patched.values()]
    lines += [
        "",
        f"% of {found['lens']['problems']} test problems, ± one standard error; model {config['model']}. The lens reads the "
        "last layer at the column that a latent is computed from. Patched: answers that follow the donor, of the "
        f"{min(pairs)} to {max(pairs)} pairs for which it implies another answer. From "
        "[results/probes.json](../results/probes.json), rewritten by `latent-trainer probe`.",
    ]
    return "\n".join(lines)


def versions(record: dict) -> str:
    """Return the table of the releases of transformers that are tested."""
    suites = list(dict.fromkeys(name for row in record["rows"].values() for name in row["suites"]))
    lines = [f"| transformers | {' | '.join(suites)} | an exported folder |", "|---|" + "---:|" * (len(suites) + 1)]
    for role, row in record["rows"].items():
        found = [row["suites"].get(name) for name in suites]
        cells = ["not run" if one is None else f"{one['passed']} of {one['passed'] + one['failed']}" for one in found]
        said = "fails" if row["pushed"] is None else f"the same, logits within {row['pushed']:.0e}"
        lines.append(f"| {row['release']} ({role}) | {' | '.join(cells)} | {said} |")
    lines += [
        "",
        "Tests that pass; the folder is exported under the pinned release and read by transformers alone. Rewritten by "
        "`make test-versions`.",
    ]
    return "\n".join(lines)


def architectures(record: dict) -> str:
    """Return the counts and the table of the sweep over every causal architecture."""
    rows, config = record["rows"], record["config"]
    exact = [name for name, row in rows.items() if row["outcome"] == "exact"]
    counts = ", ".join(f"{number} {outcome}" for outcome, number in record["counts"].items())
    lines = [f"{len(rows)} types: {counts}.", "", "| outcome | types |", "|---|---|", f"| exact | {', '.join(exact)} |", ""]
    lines += ["| type | outcome | why |", "|---|---|---|"]
    for name, row in rows.items():
        if row["outcome"] != "exact":
            why = row["why"].replace("|", "\\|").replace("\n", " ")
            lines.append(f"| {name} | {row['outcome']} | {why} |")
    lines += ["", f"transformers {config['transformers']}, torch {config['torch']}. Rewritten by `make architectures`."]
    return "\n".join(lines)


def mutations(record: dict) -> str:
    """Return how many mutations of each area were noticed, which survive and why, and what all of them make wrong."""
    areas: dict[str, dict[str, dict]] = {}
    for wrong, row in record["rows"].items():
        areas.setdefault(row["area"], {})[wrong] = row
    survivors = {wrong: row for wrong, row in record["rows"].items() if row["outcome"] == "survived"}
    lines = ["| area | files | mutations | noticed |", "|---|---:|---:|---:|"]
    for area, rows in areas.items():
        noticed = sum(row["outcome"] == "killed" for row in rows.values())
        lines.append(f"| {area} | {len({row['file'] for row in rows.values()})} | {len(rows)} | {noticed} |")
    lines += [
        f"| all | {len({row['file'] for row in record['rows'].values()})} | {record['mutations']} | {record['killed']} |",
        "",
        f"At most {record['processor_minutes']:.0f} minutes of one core. Rewritten by `make mutations`.",
    ]
    if survivors:
        lines += ["", "| not noticed | where | why |", "|---|---|---|"]
        lines += [f"| {wrong} | `{row['file']}` | {row['why']} |" for wrong, row in survivors.items()]
    for area, rows in areas.items():
        lines += ["", f"What was made wrong in {area}: {'; '.join(rows)}."]
    return "\n".join(lines)


def _share(row: dict) -> str:
    return f"{100 * row['accuracy']:.1f} ± {100 * row['accuracy_stderr']:.1f}"


def families(name: str) -> str:
    """Return a line and a sample problem for every family of a data set."""
    module = {"combinatorics": combinatorics, "convex": convex}[name]
    lines = ["| family | what is asked | a sample | its answer |", "|---|---|---|---|"]
    for family, function in module.FAMILIES.items():
        about = inspect.getdoc(function).splitlines()[0]
        sample = function(random.Random(family), False)
        held_out = " (never trained on)" if family in module.HELD_OUT else ""
        cells = (f"`{family}`{held_out}", about, _literal(sample.question), _literal(sample.answer))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", f"{len(module.FAMILIES)} families. Generated from the code by `make docs`."])


def stock(name: str) -> str:
    """Return the table of what becomes of the stock trainer's fields or arguments."""
    lines = ["| setting | what becomes of it | refused |", "|---|---|---|"]
    for entry in {"fields": FIELDS, "arguments": ARGUMENTS}[name]:
        names = ", ".join(f"`{setting}`" for setting in entry.names.split())
        tested = f" (`{entry.test}`)" if entry.test else ""
        refusal = entry.refusal
        refused = "" if refusal is None else f"`{_shown(refusal.example)}`: {refusal.why}"
        lines.append(f"| {names} | {entry.does}{tested} | {refused} |")
    return "\n".join(lines)


def _shown(example) -> str:
    """Return an example of a value without what a reader need not see of it."""
    if isinstance(example, str | bool | list):
        return str(example)
    return "any" if callable(example) else "cp_size=2"


def _literal(text: str) -> str:
    """Return a text as it is, whatever formulas it holds, in a table's cell."""
    return f"`{text}`".replace("|", "\\|")


IN_SHORT = " in short"  # of a record that another page shows whole
TABLES = {
    "results/architectures.json": architectures,
    "results/controls.json": controls,
    "results/benchmarks/bound-smollm2-135m.json": bound,
    "results/benchmarks/decoding-gpt2.json": decoding,
    "results/benchmarks/decoding-smollm2-135m.json": decoding,
    "results/benchmarks/decoding-compiled-gpt2.json": decoding,
    "results/benchmarks/generation-gpt2.json": generation,
    "results/benchmarks/grading-smollm2-135m.json": evaluating,
    "results/benchmarks/memory-gpt2.json": memory,
    "results/benchmarks/parts-gpt2.json": parts,
    "results/benchmarks/parts-smollm2-135m.json": parts,
    "results/benchmarks/peers-gpt2.json": peers,
    "results/benchmarks/peers-smollm2-135m.json": peers,
    "results/benchmarks/scaling-gpt2.json": growth,
    "results/benchmarks/scaling-smollm2-135m.json": growth,
    "results/benchmarks/serving-gpt2.json": serving,
    "results/combinatorics.json": domain,
    "results/convex.json": domain,
    "results/demo.json": demo,
    "results/demo-audit.json": audited,
    "results/methods.json": methods,
    "results/mutations.json": mutations,
    "results/pretrained/stories.json": pretrained,
    f"results/pretrained/stories.json{IN_SHORT}": pretrained_in_short,
    "results/pretrained/gsm8k.json": pretrained,
    "results/pretrained/combinatorics.json": pretrained,
    "results/pretrained/convex.json": pretrained,
    "results/pretrained/prosqa.json": methods_on_prosqa,
    "results/pretrained/policies.json": policies,
    "results/pretrained/audit/stories.json": audits,
    "results/probes.json": probes,
    "results/prosqa.json": prosqa,
    "results/tiny/prosqa.json": methods_on_prosqa,
    "results/benchmarks/reinforcing-gpt2.json": costs,
    "results/thought-length.json": shorter,
    "results/reinforcement.json": reinforced,
    f"results/reinforcement.json{IN_SHORT}": reinforced_in_short,
    "results/versions.json": versions,
    "results/benchmarks/training-gpt2.json": training,
    "results/benchmarks/training-qwen2.5-0.5b.json": training,
    "results/benchmarks/training-qwen3-0.6b-batch2.json": training,
    "results/benchmarks/training-smollm2-135m.json": training,
    "results/benchmarks/training-smollm2-135m-batch2.json": training,
}


def rebuild(text: str) -> str:
    """Return a page with every generated part written anew."""

    def part(match: re.Match) -> str:
        if match[2].startswith("families of "):
            return f"{match[1]}\n{families(match[2].removeprefix('families of '))}\n\n{match[3]}"
        if match[2].startswith("stock "):
            return f"{match[1]}\n{stock(match[2].removeprefix('stock '))}\n\n{match[3]}"
        if match[2] == "papers":
            return f"{match[1]}\n{papers()}\n\n{match[3]}"
        if match[2].startswith("file "):
            source = (ROOT / match[2].removeprefix("file ")).read_text(encoding="utf-8")
            return f"{match[1]}\n```python\n{source}```\n\n{match[3]}"
        path = ROOT / match[2].removesuffix(IN_SHORT)
        if not path.exists():  # not measured yet: the place is kept
            return match[0]
        record = json.loads(path.read_text(encoding="utf-8"))
        return f"{match[1]}\n{TABLES[match[2]](record)}\n\n{match[3]}"

    return PART.sub(part, text)


def main() -> None:
    """Rewrite the pages; with ``--check`` fail if one would change."""
    for name in PAGES:
        page = ROOT / name
        old = page.read_text(encoding="utf-8")
        new = rebuild(old)
        if "--check" in sys.argv and new != old:
            raise SystemExit(f"{name} does not match results/; run make docs")
        page.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
