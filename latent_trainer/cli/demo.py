"""``latent-trainer demo``: the same tiny model trained four ways with the same budget, what came of it, and an audit."""

import json
import multiprocessing
import os
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from transformers import PrinterCallback, TrainerCallback
from transformers.utils.logging import disable_progress_bar

from latent_trainer import bundled
from latent_trainer.analysis.figures import learning_curves
from latent_trainer.analysis.lens import nearest_tokens
from latent_trainer.cli import audit
from latent_trainer.cli.arguments import parse
from latent_trainer.cli.build import load_saved
from latent_trainer.cli.train import make_trainer
from latent_trainer.data import as_problems, encode_prompts, load_problems
from latent_trainer.errors import InputError
from latent_trainer.evaluation.generation import generate_answers
from latent_trainer.evaluation.record import write_record
from latent_trainer.evaluation.summary import summarise
from latent_trainer.options import Positive, Seed, check_fields
from latent_trainer.training.run_lock import LOCK
from latent_trainer.training.saving import locked
from latent_trainer.whole_files import output_file, output_folder, record_file

METHODS = {"latent": "latents", "pause": "pause tokens", "no_cot": "no-CoT", "cot": "CoT (steps written)"}
STAGED, STAGES = ("latent", "pause"), 8  # the runs whose steps become latents one by one, and their stages
TEST_PROBLEMS, OPERATIONS = 1000, 6
SHOWN = 3


@dataclass
class DemoArguments:
    """Where the demonstration writes, and its seed."""

    output: str = field(
        default="results/demo.json", metadata={"help": "Result record; the figure and the audit (NAME-audit) go beside it."}
    )
    runs: str = field(default="runs/demo", metadata={"help": "Folder of the four models; an earlier demo's are deleted."})
    seed: Seed = field(default=0, metadata={"help": "Seed of weights and order; data and splits stay the same."})
    max_steps: Positive | None = field(default=None, metadata={"help": "Train fewer steps, to try it out."})

    def __post_init__(self):
        check_fields(self)
        self.output = output_file("output", self.output, (".png", "-audit.figures"))
        record_file("output", self.output, ("methods", "versions"))
        record_file("output", self.audited, ("verdicts", "versions"))
        self.runs = output_folder("runs", self.runs)

    @property
    def audited(self) -> str:
        """The record of the audit."""
        return str(Path(self.output).with_name(f"{Path(self.output).stem}-audit.json"))


class Reporter(TrainerCallback):
    """Tell the parent process how far a run has come.

    ``queue`` takes (method, step, steps, accuracy so far); a process of the demonstration gets it when it starts.

    Args:
        method: name of the run.
    """

    queue = None

    def __init__(self, method: str):
        self.method = method
        self.accuracy = 0.0

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        """Remember the newest validation accuracy."""
        self.accuracy = metrics["eval_accuracy"]

    def on_step_end(self, args, state, control, **kwargs):
        """Report the step."""
        self.queue.put((self.method, state.global_step, state.max_steps, self.accuracy))


def run(argv: list[str]) -> None:
    """Train the four models, print the comparison and write record and figure."""
    (args,) = parse("demo", (DemoArguments,), argv)
    _refuse_other_files(Path(args.runs))
    console = Console()
    console.print(
        "Chains of six operations modulo ten, e.g. [bold]7 +3 x7 -5 x9 +1 x3[/bold]; the answer is the last value."
    )
    console.print("The same two-layer model, from scratch, the same steps and batches, four ways to think:\n")
    disable_progress_bar()  # of loading and saving; training has bars of its own
    began = time.time()
    with locked(args.runs, holds=True, doing="demo is running", option="runs"):
        for name in METHODS:
            shutil.rmtree(Path(args.runs) / name, ignore_errors=True)
        _compare(args, console, began)


def _refuse_other_files(runs: Path) -> None:
    """Raise an `InputError` where the folder of the models holds anything that no demo has left."""
    foreign = sorted(path.name for path in runs.glob("*") if path.name not in (*METHODS, LOCK))
    if foreign:
        raise InputError(f"runs={runs} holds more than an earlier demo ({foreign[0]}); name a folder of its own")


def _compare(args: DemoArguments, console: Console, began: float) -> None:
    """Train the four models and say what came of it."""
    outcomes = _train_all(args, console)
    record = {
        "methods": {name: outcome["test"] for name, outcome in outcomes.items()},
        "seconds": round(time.time() - began, 1),
    }
    figure = Path(args.output).with_suffix(".png")
    learning_curves(
        {METHODS[name]: outcome["history"] for name, outcome in outcomes.items()},
        figure,
        title=_finding(record["methods"]),
        stages_of=METHODS["latent"],
    )
    config = {**vars(args), "dataset": "arithmetic", "split": "test", "test_problems": TEST_PROBLEMS, "dataset_seed": 0}
    write_record(args.output, record, config, problems=_test_problems())
    console.print(_table(record["methods"]))
    _show_thoughts(Path(args.runs) / "latent", console)
    _audit(args)
    written = {"record": args.output, "figure": figure, "audit": args.audited, "models": f"{args.runs}/"}
    lines = "\n".join(f"{name:9}{place}" for name, place in written.items())
    console.print(f"\n{lines}\n{record['seconds']:.0f} seconds before the audit")


def _train_all(args: DemoArguments, console: Console) -> dict[str, dict]:
    """Train two models at a time, one core each, with a progress bar a model."""
    context = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
    if sys.platform == "linux":
        context.set_forkserver_preload([__name__])  # the imports are read once for all processes
    columns = TextColumn("{task.description:20}"), BarColumn(), TextColumn("{task.fields[state]:26}"), TimeElapsedColumn()
    queue = context.SimpleQueue()
    with (
        Progress(*columns, console=console) as progress,
        ProcessPoolExecutor(min(2, os.cpu_count() or 1), context, _report_to, (queue,)) as pool,
    ):
        bars = {name: progress.add_task(title, total=None, state="waiting") for name, title in METHODS.items()}
        futures = {name: pool.submit(train_one, name, _recipe(name, args)) for name in METHODS}
        while not all(future.done() for future in futures.values()) or not queue.empty():
            if queue.empty():
                time.sleep(0.1)
                continue
            name, step, steps, accuracy = queue.get()
            state = f"step {step}/{steps}  validation {accuracy:.2f}"
            progress.update(bars[name], completed=step, total=steps, state=state)
        return {name: future.result() for name, future in futures.items()}


def _report_to(queue) -> None:
    Reporter.queue = queue


def train_one(name: str, argv: list[str]) -> dict:
    """Train one model on one core; return its history, its seconds and its accuracy on the test problems.

    Args:
        name: what the run is called.
        argv: arguments of ``latent-trainer train``.
    """
    torch.set_num_threads(1)
    disable_progress_bar()
    trainer, _ = make_trainer([*argv, "--disable_tqdm", "true", "--log_level", "error"])
    trainer.remove_callback(PrinterCallback)
    if Reporter.queue is not None:
        trainer.add_callback(Reporter(name))
    began = time.time()
    trainer.train()
    seconds = time.time() - began
    trainer.save_model()
    answers = generate_answers(
        trainer.model,
        trainer.processing_class,
        _test_problems(),
        trainer.model.config.num_latents,
        trainer.batches.encoder.template,
        batch_size=250,
        max_new_tokens=trainer.args.max_new_tokens,
    )
    return {"history": trainer.state.log_history, "test": summarise(answers), "train_seconds": round(seconds, 1)}


def _recipe(name: str, args: DemoArguments) -> list[str]:
    """Return the arguments that train one of ``METHODS``."""
    argv = ["--config", str(bundled.files()[f"tiny/demo/{name.replace('_', '-')}"])]
    argv += ["--output_dir", f"{args.runs}/{name}", "--seed", str(args.seed)]
    if args.max_steps:
        argv += ["--max_steps", str(args.max_steps), "--eval_steps", str(args.max_steps)]
        if name in STAGED:
            stage = max(args.max_steps // STAGES, 1)
            argv += ["--steps_per_stage", str(stage), "--last_stage", str(min(args.max_steps, STAGES) - 1)]
    return argv


def _test_problems():
    return as_problems(load_problems("arithmetic", "test", size=TEST_PROBLEMS, operations=OPERATIONS))


def _finding(methods: dict[str, dict]) -> str:
    latent, none = methods["latent"]["accuracy"], methods["no_cot"]["accuracy"]
    return f"Six latents: {latent:.0%} of {TEST_PROBLEMS} test problems; without them: {none:.0%}"


def _table(methods: dict[str, dict]) -> Table:
    table = Table(title=f"{TEST_PROBLEMS} test problems, none seen in training")
    for heading in ("method", "accuracy", "tokens written", "latents", "ms per problem"):
        table.add_column(heading, justify="left" if heading == "method" else "right")
    for name, title in METHODS.items():
        row = methods[name]
        table.add_row(
            title,
            f"{100 * row['accuracy']:.1f} ± {100 * row['accuracy_stderr']:.1f} %",
            f"{row['tokens_written']:.1f}",
            f"{row['latents']:.0f}",
            f"{1000 * row['seconds_per_problem']:.2f}",
        )
    return table


def _audit(args: DemoArguments) -> None:
    """Audit the model with latents beside that with pause tokens; in short where little was trained."""
    answers = Path(args.audited).with_suffix(".answers")
    shutil.rmtree(answers, ignore_errors=True)  # of other models
    words = {
        "model": f"{args.runs}/latent",
        "pause_model": f"{args.runs}/pause",
        "dataset": "arithmetic",
        "dataset_options": json.dumps({"size": TEST_PROBLEMS, "operations": OPERATIONS}),
        "batch_size": 250,
        "report": Path(args.audited).with_suffix(".html"),
        **({"parts": "none"} if args.max_steps else {}),
    }
    audit.run([str(word) for name, value in words.items() for word in (f"--{name}", value)])
    shutil.rmtree(answers)  # the models are trained anew every time


def _show_thoughts(folder: Path, console: Console) -> None:
    """Print solved problems with the tokens nearest to each latent beside the step it stands for."""
    model, tokenizer = load_saved(str(folder))
    model.eval()
    problems = _test_problems()[:50]
    answers = generate_answers(model, tokenizer, problems, model.config.num_latents, model.config.template, 50, 12)
    solved = [problem for problem, answer in zip(problems, answers, strict=True) if answer.correct][:SHOWN]
    for problem in solved:
        batch = encode_prompts([problem.question], tokenizer, model.config.num_latents, model.config.template)
        nearest = nearest_tokens(model, batch["input_ids"], batch["attention_mask"])[0]
        table = Table(title=f"{problem.question} = {problem.answer}", title_justify="left")
        for heading in ("latent", "written step it replaces", "nearest vocabulary tokens (cosine)"):
            table.add_column(heading)
        for number, (step, tokens) in enumerate(zip(problem.steps, nearest, strict=False), 1):
            words = "   ".join(f"{tokenizer.convert_ids_to_tokens(token)} ({cosine:.2f})" for token, cosine in tokens)
            table.add_row(str(number), step, words)
        console.print(table)
    if not solved:
        console.print("no test problem of the first fifty was solved, so there is no thought to show")
