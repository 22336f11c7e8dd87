"""Audits of the pretrained model's runs: do the latents of its published methods do anything?

Run: python benchmarks/audits.py TASK [--methods mux codi soft-thinking] [--seed 0], after benchmarks/pretrained.py has
trained them; `make evidence-audits` does that for stories. A finished audit is kept and not repeated, and a stopped one
goes on from its last answer. Each writes NAME.json, NAME.html and NAME.figures into results/pretrained/audit/TASK, and
results/pretrained/audit/TASK.json says in short what all of them found.
"""

import argparse
import json
import signal
import sys
from pathlib import Path

from pretrained import BASELINES, DATA, FILES, METHODS, ROOT, Run, copied, process, read

from latent_trainer.analysis.audit.verdicts import QUESTIONS
from latent_trainer.evaluation.record import write_record

AUDITED = ("mux", "codi", "soft-thinking")
PAUSED = "pause-after-cot"  # starts where the trained methods start; a model that was not trained has no such pair
ARMS = ("intact", "frozen", "filler", "shuffle", "removed")  # that the table shows


def audit(run: Run, args: argparse.Namespace) -> None:
    """Audit one run, in a process of its own; weights are in bfloat16, as in the run's test."""
    model = Path(args.copies) / args.task / run.name
    if not model.is_dir():
        model.parent.mkdir(parents=True, exist_ok=True)
        if run.untrained:
            copied(run.start, model, feedback="soft", num_latents=run.settings["num_latents"])
        else:
            copied(run.folder, model)
    words = ["--model", str(model), "--report", str(place_of(run, args).with_suffix(".html")), *run.files]
    paused = Run(args, PAUSED, run.seed).folder
    if not run.untrained and (paused / "model.safetensors").is_file():
        words += ["--pause_model", str(paused)]
    for name in (name for name in DATA if name in run.settings):
        value = run.settings[name]
        words += [f"--{name}", json.dumps(value) if isinstance(value, dict) else str(value)]
    words += ["--max_eval_problems", str(args.problems), "--most", str(args.most), "--batch_size", str(args.batch_size)]
    words += ["--latents_per_step", str(args.latents_per_step)]
    process("audit", words)


def place_of(run: Run, args: argparse.Namespace) -> Path:
    """Return the record of a run's audit."""
    return Path(args.results) / args.task / f"{run.name}.json"


def in_short(record: dict) -> dict:
    """Return what the table shows of an audit."""
    row = {name: record[name] for name in ("problems", "num_latents", "seconds", "device", "git_commit", "git_dirty")}
    row["verdicts"] = {name: {key: record["verdicts"][name][key] for key in ("verdict", "why")} for name in QUESTIONS}
    for mode in ("free", "forced"):
        known = {name: record["arms"][mode][name] for name in (*ARMS, "floor", "pause") if name in record["arms"][mode]}
        row[mode] = {name: {key: arm[key] for key in ("accuracy", "unchanged")} for name, arm in known.items()}
    row["follows"] = record["arms"]["forced"].get("shuffle", {}).get("follows")
    row["decodable_from"] = record["early"]["decodable_from"] if record["early"] else None
    return row


def write(args: argparse.Namespace) -> None:
    """Write what all finished audits of the task have found, those of earlier calls too."""
    found = sorted((Path(args.results) / args.task).glob("*.json"))
    order = {name: place for place, name in enumerate(METHODS)}
    found.sort(key=lambda path: (order.get(path.stem.rpartition("-")[0], len(order)), path.stem))
    rows = {path.stem: in_short(read(path)) for path in found}
    config = {"task": args.task, "problems": args.problems, "most": args.most}
    write_record(str(Path(args.results) / f"{args.task}.json"), {"rows": rows}, config)


def main() -> None:
    """Audit what has not been audited."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", help="first word of the recipes' names: stories, combinatorics, convex or gsm8k")
    methods = [name for name in METHODS if name not in ("cot", *BASELINES)]
    parser.add_argument("--methods", nargs="+", choices=methods, default=list(AUDITED))
    parser.add_argument("--seed", type=int, default=0, help="of the runs")
    parser.add_argument("--problems", type=int, default=100, help="test problems")
    parser.add_argument("--most", type=int, default=24, help="of them, for the parts that ask each many times")
    parser.add_argument("--batch_size", type=int, default=50, help="test problems at once")
    parser.add_argument("--latents_per_step", type=int, default=8, help="latents that stand for a written step")
    for name in FILES:
        parser.add_argument(f"--{name}", help="as in `latent-trainer train`, for gsm8k")
    parser.add_argument("--recipes", default=str(ROOT / "recipes" / "smollm2"))
    parser.add_argument("--runs", default="runs/pretrained")
    parser.add_argument("--copies", default="runs/audited", help="folder of the models in bfloat16")
    parser.add_argument("--results", default="results/pretrained/audit")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    runs = [Run(args, method, args.seed) for method in args.methods]
    for run in runs:
        start = run.start if run.untrained else run.folder
        if not (start / "model.safetensors").is_file():
            parser.error(f"{start} holds no trained model; run python benchmarks/pretrained.py {args.task} first")
    for run in runs:
        if not place_of(run, args).is_file():
            print(f"audit of {run.name} of {args.task}", flush=True)
            audit(run, args)
            write(args)
    write(args)


if __name__ == "__main__":
    main()
