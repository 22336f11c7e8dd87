"""``latent-trainer reproduce NAME``: train a recipe that follows a published run, test it, and compare the figures."""

import json
import math
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from latent_trainer import bundled
from latent_trainer.cli.arguments import parse
from latent_trainer.cli.config_file import read_config
from latent_trainer.cli.machine import lacking
from latent_trainer.errors import InputError, TrainingError, check_choice
from latent_trainer.methods.presets import METHODS
from latent_trainer.options import Positive, check_fields
from latent_trainer.whole_files import output_folder

TESTED_ON = {"gsm8k_aug": "gsm8k", "gsm8k_aug_nl": "gsm8k"}  # what papers report after training on these


@dataclass
class ReproduceArguments:
    """Which published run, and on what."""

    recipe: str = field(metadata={"help": "A recipe with a published figure, such as gsm8k/gpt2-coconut or gpt2-coconut."})
    dry_run: bool = field(default=False, metadata={"help": "Print what would be done, and what is published."})
    num_processes: Positive = field(
        default=1, metadata={"help": "Processes that train; the global batch stays as published."}
    )
    train_path: str | None = field(default=None, metadata={"help": "A local file of the training problems."})
    test_path: str | None = field(default=None, metadata={"help": "A local file of the test problems."})
    output: str = field(default="runs/reproduced", metadata={"help": "Folder of the records."})

    def __post_init__(self):
        check_fields(self)
        known = published_recipes()
        name = self.recipe.removeprefix("recipes/").removesuffix(".yaml")
        if name not in known and f"gsm8k/{name}" in known:
            name = f"gsm8k/{name}"
        check_choice("recipe", name, known)
        self.recipe = name
        if not self.dry_run:
            self.output = output_folder("output", self.output)


@dataclass(frozen=True)
class Training:
    """One run of the trainer.

    Args:
        recipe: name of the recipe.
        changes: options that replace the recipe's own.
        settings: the recipe with these changes.
    """

    recipe: str
    changes: dict
    settings: dict

    @property
    def folder(self) -> Path:
        """Where the model is saved."""
        return Path(self.settings["output_dir"])

    @property
    def thinks(self) -> bool:
        """Whether it has latents that depend on the problem, so that others can be put in their place."""
        feedback = {**METHODS[self.settings["method"]].defaults, **self.settings}.get("feedback", "learned")
        return feedback != "learned"

    def words(self, args: ReproduceArguments) -> list[str]:
        """Return the command that trains it, with the recipe's global batch on any number of processes.

        Raises:
            InputError: the global batch cannot be shared out evenly.
        """
        batch, own = global_batch(self.recipe, self.settings), int(self.settings["per_device_train_batch_size"])
        share, rest = divmod(batch, own * args.num_processes)
        if rest:
            own = math.gcd(batch // args.num_processes, own) if batch % args.num_processes == 0 else 0
            if not own:
                raise InputError(
                    f"num_processes={args.num_processes} does not divide the global batch of {batch}; take another"
                )
            share = batch // (own * args.num_processes)
        options = {**self.changes, "per_device_train_batch_size": own, "gradient_accumulation_steps": share}
        if args.train_path:
            options["dataset_path"] = args.train_path
        if list(self.folder.glob("checkpoint-*")):
            options["resume_from_checkpoint"] = "true"
        start = ["-m", "latent_trainer", "train"]
        if args.num_processes > 1:
            config = ["--config_file", str(bundled.files()["accelerate_configs/ddp"])]
            start = ["-m", "accelerate.commands.launch", *config, "--num_processes", str(args.num_processes), *start]
        recipe = str(bundled.files()[self.recipe])
        return [*start, "--config", recipe, *(word for name, value in options.items() for word in (f"--{name}", str(value)))]


def run(argv: list[str]) -> None:
    """Say what is published and what it takes; then train, test and compare."""
    words = ["--recipe", *argv] if argv and not argv[0].startswith("-") else argv
    (args,) = parse("reproduce", (ReproduceArguments,), words)
    published = published_recipes()[args.recipe]
    trainings = list(chain(args.recipe))
    record = Path(args.output) / f"{args.recipe.replace('/', '-').removeprefix('gsm8k-')}.json"
    tested = TESTED_ON.get(trainings[-1].settings["dataset"], trainings[-1].settings["dataset"])
    for line in about(published, trainings):
        print(line)
    headers = [bundled.files()[training.recipe].read_text(encoding="utf-8") for training in trainings]
    files = {training.settings["dataset"]: args.train_path for training in trainings} | {tested: args.test_path}
    for line in lacking(headers, str(trainings[0].settings["model_name_or_path"]), files):
        print(f"this machine lacks {line}")
    for training in trainings:
        command = training.words(args)
        print(f"train: python {shlex.join(command)}", flush=True)
        if not args.dry_run and not (training.folder / "train_results.json").is_file():
            _process(command)
    command = ["-m", "latent_trainer", "evaluate", "--model", str(trainings[-1].folder), "--dataset", tested]
    command += ["--dataset_test_path", args.test_path] if args.test_path else []
    command += ["--output", str(record), *(["--controls", "all"] if trainings[-1].thinks else [])]
    print(f"test: python {shlex.join(command)}", flush=True)
    if args.dry_run:
        return
    _process(command)
    print(comparison(published, json.loads(record.read_text(encoding="utf-8"))))


def published_recipes() -> dict[str, dict]:
    """Return what is published of every bundled recipe that follows a published run, by its name."""
    found = {}
    for name, path in bundled.files().items():
        if "\npublished:" in path.read_text(encoding="utf-8"):  # most have no such block, and reading YAML takes its time
            found[name] = read_config(str(path))["published"]
    return found


def chain(recipe: str, changes: dict | None = None) -> Iterator[Training]:
    """Yield the runs that lead to a recipe's model: those that others start from come first.

    Args:
        recipe: its name.
        changes: options that replace its own.
    """
    settings = read_config(str(bundled.files()[recipe])) | (changes or {})
    start = dict(settings.get("published", {}).get("start", {}))
    before = start.pop("recipe", None)
    name = str(settings["model_name_or_path"])
    if before is None and name.startswith("runs/"):
        before = name.removeprefix("runs/")
    if before is not None:
        yield from chain(before, start)
    yield Training(recipe, changes or {}, settings)


def global_batch(recipe: str, settings: dict) -> int:
    """Return the problems of an optimizer step on as many processes as the recipe's launch line starts."""
    launch = re.search(
        r"^# Launch: .*--num_processes (\d+)", bundled.files()[recipe].read_text(encoding="utf-8"), re.MULTILINE
    )
    processes = int(launch[1]) if launch else 1
    own, share = settings["per_device_train_batch_size"], settings.get("gradient_accumulation_steps", 1)
    return int(own) * int(share) * processes


def about(published: dict, trainings: list[Training]) -> Iterator[str]:
    """Yield lines on a published run: its figure, where it comes from, what differs here, and what it costs."""
    yield f"published: {published['figure']}"
    yield f"source: {published['source']} at {published['commit']}"
    yield f"data: {published['data']}"
    for stage, figure in published.get("stages", {}).items():
        yield f"expected of stage {stage}: {figure}"
    for name, reason in published.get("deviations", {}).items():
        yield f"differs: {name} ({reason})"
    for name, reason in published.get("unread", {}).items():
        yield f"not known: {name} ({reason})"
    for training in trainings:
        batch, epochs = global_batch(training.recipe, training.settings), int(training.settings["num_train_epochs"])
        steps = math.ceil(published["problems"] / batch) * epochs
        yield f"cost of {training.recipe}: {epochs} epochs, {steps:,} optimizer steps of {batch} problems"


def comparison(published: dict, record: dict) -> str:
    """Return a line that holds a test's accuracy against the published one."""
    own, error = 100 * record["accuracy"], 100 * record["accuracy_stderr"]
    if "accuracy" not in published:
        return f"trained: {own:.1f} +- {error:.1f} %; no published figure was read ({published['unread']['accuracy']})"
    theirs, their_error = published["accuracy"], published.get("accuracy_stderr", 0.0)
    both = math.hypot(error, their_error)
    line = f"reproduced: {own:.1f} +- {error:.1f} %, published: {theirs:.1f}"
    line += f" +- {their_error:.1f} %" if their_error else " %"
    return f"{line}, {own - theirs:+.1f} points" + (f", {(own - theirs) / both:+.1f} standard errors" if both else "")


def _process(words: list[str]) -> None:
    """Run a command of Python and wait for it.

    Raises:
        TrainingError: it has failed; it has said why.
    """
    status = subprocess.run([sys.executable, *words], check=False).returncode
    if status:
        raise TrainingError(f"the command above ended with status {status}; run reproduce again to go on where it stopped")
