"""Published methods on a pretrained model: trains and tests the recipes of recipes/smollm2, one after another.

Run: python benchmarks/pretrained.py TASK [--seeds 0] [--methods cot no-cot ...]; `make pretrained` puts the model there.
A finished run is kept in runs/pretrained and not repeated, and a killed one goes on from its last checkpoint and its last
answer. Training and testing have a process each. A recipe that starts from the output of another one starts from that
method's run of the same seed. results/pretrained/TASK.json is rewritten after every run; rows whose runs are not in
runs/pretrained stay in it as long as their recipe is what it was.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
import yaml
from transformers import AutoTokenizer

from latent_trainer import LatentForCausalLM
from latent_trainer.cli import main as latent_trainer
from latent_trainer.evaluation.record import write_record

ROOT = Path(__file__).resolve().parents[1]
# In the order they run: what others start from or are compared with comes first.
METHODS = (
    *("cot", "cot-after-cot", "no-cot-after-cot", "pause-after-cot", "no-cot", "pause"),
    *("soft-thinking", "coconut", "codi", "sim-cot", "pccot", "answer-only", "soft"),
    *("lotus", "mux", "kava", "colar", "coconut-mixed", "lt-tuning"),
)
BASELINES = ("no-cot", "pause", "no-cot-after-cot", "pause-after-cot", "cot-after-cot")
UNCONTROLLED = ("cot", *BASELINES)  # no latents, or latents that are the same for every problem
DATA = ("dataset", "dataset_options", "dataset_seed")  # what a recipe says of the data, at a test, too
FILES = ("dataset_path", "dataset_test_path")
SHORT = ("accuracy", "accuracy_stderr", "accuracy_flexible", "invalid", "problems", "tokens_written", "latents", "dropped")
ANOTHER_ORDER = (
    1000  # to the seed of a run that goes on from another one, which has read the problems in the order of its own
)
CURVE = ("step", "stage", "eval_accuracy", "eval_accuracy_stderr", "eval_loss")
TESTS = ("problems", "difference", "difference_stderr", "only_first", "only_second", "p_value")


class Run:
    """One method at one seed.

    Args:
        args: the command line.
        method: the recipe TASK-METHOD.yaml.
        seed: of order and of what is drawn; the data stay the same.
    """

    def __init__(self, args: argparse.Namespace, method: str, seed: int):
        self.args, self.method, self.seed, self.name = args, method, seed, f"{method}-{seed}"
        self.recipe = Path(args.recipes) / f"{args.task}-{method}.yaml"
        self.settings = yaml.safe_load(self.recipe.read_text(encoding="utf-8"))
        self.files = [f"--{name}={getattr(args, name)}" for name in FILES if getattr(args, name)]
        self.place = Path(args.runs) / args.task
        self.folder = self.place / self.name
        self.tested = self.folder / "bfloat16"  # where training passes are in it, so are those of the test
        self.record = self.place / "records" / f"{self.name}.json"
        self.controls = self.place / "records" / f"{self.name}-controls.json"
        self.cost = self.place / "records" / f"{self.name}-cost.json"

    @property
    def answered(self) -> bool:
        """Whether the model is trained and has answered the test problems."""
        return self.record.is_file()

    @property
    def controlled(self) -> bool:
        """Whether it has also answered with other latents, where it has any that can be changed."""
        return self.controls.is_file() or self.method in UNCONTROLLED

    @property
    def start(self) -> Path | None:
        """The run it goes on from, where its recipe names the output of another recipe."""
        start = Path(self.settings.get("model_name_or_path", ""))
        if start.parts[:1] != ("runs",):
            return None
        return self.place / f"{start.name.removeprefix(f'{self.args.task}-')}-{self.seed}"

    @property
    def untrained(self) -> bool:
        """Whether the run it goes on from is asked as it is, to think in soft tokens."""
        return self.settings["method"] == "soft_thinking"

    def answer(self) -> None:
        """Train and answer the test problems, as far as that is missing."""
        if not self.untrained and not (self.folder / "eval_results.json").is_file():
            self.train()
        self.evaluate(self.record, self.args.problems, [])
        self.tidy()

    def control(self) -> None:
        """Answer the first test problems with other latents."""
        self.evaluate(self.controls, self.args.control_problems, ["--controls", "all"])
        self.tidy()

    def tidy(self) -> None:
        """Remove what nobody needs any more."""
        for leftover in (*self.folder.glob("checkpoint-*"), self.tested):
            shutil.rmtree(leftover, ignore_errors=True)

    def train(self) -> None:
        """Train from the start or from the last checkpoint; keep the settings, the most memory and all seconds."""
        words = ["--config", str(self.recipe), "--output_dir", str(self.folder), *self.files]
        words += ["--seed", str(self.seed + ANOTHER_ORDER if self.start else self.seed)]
        if self.start:
            words += ["--model_name_or_path", str(self.start)]
        if list(self.folder.glob("checkpoint-*")):
            words += ["--resume_from_checkpoint", "true"]
        before = json.loads(self.cost.read_text(encoding="utf-8")) if self.cost.is_file() else {}
        began = time.time()
        memory = process("train", words)
        cost = {
            "train_peak_memory_gb": max(memory, before.get("train_peak_memory_gb", 0)),
            "train_process_seconds": round(time.time() - began + before.get("train_process_seconds", 0), 1),
            "settings": self.settings,
        }
        self.cost.parent.mkdir(parents=True, exist_ok=True)
        self.cost.write_text(json.dumps(cost), encoding="utf-8")

    def evaluate(self, record: Path, problems: int, words: list[str]) -> None:
        """Answer the first test problems; those answered before a kill are not answered again."""
        for name in DATA:
            if name in self.settings:
                value = self.settings[name]
                words = [*words, f"--{name}", json.dumps(value) if isinstance(value, dict) else str(value)]
        words = [*words, *self.files, "--max_eval_problems", str(problems), "--batch_size", str(self.args.batch_size)]
        if self.untrained and not self.tested.is_dir():
            thought = {"feedback": "soft", "num_latents": self.settings["num_latents"]}
            copied(self.start, self.tested, **thought)
        elif self.settings.get("bf16") and not self.tested.is_dir():
            copied(self.folder, self.tested)
        model = self.tested if self.tested.is_dir() else self.folder
        process("evaluate", ["--model", str(model), "--output", str(record), *words])

    def row(self) -> dict:
        """Return what the run has come to."""
        record = read(self.record)
        row = {name: record[name] for name in SHORT} | {"settings": self.settings, "steps": 0, "curve": [], "loss": []}
        row |= {"seconds_a_problem": record["seconds_per_problem"], "test_peak_memory_gb": record["peak_memory_gb"]}
        if len(self.settings.get("dataset_options", {}).get("families", ())) > 1:
            row["by_family"] = record["by_family"]
        row |= read(self.cost) if self.cost.is_file() else {}
        if not self.untrained:
            row |= self.training()
        if self.controls.is_file():
            row["controls"] = read(self.controls)["controls"]
            row["controls_intact"] = read(self.controls)["accuracy"]
        return row

    def training(self) -> dict:
        """Return how the training went."""
        state = read(self.folder / "trainer_state.json")
        steps, log = state["global_step"], state["log_history"]
        last = {**read(self.folder / "eval_results.json"), "step": steps}  # measured after the state was saved
        points = [entry for entry in log if "eval_accuracy" in entry and entry["step"] < steps] + [last]
        return {
            "steps": steps,
            "seconds_a_step": round(read(self.folder / "train_results.json")["train_runtime"] / steps, 2),
            "curve": [{name.removeprefix("eval_"): point[name] for name in CURVE if name in point} for point in points],
            "loss": [[entry["step"], entry["loss"]] for entry in log if "loss" in entry],
        }


def read(path: Path) -> dict:
    """Return a JSON file's content."""
    return json.loads(path.read_text(encoding="utf-8"))


def copied(folder: Path, copy: Path, dtype: torch.dtype = torch.bfloat16, **changes) -> None:
    """Save a model and its tokenizer once more, weights in another precision; ``changes`` to its settings make it think."""
    model = LatentForCausalLM.from_pretrained(folder, dtype=dtype, **changes)
    if changes:
        model.config.template = {**model.config.template, "markers": False}
    partial = copy.with_suffix(".partial")
    model.save_pretrained(partial)
    AutoTokenizer.from_pretrained(folder).save_pretrained(partial)
    partial.rename(copy)


def process(command: str, words: list[str]) -> float:
    """Run a command of latent-trainer in a process of its own, and return the most memory it held, in GB.

    Raises:
        SystemExit: it has failed; with its status.
    """
    child = subprocess.Popen([sys.executable, "-m", "latent_trainer", command, *words])
    try:
        _, status, usage = os.wait4(child.pid, 0)
    except BaseException:  # it saves a checkpoint
        child.terminate()
        child.wait()
        raise
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(child.returncode)
    return round(usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9, 2)  # bytes there, kilobytes elsewhere


def compared(runs: list[Run]) -> list[dict]:
    """Return McNemar's test of every run against the baselines of its seed, over the same test problems."""
    tests = []
    for seed in sorted({run.seed for run in runs}):
        own = [run for run in runs if run.seed == seed]
        own.sort(key=lambda run: BASELINES.index(run.method) if run.method in BASELINES else -1)
        if len(own) < 2:
            continue
        output = own[0].place / f"compared-{seed}"
        latent_trainer("compare", [*(str(run.record) for run in own), "--output", str(output)])
        names = [f"{method}-{seed}" for method in BASELINES]
        tests += [
            {"run": test["first"], "baseline": test["second"], **{name: test[name] for name in TESTS}}
            for test in read(output.with_suffix(".json"))["tests"]
            if test["second"] in names
        ]
    return tests


def write(args: argparse.Namespace) -> None:
    """Write the record of all finished runs, those of earlier calls too."""
    methods = [method for method in METHODS if (Path(args.recipes) / f"{args.task}-{method}.yaml").is_file()]
    seeds = sorted(
        {
            int(path.stem.split("-")[-1])
            for path in (Path(args.runs) / args.task / "records").glob("*-[0-9]*.json")
            if path.stem.split("-")[-1].isdigit()
        }
    )
    runs = [run for seed in seeds for method in methods if (run := Run(args, method, seed)).answered]
    config = {"task": args.task, "problems": args.problems, "control_problems": args.control_problems}
    path = Path(args.results) / f"{args.task}.json"
    rows, tests = kept(args, path, {run.name for run in runs}) if path.is_file() else ({}, [])
    record = {"rows": {**rows, **{run.name: run.row() for run in runs}}, "tests": [*tests, *compared(runs)]}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_record(str(path), record, config)


def kept(args: argparse.Namespace, path: Path, again: set[str]) -> tuple[dict, list[dict]]:
    """Return the rows and tests of a record whose runs are somewhere else; ``again``: names of the runs that are here."""
    record, rows = read(path), {}
    for name, row in record["rows"].items():
        method, _, seed = name.rpartition("-")
        if name in again:
            continue
        recipe = Path(args.recipes) / f"{args.task}-{method}.yaml"
        if recipe.is_file() and Run(args, method, int(seed)).settings == row["settings"]:
            rows[name] = row
        else:
            print(f"{name} is taken out of {path}: its recipe has changed", flush=True)
    return rows, [test for test in record["tests"] if test["run"] in rows and test["baseline"] in rows]


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", help="first word of the recipes' names: stories, combinatorics, convex, gsm8k or prosqa")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--methods", nargs="+", choices=METHODS, help="by default all that have a recipe")
    parser.add_argument("--problems", type=int, default=500, help="test problems")
    parser.add_argument("--control_problems", type=int, default=200, help="test problems answered with other latents")
    parser.add_argument("--batch_size", type=int, default=100, help="test problems at once")
    for name in FILES:
        parser.add_argument(f"--{name}", help="as in `latent-trainer train`, for gsm8k")
    parser.add_argument("--recipes", default=str(ROOT / "recipes" / "smollm2"))
    parser.add_argument("--runs", default="runs/pretrained")
    parser.add_argument("--results", default="results/pretrained")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    recipes = [method for method in METHODS if (Path(args.recipes) / f"{args.task}-{method}.yaml").is_file()]
    if not recipes:
        parser.error(
            f"task '{args.task}' has no recipe in {args.recipes}; give stories, combinatorics, convex, gsm8k or prosqa"
        )
    missing = [method for method in args.methods or () if method not in recipes]
    if missing:
        parser.error(f"{', '.join(missing)} of {args.task} has no recipe in {args.recipes}; leave it out or write one")
    recipes = args.methods or recipes
    runs = [Run(args, method, seed) for seed in args.seeds for method in recipes]
    for run in runs:
        if not run.answered:
            print(f"{run.name} of {args.task}", flush=True)
            run.answer()
            write(args)
    for run in runs:  # the table first
        if not run.controlled:
            print(f"controls of {run.name} of {args.task}", flush=True)
            run.control()
            write(args)
    write(args)


if __name__ == "__main__":
    main()
