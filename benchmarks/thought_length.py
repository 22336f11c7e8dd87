"""How much shorter thoughts become where shorter ones are rewarded, and what that costs.

Run: python benchmarks/thought_length.py [--seed 0], one core.

The demonstration's model, on its own recipe with stages two and three times as long, learns chains of two to six
operations with six latents for every chain. A stop head then starts from the shortest right thoughts and learns, with all
other weights, from the rewards `correct` and `length`; as a control, from `correct` alone. Answers are greedy. The test
split is read once by each row of the record.
"""

import argparse
import json
from pathlib import Path
from statistics import mean

import torch
from datasets import Dataset
from reinforcement import LATENTS, QUIET, ROOT, clocks, of_policy
from transformers import PrinterCallback, set_seed

from latent_trainer import bundled
from latent_trainer.cli.build import load_saved
from latent_trainer.cli.train import make_trainer
from latent_trainer.data import as_problems, load_problems
from latent_trainer.evaluation.generation import generate_answers
from latent_trainer.evaluation.record import write_record
from latent_trainer.evaluation.statistics import mcnemar, mean_and_error
from latent_trainer.rl import LatentGRPOConfig, LatentGRPOTrainer

RECORD = ROOT / "results" / "thought-length.json"
SHARES = {2: 1, 3: 3, 4: 2, 5: 2, 6: 1}  # operations and how often a chain has them; there are few chains of two
SIZES = {"train": 1900, "test": 100}  # chains of a share of one
ARMS = {"correct": ["correct"], "correct and length": ["correct", "length"]}
WEIGHTS = {"correct": [1.0], "correct and length": [1.0, 0.5]}


def problems(split: str) -> Dataset:
    """Return chains of all lengths."""
    rows = [
        load_problems("arithmetic", split, size=SIZES[split] * share, operations=n).to_list() for n, share in SHARES.items()
    ]
    return Dataset.from_list([row for own in rows for row in own]).shuffle(seed=0)


def start(seed: int, folder: Path) -> str:
    """Train the model whose thoughts are all as long, or return the folder of the one that is there."""
    place, data = folder / f"start-{seed}", folder / "train.jsonl"
    if not (place / "model.safetensors").is_file():
        lines = [json.dumps({name: row[name] for name in ("question", "steps", "answer")}) for row in problems("train")]
        data.write_text("\n".join(lines), encoding="utf-8")
        argv = ["--config", str(bundled.files()["tiny/demo/latent"]), "--seed", str(seed), "--output_dir", str(place)]
        argv += ["--dataset", "jsonl", "--dataset_path", str(data), "--dataset_options", "{}"]
        argv += ["--steps_per_stage", "900", "100", "--max_steps", "1600"]  # 600 and 50 leave it at 19 %
        argv += ["--eval_strategy", "no", "--disable_tqdm", "true", "--log_level", "error"]
        trainer, _ = make_trainer(argv)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        trainer.save_model()
    return str(place)


def tested(model, tokenizer) -> tuple[dict, list[bool]]:
    """Return a row of the record, and which test problems are right."""
    asked = as_problems(problems("test"))
    model.eval()
    given = generate_answers(model, tokenizer, asked, LATENTS, model.config.template, batch_size=300, max_new_tokens=12)
    right = [answer.correct for answer in given]
    accuracy, error = mean_and_error(right)
    lengths = [answer.latents for answer in given]
    by_operations = {
        str(n): {
            "accuracy": mean(ok for ok, one in zip(right, asked, strict=True) if len(one.steps) == n),
            "latents": mean(length for length, one in zip(lengths, asked, strict=True) if len(one.steps) == n),
        }
        for n in SHARES
    }
    row = {"accuracy": accuracy, "accuracy_stderr": error, "latents": mean(lengths), "by_operations": by_operations}
    print({name: row[name] for name in ("accuracy", "latents")}, flush=True)
    return row, right


def main() -> None:
    """Train, test and write results/thought-length.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", default="runs/thought-length")
    args = parser.parse_args()
    torch.set_num_threads(1)
    folder = Path(args.runs)
    folder.mkdir(parents=True, exist_ok=True)
    place = start(args.seed, folder)
    rows, right = {}, {}
    rows["six latents"], right["six latents"] = tested(*load_saved(place))
    for arm in reversed(ARMS):
        model, tokenizer = load_saved(place)
        set_seed(args.seed)
        settings = {**of_policy("deterministic"), **QUIET, "seed": args.seed, "stop": "learned", "max_latents": LATENTS}
        trainer = LatentGRPOTrainer(
            model,
            args=LatentGRPOConfig(str(folder / "rl"), rewards=ARMS[arm], reward_weights=WEIGHTS[arm], **settings),
            train_dataset=problems("train"),
            processing_class=tokenizer,
        )
        trainer.remove_callback(PrinterCallback)
        if "after the cold start" not in rows:
            rows["after the cold start"], right["after the cold start"] = tested(model, tokenizer)
        began = clocks()
        trainer.train()
        rows[arm], right[arm] = tested(model, tokenizer)
        rows[arm]["seconds"], rows[arm]["processor_seconds"] = (
            round(now - then, 1) for now, then in zip(clocks(), began, strict=True)
        )
        for name, own in right.items():
            rows[name]["against_six_latents"] = mcnemar(right["six latents"], own)
        config = {
            "settings": of_policy("deterministic"),
            "latents": LATENTS,
            "shares": SHARES,
            "weights": WEIGHTS,
            "seed": args.seed,
        }
        write_record(str(RECORD), {"rows": rows}, config, problems=as_problems(problems("test")))


if __name__ == "__main__":
    main()
