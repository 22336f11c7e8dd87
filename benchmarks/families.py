"""CoT, no-CoT, pause tokens and latents on the generated combinatorics and convex problems: tiny models from scratch.

Run: python benchmarks/families.py [--seeds 0]; two models train at a time, one core each.
The settings are those of recipes/{combinatorics,convex}/tiny-*.yaml, none tuned on a test split. Finished runs are kept in
runs/families and not repeated.
"""

import argparse
import json
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from statistics import mean, stdev

import torch
from transformers import PrinterCallback
from transformers.utils.logging import disable_progress_bar

from latent_trainer.cli.train import make_trainer
from latent_trainer.data import as_problems, load_problems
from latent_trainer.evaluation.generation import generate_answers
from latent_trainer.evaluation.record import write_record
from latent_trainer.evaluation.summary import by_group, summarise

ROOT = Path(__file__).resolve().parents[1]
METHODS = {"latent": "latents", "pause": "pause tokens", "no-cot": "no-CoT", "cot": "CoT (steps written)"}
SPLITS = {"validation": 500, "test": 1000, "test_families": 500, "test_harder": 500}


def run(dataset: str, method: str, seed: int, folder: str) -> dict:
    """Train and test one model, or return what an earlier call has left."""
    place = Path(folder) / f"{dataset}-{method}-{seed}"
    record = place.with_suffix(".json")
    if record.is_file():
        return json.loads(record.read_text(encoding="utf-8"))
    torch.set_num_threads(1)
    disable_progress_bar()
    argv = ["--config", str(ROOT / "recipes" / dataset / f"tiny-{method}.yaml"), "--output_dir", str(place)]
    argv += ["--seed", str(seed), "--disable_tqdm", "true", "--log_level", "error"]
    trainer, _ = make_trainer(argv)
    trainer.remove_callback(PrinterCallback)
    outcome = {"untrained": answered(trainer, dataset, "validation")}
    began = time.time()
    trainer.train()
    outcome["train_seconds"] = round(time.time() - began, 1)
    trainer.save_model()
    outcome |= {split: answered(trainer, dataset, split) for split in SPLITS}
    record.write_text(json.dumps(outcome), encoding="utf-8")
    return outcome


def answered(trainer, dataset: str, split: str) -> dict:
    """Return the summary of a trainer's model on the first problems of a split, in all and by family and difficulty."""
    problems = as_problems(load_problems(dataset, split, size=SPLITS[split]))
    answers = generate_answers(
        trainer.model,
        trainer.processing_class,
        problems,
        trainer.model.config.num_latents,
        trainer.batches.encoder.template,
        batch_size=125,
        max_new_tokens=trainer.args.max_new_tokens,
    )
    return summarise(answers) | by_group(answers, problems)


def table(outcomes: dict[int, dict]) -> dict:
    """Return accuracy per split, family and difficulty over seeds; of one seed the standard error is that over problems."""
    first = next(iter(outcomes.values()))
    rows = {split: combined([own[split] for own in outcomes.values()]) for split in (*SPLITS, "untrained")}
    for group in ("by_family", "by_difficulty"):
        parts = {split: first[split][group] for split in ("test", "test_families", "test_harder")}
        rows[group] = {
            split: {name: combined([own[split][group][name] for own in outcomes.values()]) for name in part}
            for split, part in parts.items()
        }
    rows["train_seconds"] = mean(own["train_seconds"] for own in outcomes.values())
    return rows


def combined(summaries: list[dict]) -> dict:
    """Return the mean accuracy over seeds with its standard error, and the means of what it cost."""
    accuracies = [own["accuracy"] for own in summaries]
    several = len(accuracies) > 1
    error = stdev(accuracies) / len(accuracies) ** 0.5 if several else summaries[0]["accuracy_stderr"]
    row = {"accuracy": mean(accuracies), "accuracy_stderr": error, "problems": summaries[0]["problems"]}
    for name in ("tokens_written", "latents", "invalid"):
        if name in summaries[0]:
            row[name] = mean(own[name] for own in summaries)
    return row


def main() -> None:
    """Run what is missing and write results/combinatorics.json and results/convex.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--datasets", nargs="+", default=["combinatorics", "convex"])
    parser.add_argument("--runs", default="runs/families")
    args = parser.parse_args()
    Path(args.runs).mkdir(parents=True, exist_ok=True)
    outcomes = {(dataset, method): {} for dataset in args.datasets for method in METHODS}
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(run, *key, seed, args.runs): (key, seed) for seed in args.seeds for key in outcomes}
        for future in as_completed(futures):
            key, seed = futures[future]
            outcomes[key][seed] = future.result()
            print(f"{', '.join(key)}, seed {seed}: {future.result()['test']['accuracy']:.3f}", flush=True)
    for dataset in args.datasets:
        rows = {title: table(outcomes[dataset, method]) for method, title in METHODS.items()}
        config = {"dataset": dataset, "seeds": args.seeds, "problems": SPLITS}
        write_record(f"results/{dataset}.json", {"rows": rows}, config)


if __name__ == "__main__":
    main()
