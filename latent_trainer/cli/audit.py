"""``latent-trainer audit``: do a model's latents do anything? One record, its figures and a page."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from accelerate import PartialState
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from torch import accelerator

from latent_trainer.analysis.audit.arms import SHORT
from latent_trainer.analysis.audit.battery import Battery
from latent_trainer.analysis.audit.checkpoints import over_training
from latent_trainer.analysis.audit.earlier import answers_of, thoughts_of
from latent_trainer.analysis.audit.parts import PARTS, audit
from latent_trainer.analysis.audit.report import GENERATOR, figures, page
from latent_trainer.cli.arguments import DataArguments, parse
from latent_trainer.cli.build import load_any, load_saved, model_id, of_a_step
from latent_trainer.data import MORE_SPLITS, SPLITS, VARIANTS, as_problems
from latent_trainer.errors import InputError, check_choice
from latent_trainer.evaluation.evaluator import Evaluator
from latent_trainer.evaluation.generation import new_tokens
from latent_trainer.evaluation.record import peak_memory, write_record
from latent_trainer.model.asked_latents import say_other_number
from latent_trainer.options import Bounds, Count, Positive, Seed, check_fields
from latent_trainer.training.checkpoints import checkpoints, fault
from latent_trainer.whole_files import output_file, output_folder, record_file, replacing


@dataclass
class AuditArguments:
    """Which model is audited, how, and where the findings go."""

    model: str = field(metadata={"help": "Folder or Hub name of a latent model or an adapter."})
    split: str = field(
        default="test", metadata={"help": "Split that is read: validation or test, or one of the data set's own."}
    )
    report: str | None = field(default=None, metadata={"help": "HTML file of the page, which needs nothing but itself."})
    output: str | None = field(
        default=None,
        metadata={"help": "JSON file of the record; by default that of the report. Answers and figures go beside it."},
    )
    parts: list[str] | None = field(
        default=None,
        metadata={"help": f"Beside the arms: {', '.join(PARTS)}; by default all of them; none for the arms alone."},
    )
    pause_model: str | None = field(
        default=None, metadata={"help": "A model trained with pause tokens instead of latents, as one more arm."}
    )
    checkpoints: str | None = field(
        default=None, metadata={"help": "Folder of a training run: also draw the verdicts of each of its checkpoints."}
    )
    evaluated: str | None = field(
        default=None, metadata={"help": "Record of evaluate on the same problems: its answers are not given anew."}
    )
    traces: str | None = field(
        default=None,
        metadata={"help": "Folder of traces of probe on the same problems: its thoughts are not thought anew."},
    )
    num_latents: Count | None = field(default=None, metadata={"help": "Latents per prompt; by default as trained."})
    latents_per_step: Positive | None = field(
        default=None, metadata={"help": "Latents that stand for a written step; by default as trained, else 1."}
    )
    most: Annotated[int, Bounds(least=2)] = field(
        default=200, metadata={"help": "Problems of the parts that ask each many times, and of every checkpoint."}
    )
    batch_size: Positive = field(default=100, metadata={"help": "Problems per pass."})
    max_new_tokens: Positive | None = field(default=None, metadata={"help": "Tokens per problem; by default as trained."})
    seed: Seed = field(default=0, metadata={"help": "Seed of noise, donors, changed numbers and folds."})

    def __post_init__(self):
        check_fields(self)
        if self.report is not None:
            self.report = output_file("report", self.report)
            check_choice("suffix of the report", Path(self.report).suffix, (".html",))
            _check_earlier_page(self.report)
            self.output = self.output or str(Path(self.report).with_suffix(".json"))
        if self.output is not None:
            self.output = output_file("output", self.output, (".answers", ".figures"))
            record_file("output", self.output, ("verdicts", "versions"))
        check_choice("split", self.split, sorted({*SPLITS[1:], *(name for more in MORE_SPLITS.values() for name in more)}))
        if self.checkpoints is not None and not Path(self.checkpoints).is_dir():
            raise FileNotFoundError(f"checkpoints={self.checkpoints!r}: no such folder; name the output_dir of a run")
        self.parts = list(PARTS) if self.parts is None else self.parts
        for name in self.parts:
            check_choice("part", name, [*PARTS, "none"])
        if "none" in self.parts:
            if len(self.parts) > 1:
                raise InputError(f"parts={' '.join(self.parts)}: none stands alone; leave it or the others out")
            self.parts = []


def _check_earlier_page(path: str) -> None:
    """Raise an `InputError` where a page that is to be written is there and none of an audit."""
    place = Path(path)
    if (
        place.is_file()
        and place.stat().st_size
        and GENERATOR not in place.read_text(encoding="utf-8", errors="replace")[:1000]
    ):
        raise InputError(f"report={path!r} exists and holds something else, which would be overwritten; name another file")


def run(argv: list[str]) -> None:
    """Audit a model, print its verdicts and arms, and write record, figures and page."""
    args, data_args = parse("audit", (AuditArguments, DataArguments), argv)
    state = PartialState(cpu=not accelerator.is_available())
    if state.num_processes > 1:
        raise InputError(f"audit runs in one process, not {state.num_processes}; start it without accelerate launch")
    began, console = time.time(), Console()
    saved = _checkpoints(args.checkpoints) if args.checkpoints else []
    problems = as_problems(data_args.load(args.split))
    variants = VARIANTS.get(data_args.dataset)
    no_oracle = f"dataset '{data_args.dataset}' has no oracle that works a changed question out; {', '.join(VARIANTS)} have"

    def say(line: str) -> None:
        console.print(f"not measured: {line}", soft_wrap=True, highlight=False)

    columns = TextColumn("{task.description}"), TextColumn("{task.completed} answers"), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("audit", total=None)

        def battery(name: str, asked, part: str, as_trained: bool = False) -> Battery:
            evaluator = _evaluator(args, name, asked, part, state, as_trained)
            earlier = {} if part else _earlier(args, evaluator)
            return Battery(evaluator, lambda number: progress.advance(bar, number), **earlier)

        own = battery(args.model, problems, "")
        paused = battery(args.pause_model, own.problems, "pause") if args.pause_model else None
        if paused is not None and paused.evaluator.dropped:
            raise InputError(
                f"{paused.evaluator.dropped} problems do not fit the context of pause_model; compare models of one size"
            )
        args.latents_per_step = of_a_step(own.model, args.latents_per_step)
        options = {"paused": paused, "most": args.most, "latents_per_step": args.latents_per_step, "say": say}
        record = audit(own, args.parts, variants, no_oracle, **options)
        if saved:
            rows = own.problems[: args.most]
            loaded = [
                (number, lambda folder=folder: battery(str(folder), rows, f"checkpoints/{folder.name}", True))
                for number, folder in saved
            ]
            record["checkpoints"] = over_training(loaded)
    record |= {"problems": len(own.problems), "dropped": own.evaluator.dropped, "unreachable": own.evaluator.unreachable}
    record |= {"seconds": round(time.time() - began, 1), "peak_memory_gb": peak_memory()}
    _print(console, own, record)
    if args.output:
        _write(console, args, data_args, own, record)


def _earlier(args: AuditArguments, evaluator: Evaluator) -> dict:
    """Return what earlier commands have found of the audited model."""
    found: dict = {} if args.evaluated is None else {"known": answers_of(evaluator, args.evaluated)}
    return found if args.traces is None else found | {"traced": thoughts_of(evaluator, args.traces)}


def _checkpoints(run_folder: str) -> list[tuple[int, Path]]:
    """Return the whole checkpoints of a run with their steps."""
    found = [folder for folder in checkpoints(run_folder) if fault(folder) is None]
    if not found:
        raise InputError(
            f"checkpoints={run_folder} holds no whole checkpoint; train with save_strategy=steps and save_total_limit unset"
        )
    return [(int(folder.name.rpartition("-")[2]), folder) for folder in found]


def _evaluator(args: AuditArguments, name: str, problems, part: str, state: PartialState, as_trained: bool) -> Evaluator:
    """Return the evaluator of a model; a checkpoint keeps the number of latents of its own stage."""
    model, tokenizer = load_any(name, None, None) if name == args.model else load_saved(name)
    model.to(state.device).eval()
    if model.config.open_thought and args.num_latents is None:
        raise InputError("this model ends its thoughts itself; say with num_latents how long those that are audited are")
    given = args.num_latents is not None and (model.config.open_thought or not as_trained)
    number = args.num_latents if given else model.config.num_latents
    say_other_number(model.config, number)
    folder = Path(args.output).with_suffix(".answers") / part if args.output else None
    return Evaluator(
        model,
        tokenizer,
        problems,
        number,
        number,
        args.batch_size,
        args.max_new_tokens or new_tokens(model),
        seed=args.seed,
        folder=folder,
        model_id=model_id(name),
    )


def _print(console: Console, own: Battery, record: dict) -> None:
    if own.evaluator.warning:
        console.print(own.evaluator.warning, soft_wrap=True, highlight=False)
    if own.evaluator.dropped:
        console.print(f"{own.evaluator.dropped} more problems do not fit the context and are left out", highlight=False)
    console.print(arms_table(record))
    console.print(verdict_table(record))
    console.print(
        f"{record['problems']} problems, {record['num_latents']} latents, {record['seconds']:.0f} seconds", highlight=False
    )


def arms_table(record: dict) -> Table:
    """Return the table of the arms: what each solves and leaves the same, freely and with the answer forced."""
    table = Table(title="what stands in place of the latents: right answers, and answers that stay the same")
    table.add_column("latents", no_wrap=True)
    for heading in ("free %", "same %", "p", "forced %", "same %", "p"):
        table.add_column(heading, justify="right")
    free, forced = record["arms"]["free"], record["arms"]["forced"]
    for name in {**free, **forced}:
        cells = []
        for rows in (free, forced):
            one = rows.get(name)
            test = "" if one is None or name == "intact" else f"{one['p_value']:.1g}"
            cells += [f"{100 * one['accuracy']:.1f}", f"{100 * one['unchanged']:.1f}", test] if one else ["", "", ""]
        table.add_row(SHORT.get(name, name), *cells)
    return table


def verdict_table(record: dict) -> Table:
    """Return the table of the verdicts and what they were decided by."""
    table = Table(title="are the latents ...")
    for heading in ("question", "verdict", "decided by"):
        table.add_column(heading, no_wrap=heading == "verdict", min_width=16 if heading == "question" else None)
    for name, one in record["verdicts"].items():
        table.add_row(name, one["verdict"], one["why"])
    return table


def _write(console: Console, args: AuditArguments, data_args: DataArguments, own: Battery, record: dict) -> None:
    """Write record, figures and page."""
    config = {
        **vars(args),
        **vars(data_args),
        "num_latents": own.num_latents,
        "max_new_tokens": own.evaluator.max_new_tokens,
    }
    config = {name: value for name, value in config.items() if name not in ("output", "report", "evaluated", "traces")}
    written = write_record(args.output, record, config, problems=own.problems)
    folder = Path(output_folder("output", str(Path(args.output).with_suffix(".figures"))))
    for name, drawn in figures(written).items():
        with replacing(folder / f"{name}.svg") as partial:
            partial.write_text(drawn.svg, encoding="utf-8")
    console.print(f"record in {args.output}, figures in {folder}", soft_wrap=True, highlight=False)
    if args.report:
        with replacing(args.report) as partial:
            partial.write_text(page(written), encoding="utf-8")
        console.print(f"page in {args.report}", soft_wrap=True, highlight=False)
