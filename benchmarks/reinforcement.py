"""What reinforcement learning adds to half-trained latent models of the demonstration, beside two controls, over seeds.

Run: python benchmarks/reinforcement.py [--seeds 0 1 2] [--arms "deterministic, rewarded" ...], one core.

A start is the demonstration's own model, on its own recipe, stopped as soon as its six latents answer `BAR` of the
validation problems. From it every arm takes the same number of steps, of as many answers to the same problems: *rewarded*
for right answers; *own answers*, supervised on the right ones among answers that the start has given; and *shuffled*,
rewarded as often, but the rewards of a prompt's answers change places. Settings were chosen with seed 0, as docs/log.md
says. The test split is read once before and once after a run. Finished runs are kept in runs/reinforcement and not
repeated.
"""

import argparse
import contextlib
import json
import random
import time
from pathlib import Path
from statistics import mean, stdev

import torch
from transformers import PrinterCallback, TrainerCallback, set_seed

from latent_trainer import bundled
from latent_trainer.cli.build import load_saved
from latent_trainer.cli.train import make_trainer
from latent_trainer.data import as_problems, load_problems
from latent_trainer.data.template import resolve_template
from latent_trainer.evaluation.generation import generate_answers
from latent_trainer.evaluation.record import environment, write_record
from latent_trainer.evaluation.statistics import mcnemar
from latent_trainer.rl import LatentGRPOConfig, LatentGRPOTrainer
from latent_trainer.rl.rewards import build_rewards
from latent_trainer.whole_files import write_json

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "results" / "reinforcement.json"
OPERATIONS, LATENTS, TEST, VALIDATION = 6, 6, 1000, 400
BAR, FIRST_LOOK, LOOK = 0.45, 100, 10  # when a start is stopped: from which step on, and how often, somebody looks
STARTS = {"hidden": [], "soft": ["--feedback", "soft", "--feedback_options", "{}"]}
POLICIES = {"deterministic": "hidden", "multiplex": "soft"}
TEACHING = ("rewarded", "own answers", "shuffled")
ARMS = {f"{policy}, {teaching}": (policy, teaching) for policy in POLICIES for teaching in TEACHING}
SETTINGS = {
    "num_generations": 8,
    "per_device_train_batch_size": 128,
    "lr_scheduler_type": "constant_with_warmup",
    "warmup_steps": 5,
    "temperature": 1.0,
    "max_completion_length": 4,
    "loss_type": "dr_grpo",
    "adam_beta2": 0.99,
    "max_grad_norm": 1.0,
}
RATES = {"deterministic": 3e-5, "multiplex": 1e-4}  # learning rates
STEPS = {"deterministic": 100, "multiplex": 200}
QUIET = {"report_to": "none", "disable_tqdm": True, "logging_steps": 10, "save_strategy": "no", "use_cpu": True}
QUIET |= {"bf16": False, "gradient_checkpointing": False}
EVERY = 25  # steps between two points of a curve


class Stop(TrainerCallback):
    """Stop a start when it is half trained."""

    def __init__(self, trainer):
        self.trainer, self.problems = trainer, problems("validation")

    def on_step_end(self, args, state, control, **kwargs):
        """Look at the validation problems, and stop."""
        if state.global_step >= FIRST_LOOK and state.global_step % LOOK == 0:
            right = answers(self.trainer.model, self.trainer.processing_class, self.problems)
            print(f"  start, step {state.global_step}: validation {mean(right):.3f}", flush=True)
            control.should_training_stop = mean(right) >= BAR


class Curve(TrainerCallback):
    """Look at the validation problems every so many steps.

    ``points`` holds step, accuracy, and the seconds trained so far: of the clock, and of this process's processors.
    """

    def __init__(self, model, tokenizer):
        self.model, self.tokenizer, self.problems = model, tokenizer, problems("validation")
        self.points, self.spent = [], [0.0, 0.0]

    def on_train_begin(self, args, state, control, **kwargs):
        """Start the clock, and take the first point."""
        self.began = clocks()
        self._look(0)

    def on_step_end(self, args, state, control, **kwargs):
        """Take a point."""
        if state.global_step % EVERY == 0:
            self._look(state.global_step)

    def _look(self, step: int) -> None:
        self.spent = [spent + now - began for spent, now, began in zip(self.spent, clocks(), self.began, strict=True)]
        right = answers(self.model, self.tokenizer, self.problems)
        wall, processor = (round(one, 1) for one in self.spent)
        self.points.append({"step": step, "seconds": wall, "processor_seconds": processor, "accuracy": mean(right)})
        print(f"  step {step:4}  {wall:6.1f} s  validation {mean(right):.3f}", flush=True)
        self.began = clocks()  # looking is no training


def clocks() -> tuple[float, float]:
    """Return seconds of the clock and of this process's processors."""
    return time.perf_counter(), time.process_time()


class Taught:
    """The reward for right answers; ``shuffled`` gives it to the answers to a prompt in another order.

    Args:
        reward: for right answers.
        teaching: one of ``TEACHING``.
        seed: of the order.
    """

    __name__ = "correct"

    def __init__(self, reward, teaching: str, seed: int):
        self.reward, self.shuffled, self.rng = reward, teaching == "shuffled", random.Random(seed)

    def __call__(self, completion_ids, **columns) -> list[float]:
        """Return N rewards, and keep what was right."""
        self.right = self.reward(completion_ids, **columns)
        if not self.shuffled:
            return self.right
        group = columns["group_size"][0]
        groups = [self.right[start : start + group] for start in range(0, len(self.right), group)]
        return [one for own in groups for one in self.rng.sample(own, len(own))]


class OwnAnswers(LatentGRPOTrainer):
    """Supervised training on the right answers that the start has given, thoughts included: each of them counts alike."""

    taught: "Taught"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.start = {name: value.clone() for name, value in self.model.state_dict().items()}

    def _generate_single_turn(self, *args, **kwargs):
        with self._as_it_was():
            return super()._generate_single_turn(*args, **kwargs)

    @contextlib.contextmanager
    def _as_it_was(self):
        now = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.model.load_state_dict(self.start)
        yield
        self.model.load_state_dict(now)

    def _generate_and_score_completions(self, inputs):
        batch = super()._generate_and_score_completions(inputs)
        right = batch["advantages"].new_tensor(self.taught.right)
        return {**batch, "advantages": right / right.mean().clamp(min=1 / len(right))}


def of_policy(policy: str) -> dict:
    """Return the settings of a policy's arms."""
    return {**SETTINGS, "learning_rate": RATES[policy], "max_steps": STEPS[policy]}


def problems(split: str, size: int | None = None):
    """Return problems of the demonstration."""
    size = {"validation": VALIDATION, "test": TEST}[split] if size is None else size
    return as_problems(load_problems("arithmetic", split, size=size, operations=OPERATIONS))


def answers(model, tokenizer, asked, **options) -> list[bool]:
    """Return which problems a model answers right, writing the likeliest token."""
    given = generate_answers(
        model, tokenizer, asked, LATENTS, model.config.template or "plain", batch_size=250, max_new_tokens=12, **options
    )
    return [answer.correct for answer in given]


def start(feedback: str, seed: int, folder: Path) -> str:
    """Train a start, or return the folder of the one that is there."""
    place = folder / f"start-{feedback}-{seed}"
    if (place / "done").is_file():
        return str(place)
    argv = ["--config", str(bundled.files()["tiny/demo/latent"]), *STARTS[feedback], "--seed", str(seed)]
    argv += ["--output_dir", str(place), "--eval_strategy", "no", "--disable_tqdm", "true", "--log_level", "error"]
    trainer, _ = make_trainer(argv)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Stop(trainer))
    trainer.train()
    trainer.save_model()
    (place / "done").write_text(str(trainer.state.global_step), encoding="utf-8")
    return str(place)


def run(arm: str, seed: int, folder: Path) -> dict:
    """Train one arm and test it, or return what an earlier call has left."""
    kept = folder / f"{arm.replace(', ', '-').replace(' ', '-')}-{seed}.json"
    if kept.is_file():
        return json.loads(kept.read_text(encoding="utf-8"))
    policy, teaching = ARMS[arm]
    model, tokenizer = load_saved(start(POLICIES[policy], seed, folder))
    model.config.num_latents = LATENTS  # its last stage may have had fewer
    before = tested(model, tokenizer, policy, seed)
    set_seed(seed)
    args = LatentGRPOConfig(str(folder / "rl"), policy=policy, seed=seed, **of_policy(policy), **QUIET)
    reward = Taught(build_rewards(["correct"], None, tokenizer, resolve_template(model.config.template))[0], teaching, seed)
    trainer = (OwnAnswers if teaching == "own answers" else LatentGRPOTrainer)(
        model,
        reward_funcs=reward,
        args=args,
        train_dataset=load_problems("arithmetic", "train", size=20_000, operations=OPERATIONS),
        processing_class=tokenizer,
    )
    trainer.taught = reward
    trainer.remove_callback(PrinterCallback)
    curve = Curve(model, tokenizer)
    trainer.add_callback(curve)
    trainer.train()
    outcome = {"before": before, "after": tested(model, tokenizer, policy, seed), "curve": curve.points}
    outcome["git_commit"] = environment()["git_commit"]
    write_json(str(kept), outcome)
    return outcome


def tested(model, tokenizer, policy: str, seed: int) -> dict[str, str]:
    """Return which test problems are right, 1 or 0 each: with the model's own thoughts and with drawn ones."""
    model.eval()
    found = {"own": answers(model, tokenizer, problems("test"))}
    if policy != "deterministic":
        found["drawn"] = answers(model, tokenizer, problems("test"), thoughts={"seed": seed, "latent_do_sample_by": policy})
    return {name: "".join("01"[one] for one in right) for name, right in found.items()}


def summary(outcomes: dict[int, dict]) -> dict:
    """Return what the seeds of an arm say together."""
    shares = {when: [share(one[when]["own"]) for one in outcomes.values()] for when in ("before", "after")}
    gains = [after - before for before, after in zip(shares["before"], shares["after"], strict=True)]
    row = {"seeds": list(outcomes), **shares, "gain": mean(gains), "gain_stderr": over_seeds(gains), "gains": gains}
    for name in ("seconds", "processor_seconds"):
        row[name] = [one["curve"][-1][name] for one in outcomes.values()]
    row["git_commits"] = [one["git_commit"] for one in outcomes.values()]
    row["curves"] = {str(seed): one["curve"] for seed, one in outcomes.items()}
    if all("drawn" in one["after"] for one in outcomes.values()):
        row["drawn"] = {when: [share(one[when]["drawn"]) for one in outcomes.values()] for when in ("before", "after")}
    return row


def share(right: str) -> float:
    """Return the share of ones."""
    return right.count("1") / len(right)


def over_seeds(values: list[float]) -> float | None:
    """Return the standard error of a mean over seeds; None of one alone."""
    return stdev(values) / len(values) ** 0.5 if len(values) > 1 else None


def paired(first: dict[int, dict], second: dict[int, dict]) -> dict:
    """Return the test of two arms over the test problems of every seed both have, problem by problem."""
    seeds = sorted(first.keys() & second.keys())
    rows = [[one == "1" for seed in seeds for one in arm[seed]["after"]["own"]] for arm in (first, second)]
    return {"seeds": seeds, **mcnemar(*rows)}


def written(found: dict[str, dict[int, dict]]) -> dict:
    """Write what has been found so far, and return its rows."""
    rows = {arm: summary(outcomes) for arm, outcomes in found.items() if outcomes}
    for policy in POLICIES:
        for control in TEACHING[1:]:
            both = f"{policy}, rewarded", f"{policy}, {control}"
            if all(found.get(arm) for arm in both):
                rows[both[0]].setdefault("against", {})[control] = paired(*(found[arm] for arm in both))
    config = {
        "settings": SETTINGS,
        "learning_rates": RATES,
        "steps": STEPS,
        "operations": OPERATIONS,
        "latents": LATENTS,
        "bar": BAR,
        "test_problems": TEST,
    }
    write_record(str(RECORD), {"rows": rows}, config, problems=problems("test"))
    return rows


def main() -> None:
    """Run what is missing and write results/reinforcement.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), metavar="ARM", help=", ".join(ARMS))
    parser.add_argument("--runs", default="runs/reinforcement")
    args = parser.parse_args()
    torch.set_num_threads(1)
    folder = Path(args.runs)
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[int, dict]] = {arm: {} for arm in args.arms}
    for seed in args.seeds:
        for arm in args.arms:
            print(f"{arm}, seed {seed}", flush=True)
            found[arm][seed] = run(arm, seed, folder)
            rows = written(found)
    for arm, row in rows.items():
        print(f"{arm:28} {100 * mean(row['before']):5.1f} % -> {100 * mean(row['after']):5.1f} %")


if __name__ == "__main__":
    main()
