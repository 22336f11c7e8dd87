"""Every trainable method on the demonstration's task, from scratch, with the same steps and batches, over several seeds.

Run: python benchmarks/methods.py [--seeds 0 1 2] [--rows "CODI" ...]; two models train at a time, one core each, about half
an hour in all. Settings are those of recipes/tiny/demo but for the method itself; none was tuned on the test split, which is
read once a run. Finished runs are kept in runs/methods and not repeated. Rows that are not asked for stay in the record, and
of a row the seeds that are not asked for.
"""

import argparse
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from statistics import mean, stdev

from latent_trainer import bundled
from latent_trainer.cli.demo import train_one
from latent_trainer.evaluation.record import write_record

STAGED = ["--latents_per_step", "1", "--max_stage", "6", "--steps_per_stage", "300", "50"]
INSIDE = ["--remaining_steps", "inside"]
NORM = ["--feedback_options", '{"norm": "embedding"}']
FIXED = ["--num_latents", "6"]
BASE = ["--config", str(bundled.files()["tiny/demo/cot"]), "--eval_steps", "650"]
RUNS = {
    "CoT (steps written)": ["--method", "cot"],
    "no-CoT": ["--method", "no_cot"],
    "iCoT": ["--method", "icot", "--max_stage", "6", "--steps_per_stage", "300", "50"],
    "pause, fixed": ["--method", "pause", *FIXED],
    "pause, staged": ["--method", "coconut", "--feedback", "learned", *STAGED, *INSIDE],
    "answer-only latents": ["--method", "answer_only", *FIXED, *NORM],
    "Coconut, as published": ["--method", "coconut", *STAGED],
    "Coconut, steps inside, norm": ["--method", "coconut", *STAGED, *INSIDE, *NORM],
    "Coconut, steps inside, norm, mixed": ["--method", "coconut_mixed", *STAGED, *INSIDE, *NORM],
    "LT-Tuning, steps inside": ["--method", "lt_tuning", *STAGED, *INSIDE, *NORM],
    "Coconut, steps inside, soft": ["--method", "coconut", "--feedback", "soft", *STAGED, *INSIDE],
    "SIM-CoT on that Coconut": ["--method", "sim_cot", *STAGED, *INSIDE, *NORM],
    "CODI": ["--method", "codi", *FIXED, "--objective_options", '{"drop_last_step": false}'],
    "PCCoT, 3 iterations": ["--method", "pccot", *FIXED, *NORM],
    "LOTUS, steps inside": ["--method", "lotus", "--pad_latent_to_max", "false", *STAGED, *INSIDE, *NORM],
    "LOTUS, steps inside, weight 1": [
        *("--method", "lotus", "--pad_latent_to_max", "false", *STAGED, *INSIDE, *NORM),
        *("--objective_options", '{"weight": 1.0}'),
    ],
    "MUX": ["--method", "mux", *FIXED, *NORM],
    "MUX, soft": ["--method", "mux", *FIXED, "--feedback", "soft"],
    "KaVa, 3 iterations": ["--method", "kava", *FIXED],
    "CoLaR": ["--method", "colar", "--curriculum_options", '{"max_compression": 2, "max_latents": 16}'],
}
RECORD = Path("results/methods.json")


def run(name: str, seed: int, folder: str) -> dict:
    """Train and test one model, or return what an earlier call has left."""
    place = Path(folder) / f"{name.replace(' ', '-').replace(',', '')}-{seed}"
    record = place.with_suffix(".json")
    if record.is_file():
        return json.loads(record.read_text(encoding="utf-8"))
    outcome = train_one(name, [*BASE, *RUNS[name], "--output_dir", str(place), "--seed", str(seed)])
    test = outcome["test"]
    outcome = {name: test[name] for name in ("accuracy", "tokens_written", "latents")} | {
        "train_seconds": outcome["train_seconds"]
    }
    record.write_text(json.dumps(outcome), encoding="utf-8")
    return outcome


def row(runs: dict[int, dict]) -> dict:
    """Return a method's row of the record from its runs by seed."""
    seeds = sorted(runs)
    accuracies = [runs[seed]["accuracy"] for seed in seeds]
    return {
        "accuracy": mean(accuracies),
        "accuracy_stderr": stdev(accuracies) / len(accuracies) ** 0.5 if len(accuracies) > 1 else None,
        "accuracies": accuracies,
        "seeds": seeds,
        **{name: mean(one[name] for one in runs.values()) for name in ("train_seconds", "tokens_written", "latents")},
        "runs": runs,
    }


def main() -> None:
    """Run what is missing and write results/methods.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+", choices=RUNS, metavar="ROW", help="by default all: " + ", ".join(RUNS))
    parser.add_argument("--jobs", type=int, default=2, help="models that train at a time")
    parser.add_argument("--runs", default="runs/methods")
    args = parser.parse_args()
    Path(args.runs).mkdir(parents=True, exist_ok=True)
    outcomes: dict[str, dict[int, dict]] = {name: {} for name in args.rows or RUNS}
    with ProcessPoolExecutor(args.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(run, name, seed, args.runs): (name, seed) for seed in args.seeds for name in outcomes}
        for future in as_completed(futures):
            name, seed = futures[future]
            outcomes[name][seed] = future.result()
            print(f"{name}, seed {seed}: {future.result()['accuracy']:.3f}", flush=True)
    rows = json.loads(RECORD.read_text(encoding="utf-8"))["rows"] if RECORD.is_file() else {}
    for name, own in outcomes.items():
        earlier = rows.get(name, {}).get("runs", {})
        if name in rows and not earlier:
            print(f"{name}: the record does not tell its runs apart; the row now holds the seeds of this call alone")
        rows[name] = row({**{int(seed): one for seed, one in earlier.items()}, **own})
    seeds = sorted({seed for own in rows.values() for seed in own.get("seeds", range(len(own["accuracies"])))})
    config = {"seeds": seeds, "runs": RUNS, "steps": 650, "batch": 128, "test_problems": 1000, "operations": 6}
    write_record(str(RECORD), {"rows": rows}, config)


if __name__ == "__main__":
    main()
