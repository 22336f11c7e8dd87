"""``latent-trainer probe``: look at what a saved model's latents hold; one record, and the figures beside it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from accelerate import PartialState
from rich.console import Console
from rich.progress import Progress
from torch import accelerator

from latent_trainer.analysis import PROBES, Subject
from latent_trainer.analysis.figures import save_figure
from latent_trainer.analysis.traces import collect
from latent_trainer.cli.arguments import DataArguments, parse
from latent_trainer.cli.build import load_saved, model_id, of_a_step
from latent_trainer.data import CONTINUATIONS, as_problems
from latent_trainer.errors import InputError
from latent_trainer.evaluation.record import peak_memory, write_record
from latent_trainer.model.asked_latents import say_other_number
from latent_trainer.options import Bounds, Count, Positive, Seed, check_fields
from latent_trainer.process_group import leave_at_exit
from latent_trainer.whole_files import output_file, output_folder, record_file


@dataclass
class ProbeArguments:
    """Which model is looked at, how, and where the findings go."""

    model: str = field(metadata={"help": "Folder or Hub name of a latent model or an adapter."})
    out: str = field(metadata={"help": "Folder of the figures; the record goes beside it, as OUT.json."})
    split: str = field(default="test", metadata={"help": "Split that is read."})
    probes: list[str] | None = field(
        default=None, metadata={"help": f"Which of {', '.join(PROBES)}; by default all but attention, which is large."}
    )
    traces: str | None = field(default=None, metadata={"help": "Folder of the traces; by default OUT/traces."})
    num_latents: Count | None = field(default=None, metadata={"help": "Latents per prompt; by default as trained."})
    latents_per_step: Positive | None = field(
        default=None, metadata={"help": "Latents that stand for a written step; by default as trained, else 1."}
    )
    most: Annotated[int, Bounds(least=2)] = field(
        default=200, metadata={"help": "Problems of matching pursuit and patching, which take long."}
    )
    batch_size: Positive = field(default=32, metadata={"help": "Problems per pass."})
    seed: Seed = field(default=0, metadata={"help": "Seed of folds, shuffled labels and donors."})

    def __post_init__(self):
        check_fields(self)
        self.out = output_folder("out", self.out)
        record_file("out", output_file("out", f"{self.out}.json"), ("probes", "versions"))
        if self.traces is not None:
            self.traces = output_folder("traces", self.traces)
        if self.probes is None:
            self.probes = [name for name in PROBES if name != "attention"]
        for name in self.probes:
            PROBES.choose("probe", name)


def run(argv: list[str]) -> None:
    """Collect what is missing of the traces, run the probes and write record and figures."""
    args, data_args = parse("probe", (ProbeArguments, DataArguments), argv)
    console, out = Console(), Path(args.out)
    problems = as_problems(data_args.load(args.split))
    attends = "attention" in args.probes
    model, tokenizer = load_saved(args.model, **({"attn_implementation": "eager"} if attends else {}))
    leave_at_exit()
    model.to(PartialState(cpu=not accelerator.is_available()).device).eval()
    if model.config.open_thought and args.num_latents is None:
        raise InputError("this model ends its thoughts itself; say with num_latents how long those that are probed are")
    args.latents_per_step = of_a_step(model, args.latents_per_step)
    number = model.config.num_latents if args.num_latents is None else args.num_latents
    say_other_number(model.config, number)
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("traces", total=len(problems))
        traces = collect(
            model,
            tokenizer,
            problems,
            number,
            model.config.template or "coconut",
            args.traces or out / "traces",
            batch_size=args.batch_size,
            attention=attends,
            model_id=model_id(args.model),
            on_batch=lambda done: progress.update(bar, completed=done),
        )
    subject = Subject(
        traces,
        model,
        tokenizer,
        latents_per_step=args.latents_per_step,
        continued=CONTINUATIONS.get(data_args.dataset),
        most=args.most,
        batch_size=args.batch_size,
        seed=args.seed,
    )
    results = {}
    for name in args.probes:
        with console.status(name):
            results[name] = PROBES[name].measure(subject)
            for figure, draw in PROBES[name].figures.items():
                save_figure(draw, results[name], out / figure)
        drawn = [f"{out / figure}.png" for figure in PROBES[name].figures]
        console.print(f"{name}: {', '.join(drawn) or 'numbers in the record'}", soft_wrap=True)
    record = Path(f"{out}.json")
    config = {**vars(args), **vars(data_args), "num_latents": number, "model": Path(args.model).name}
    config = {name: value for name, value in config.items() if name not in ("out", "traces")}
    metrics = {"probes": _rounded(results), "dropped": len(problems) - len(traces.problems), "peak_memory_gb": peak_memory()}
    write_record(str(record), metrics, config, problems=traces.problems)
    console.print(f"record in {record}", soft_wrap=True, highlight=False)


def _rounded(value):
    """Return nested numbers with six digits after the point."""
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return round(value, 6) if isinstance(value, float) else value
