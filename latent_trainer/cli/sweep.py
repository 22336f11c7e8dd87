"""``latent-trainer sweep SWEEP.yaml``: runs of one recipe over axes, points or a search, on this machine or on Slurm."""

import hashlib
from dataclasses import dataclass, field, fields
from pathlib import Path

import torch
from optuna.exceptions import StorageInternalError
from rich.console import Console
from rich.live import Live
from rich.table import Table
from sqlalchemy.exc import SQLAlchemyError
from transformers import TrainerCallback

from latent_trainer.bundled import resolve
from latent_trainer.cli.arguments import DataArguments, ModelArguments, as_words, parse
from latent_trainer.cli.train import make_trainer
from latent_trainer.errors import InputError, TrainingError, check_choice, nearest
from latent_trainer.options import Count, Positive, Scale, Seed, check_fields, parse_json
from latent_trainer.plugins import loaded_files
from latent_trainer.sweep.launch import LocalLauncher, SlurmLauncher
from latent_trainer.sweep.loop import run_sweep
from latent_trainer.sweep.points import Run, Space
from latent_trainer.sweep.results import ranked, write_results
from latent_trainer.sweep.state import SweepState, open_study
from latent_trainer.training.saving import locked
from latent_trainer.training.training_args import LatentTrainingArguments
from latent_trainer.whole_files import output_folder, reason

GOALS = ("maximize", "minimize")


@dataclass
class SweepArguments:
    """What is tried, what decides, and where it runs."""

    base: str = field(metadata={"help": "Recipe every point starts from."})
    output_dir: str = field(metadata={"help": "Folder of the state, the runs, the logs and the results."})
    settings: dict | str | None = field(default=None, metadata={"help": "Options of every point, over the recipe's."})
    axes: dict | str | None = field(default=None, metadata={"help": "A grid: option -> list of values."})
    points: dict | str | None = field(default=None, metadata={"help": "Or a list of points: name -> options."})
    search: dict | str | None = field(
        default=None, metadata={"help": "Or a search by Optuna: option -> {low, high, log, step} or {choices}."}
    )
    trials: Positive = field(default=20, metadata={"help": "Points of a search."})
    seeds: list[Seed] = field(default_factory=lambda: [0], metadata={"help": "Every point is trained with each."})
    metric: str = field(default="eval_accuracy", metadata={"help": "What is compared, and what a search prunes on."})
    goal: str = field(default="maximize", metadata={"help": f"One of {', '.join(GOALS)}."})
    executor: str = field(default="local", metadata={"help": "local (processes of this machine) or slurm."})
    parallel: Positive | None = field(
        default=None, metadata={"help": "Points at a time; by default as many as fit, 64 on Slurm."}
    )
    cores: Positive = field(default=1, metadata={"help": "Processor cores of a point."})
    gpus: Count = field(default=0, metadata={"help": "GPUs of a point, on this machine."})
    memory_gb: Scale | None = field(default=None, metadata={"help": "Memory of a point, on this machine."})
    slurm: dict | str | None = field(
        default=None, metadata={"help": "Options of sbatch: account, partition, gres, time (minutes), mem_gb, qos, ..."}
    )

    def __post_init__(self):
        check_fields(self)
        self.output_dir = output_folder("output_dir", self.output_dir)
        for name in ("settings", "axes", "points", "search", "slurm"):
            if isinstance(getattr(self, name), str):
                setattr(self, name, parse_json(name, getattr(self, name)))
        check_choice("goal", self.goal, GOALS)
        check_choice("executor", self.executor, ("local", "slurm"))
        if self.slurm and self.executor == "local":
            raise InputError("slurm holds options of a cluster, but executor=local; set executor=slurm or leave slurm out")
        if self.executor == "slurm" and (self.gpus or self.memory_gb):
            raise InputError(
                "gpus and memory_gb divide this machine among points; with executor=slurm set gres and mem_gb under slurm"
            )
        self.space = Space(self.axes, self.points, self.search, self.trials, self.seeds)
        known = {one.name for kind in (ModelArguments, DataArguments, LatentTrainingArguments) for one in fields(kind)}
        for name in [*self.space.options, *(self.settings or {})]:
            if name not in known:
                raise InputError(f"a sweep sets '{name}', which train does not have{nearest(name, known)}")
            if name in ("output_dir", "seed", "resume_from_checkpoint"):
                raise InputError(f"a sweep sets {name} itself; leave it out" + "; use seeds" * (name == "seed"))


def run(argv: list[str]) -> None:
    """Run what is left of a sweep, show how far it is, and write its results."""
    argv = ["--config", *argv] if argv and not argv[0].startswith("-") else argv
    (args,) = parse("sweep", (SweepArguments,), argv)
    folder, base = Path(args.output_dir).resolve(), Path(resolve(args.base))
    if not base.is_file():
        raise FileNotFoundError(f"no recipe {args.base}; check base, or see latent-trainer recipes list")
    with locked(folder, holds=True, doing="sweep is running"):
        try:
            _go_on(args, folder, base)
        except (SQLAlchemyError, StorageInternalError) as error:
            why = reason(error.__cause__ or error)
            raise TrainingError(f"cannot keep the sweep's state in {folder}: {why}; run the same command again") from error


def _go_on(args: SweepArguments, folder: Path, base: Path) -> None:
    """Run what is left of a sweep in a folder that is this process's alone."""
    recipe = hashlib.sha256(base.read_bytes()).hexdigest()
    header = {"recipe": recipe, "settings": args.settings or {}, "metric": args.metric}
    state = SweepState(folder, args.space, header, args.goal)
    if args.executor == "slurm":
        launcher = SlurmLauncher(folder / "jobs", args.slurm or {}, args.parallel or 64)
    else:
        launcher = LocalLauncher(folder / "jobs", args.cores, args.gpus, args.memory_gb, args.parallel)
    common = {
        "base": str(base.resolve()),
        "common": args.settings or {},
        "metric": args.metric,
        "cores": args.cores if args.executor == "local" else None,
        "plugins": loaded_files(),
        "study": str(state.path) if args.search else None,
    }
    console = Console()

    def failed(attempt: Run, error: str, again: bool) -> None:
        then = "tried once more" if again else "given up"
        console.print(f"{_text(attempt)} failed, {then}: {error}\n  log {attempt.log}", soft_wrap=True, highlight=False)

    try:
        with Live(console=console, refresh_per_second=2, transient=True) as live:
            shown = lambda running: live.update(_progress(state, running))  # noqa: E731
            run_sweep(state, launcher, train_point, folder, common, shown, failed)
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on where it was")
        raise SystemExit(130) from None
    finally:
        written = write_results(state, folder, args.metric)
    console.print(_ranking(ranked(state), args))
    console.print("\n".join(map(str, written)), soft_wrap=True, highlight=False)


class PruneCallback(TrainerCallback):
    """Report the metric of every evaluation to the search, and stop the run where the search says so.

    Args:
        trial: the `optuna.Trial` of this run.
        metric: which metric.
    """

    def __init__(self, trial, metric: str):
        self.trial, self.metric, self.pruned = trial, metric, False
        self.known = set(trial.study.trials[trial.number].intermediate_values)

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        """Report, and stop where the value is worse than others' at this step; a resumed run reports no step twice."""
        if self.metric in metrics and state.global_step not in self.known:
            self.known.add(state.global_step)
            self.trial.report(metrics[self.metric], state.global_step)
            self.pruned = self.trial.should_prune()
            control.should_training_stop = self.pruned


def train_point(spec: dict) -> dict:
    """Train one point from where it was, save its model, and return its validation metrics.

    Args:
        spec: ``base`` recipe, ``common`` and own ``settings``, ``seed``, ``folder``, ``metric``, ``cores`` (threads; None
            leaves them), ``plugins`` (what the sweep was given), ``study`` (file of a search, or None) and ``trial_id``.

    Raises:
        optuna.TrialPruned: the search has stopped it.
        ValueError: training yields no such metric.
    """
    import optuna  # of the extra "sweep"

    if spec["cores"]:
        torch.set_num_threads(spec["cores"])
    folder = Path(spec["folder"])
    own = {**spec["common"], **spec["settings"], "seed": spec["seed"], "output_dir": str(folder / "model"), "do_eval": True}
    own |= {"resume_from_checkpoint": True, "disable_tqdm": True}
    plugins = [word for plugin in spec["plugins"] for word in ("--plugin", plugin)]
    trainer, resume = make_trainer(["--config", spec["base"], *plugins, *as_words(own)])
    callback = None
    if spec["study"]:
        trial = optuna.trial.Trial(open_study(Path(spec["study"])), spec["trial_id"])
        callback = PruneCallback(trial, spec["metric"])
        trainer.add_callback(callback)
    trainer.train(resume_from_checkpoint=resume)
    if callback and callback.pruned:
        raise optuna.TrialPruned(f"stopped at step {trainer.state.global_step}")
    metrics = trainer.evaluate()
    if spec["metric"] not in metrics:
        raise InputError(f"metric={spec['metric']} is not measured{nearest(spec['metric'], metrics)}")
    trainer.save_model()
    return {name: value for name, value in metrics.items() if isinstance(value, int | float)}


def _text(attempt: Run) -> str:
    settings = ", ".join(f"{name}={value}" for name, value in attempt.settings.items())
    return f"{settings}, seed {attempt.seed}"


def _progress(state: SweepState, running: list[Run]) -> Table:
    """Return the live table: how many points are where, and what runs."""
    trials = state.trials()
    done, pruned, failed = (sum(trial.state.name == name for trial in trials) for name in ("COMPLETE", "PRUNED", "FAIL"))
    title = f"{done} done, {len(running)} running, {state.left()} left, {pruned} pruned, {failed} failed"
    best = ranked(state)[:1]
    table = Table(title=title, caption=f"best so far: {best[0]['mean']:.4g}" if best else None)
    for heading in ("running", "attempt", "job"):
        table.add_column(heading)
    for attempt in running:
        table.add_row(_text(attempt), str(attempt.attempt), attempt.job)
    return table


def _ranking(rows: list[dict], args: SweepArguments) -> Table:
    table = Table(title=f"{args.metric}, best first; ± is the standard error over seeds")
    options = args.space.options
    for heading in (*options, args.metric, "seeds"):
        table.add_column(heading, justify="right")
    for row in rows:
        error = "" if row["stderr"] is None else f" ± {row['stderr']:.4f}"
        table.add_row(*(str(row.get(name, "")) for name in options), f"{row['mean']:.4f}{error}", str(row["seeds"]))
    return table
