"""Every policy of reinforcement learning on a pretrained model that thinks, under one budget of rollouts.

Run: python benchmarks/policies.py [--seed 1] [--policies multiplex ...], one core, after
python benchmarks/pretrained.py stories --seeds 1 --methods cot.

The start is the CoT checkpoint, asked to think in soft tokens, as in Soft Thinking; for `token`, whose latents HRPO's gate
makes, with that gate. Nothing has trained these thoughts. Every policy then takes as many steps of as many answers to the
same problems, with the same settings, from the reward for right answers. The test split is read once before and once after.
Finished rows are kept in runs/policies and not repeated.
"""

import argparse
import json
import shutil
from pathlib import Path
from statistics import mean

import torch
import yaml
from pretrained import copied
from reinforcement import QUIET, ROOT, clocks, share
from transformers import PrinterCallback, set_seed

from latent_trainer.cli.build import load_saved
from latent_trainer.data import as_problems, load_problems
from latent_trainer.evaluation.generation import generate_answers
from latent_trainer.evaluation.record import environment, write_record
from latent_trainer.evaluation.statistics import mcnemar, mean_and_error
from latent_trainer.rl import LatentGRPOConfig, LatentGRPOTrainer
from latent_trainer.whole_files import write_json

LATENTS, TEST = 16, 500
SOFT = ("soft", {"top_k": 20})
POLICIES = {
    "deterministic": (*SOFT, {}),
    "multiplex": (*SOFT, {}),
    "gumbel": (*SOFT, {"top_k": 20}),
    "gaussian": (*SOFT, {}),
    "dropout": (*SOFT, {}),
    "token": ("gated", {}, {}),
}
SETTINGS = {
    "num_generations": 8,
    "per_device_train_batch_size": 32,
    "max_steps": 20,
    "learning_rate": 2e-5,
    "lr_scheduler_type": "constant_with_warmup",
    "warmup_steps": 3,
    "temperature": 1.0,
    "max_completion_length": 8,
    "loss_type": "dr_grpo",
    "adam_beta2": 0.99,
    "max_grad_norm": 1.0,
}
LOGGED = ("step", "reward", "kl", "clip_ratio/region_mean", "grad_norm")


def problems(options: dict, split: str):
    """Return word problems of one split."""
    return load_problems("stories", split, **options)


def answered(model, tokenizer, asked, drawn: str | None, seed: int) -> str:
    """Return which problems a model answers right, 1 or 0 each, writing the likeliest token."""
    model.eval()
    thoughts = {"seed": seed, "latent_do_sample_by": drawn} if drawn else None
    given = generate_answers(
        model, tokenizer, asked, LATENTS, model.config.template, batch_size=100, max_new_tokens=8, thoughts=thoughts
    )
    return "".join("01"[answer.correct] for answer in given)


def tested(model, tokenizer, asked, policy: str, seed: int) -> dict[str, str]:
    """Return what is right with the model's own thoughts and, where a policy draws any, with drawn ones."""
    found = {"own": answered(model, tokenizer, asked, None, seed)}
    if policy != "deterministic":
        found["drawn"] = answered(model, tokenizer, asked, policy, seed)
    return found


def start(args: argparse.Namespace, policy: str, folder: Path) -> Path:
    """Return the folder of the model that a policy starts from."""
    feedback, options, _ = POLICIES[policy]
    place = folder / f"start-{args.model.name}-{feedback}-{args.seed}"
    if not place.is_dir():
        thought = {"feedback": feedback, "feedback_options": options, "num_latents": LATENTS}
        copied(args.model, place, dtype=torch.float32, **thought)
    return place


def run(args: argparse.Namespace, policy: str, folder: Path, options: dict) -> dict:
    """Train with one policy and test, or return what an earlier call has left."""
    kept = folder / f"{args.model.name}-{policy}-{args.seed}.json"
    if kept.is_file():
        return json.loads(kept.read_text(encoding="utf-8"))
    place = start(args, policy, folder)
    asked = as_problems(problems(options, "test").select(range(TEST)))
    model, tokenizer = load_saved(str(place))
    before = tested(model.bfloat16(), tokenizer, asked, policy, args.seed)
    print(policy, "before:", {name: share(own) for name, own in before.items()}, flush=True)
    model, tokenizer = load_saved(str(place))
    set_seed(args.seed)
    settings = {**QUIET, **SETTINGS, "bf16": True, "logging_steps": 1, "seed": args.seed}
    trainer = LatentGRPOTrainer(
        model,
        args=LatentGRPOConfig(str(folder / "rl"), policy=policy, policy_options=POLICIES[policy][2], **settings),
        train_dataset=problems(options, "train"),
        processing_class=tokenizer,
    )
    trainer.remove_callback(PrinterCallback)
    began = clocks()
    trainer.train()
    wall, processor = (now - then for now, then in zip(clocks(), began, strict=True))
    shutil.rmtree(folder / "rl", ignore_errors=True)
    after = tested(model.bfloat16(), tokenizer, asked, policy, args.seed)
    print(policy, "after:", {name: share(own) for name, own in after.items()}, f"{wall:.0f} s", flush=True)
    outcome = {"before": before, "after": after, "seconds": round(wall, 1), "processor_seconds": round(processor, 1)}
    outcome["log"] = [{name: one[name] for name in LOGGED if name in one} for one in trainer.state.log_history[:-1]]
    outcome["git_commit"] = environment()["git_commit"]
    write_json(str(kept), outcome)
    return outcome


def row(policy: str, outcome: dict) -> dict:
    """Return a row of the record."""
    right = {when: [one == "1" for one in outcome[when]["own"]] for when in ("before", "after")}
    found = {"feedback": POLICIES[policy][0], "gain": mcnemar(right["after"], right["before"])}
    for when, own in right.items():
        found[when], found[f"{when}_stderr"] = mean_and_error(own)
    if "drawn" in outcome["before"]:
        found["drawn"] = {when: share(outcome[when]["drawn"]) for when in ("before", "after")}
    rewards = [one["reward"] for one in outcome["log"]]
    found["rewards"] = [round(mean(rewards[start : start + 5]), 3) for start in range(0, len(rewards), 5)]
    return {**found, **{name: outcome[name] for name in ("seconds", "processor_seconds", "git_commit")}}


def main() -> None:
    """Run what is missing and write results/pretrained/policies.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--policies", nargs="+", choices=POLICIES, default=list(POLICIES))
    parser.add_argument("--model", type=Path, help="the CoT checkpoint; by default that of benchmarks/pretrained.py")
    parser.add_argument("--runs", default="runs/policies")
    args = parser.parse_args()
    args.model = args.model or ROOT / "runs" / "pretrained" / "stories" / f"cot-{args.seed}"
    if not (args.model / "config.json").is_file():
        parser.error(
            f"--model {args.model} is no saved model; train it with benchmarks/pretrained.py, or give another folder"
        )
    torch.set_num_threads(1)
    folder = Path(args.runs)
    folder.mkdir(parents=True, exist_ok=True)
    recipe = ROOT / "recipes" / "smollm2" / "stories-cot.yaml"
    options = yaml.safe_load(recipe.read_text(encoding="utf-8"))["dataset_options"]
    outcomes = {}
    for policy in args.policies:
        outcomes[policy] = run(args, policy, folder, options)
        rows = {name: row(name, one) for name, one in outcomes.items()}  # those that were asked for, and no others
        for name, own in rows.items():
            if name != "deterministic" and "deterministic" in outcomes:
                pair = [[one == "1" for one in outcomes[key]["after"]["own"]] for key in (name, "deterministic")]
                own["against_deterministic"] = mcnemar(*pair)
        config = {"settings": SETTINGS, "policies": POLICIES, "latents": LATENTS, "test_problems": TEST, "seed": args.seed}
        config["model"] = args.model.name
        path = ROOT / "results" / "pretrained" / "policies.json"
        write_record(str(path), {"rows": rows}, config, problems=as_problems(problems(options, "test").select(range(TEST))))


if __name__ == "__main__":
    main()
