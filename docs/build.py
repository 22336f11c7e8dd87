"""Rewrite the generated parts of the documentation from the files in results/.

A generated part stands between ``<!-- results/NAME.json -->`` and ``<!-- end -->``; what is between them is replaced.
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "docs/methods.md", "docs/log.md")
PART = re.compile(r"(<!-- (results/[\w./-]+\.json) -->\n).*?(<!-- end -->)", re.DOTALL)


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


def training(record: dict) -> str:
    """Return the table of training steps."""
    lines = ["| step | seconds | times plain | quartiles |", "|---|---:|---:|---:|"]
    for name, row in record["rows"].items():
        lines.append(
            f"| {name} | {row['seconds']:.2f} | {row['ratio']:.2f} | {row['ratio_low']:.2f} to {row['ratio_high']:.2f} |"
        )
    config = record["config"]
    rows = f"{config['question']} question, {config['steps']} CoT and {config['answer']} answer tokens"
    lines += [
        "",
        f"{config['shape']} shape, random weights, batch {config['batch']}, {rows}, {config['rounds']} interleaved rounds, "
        f"{record['device']}. Rewritten by `make benchmark`.",
    ]
    return "\n".join(lines)


TABLES = {
    "results/demo.json": demo,
    "results/methods.json": methods,
    "results/benchmarks/training-gpt2.json": training,
}


def rebuild(text: str) -> str:
    """Return a page with every generated part written anew."""

    def part(match: re.Match) -> str:
        record = json.loads((ROOT / match[2]).read_text(encoding="utf-8"))
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
