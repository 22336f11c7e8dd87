"""``latent-trainer evaluate``: grade a model's answers, with controls, and write one result record."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import PartialState
from rich.console import Console
from rich.table import Table

from latent_trainer.analysis.figures import control_bars
from latent_trainer.cli.arguments import DataArguments, given, parse
from latent_trainer.cli.build import load_any, model_id, set_compression
from latent_trainer.cli.suite import SuiteArguments, load_suite, refuse_other_data, report, row_of
from latent_trainer.data import MORE_SPLITS, SPLITS, as_problems
from latent_trainer.errors import InputError, check_choice
from latent_trainer.evaluation.controls import CONTROLS, check_controls
from latent_trainer.evaluation.evaluator import Evaluator
from latent_trainer.evaluation.generation import new_tokens
from latent_trainer.evaluation.record import peak_memory, write_record
from latent_trainer.evaluation.statistics import mcnemar
from latent_trainer.evaluation.summary import by_group, summarise
from latent_trainer.model.drawn_latents import drawing_of
from latent_trainer.model.gguf import named
from latent_trainer.options import Count, Dropout, Mass, Positive, Scale, Seed, check_fields
from latent_trainer.whole_files import output_file, record_file


@dataclass
class EvaluateArguments:
    """What is evaluated, and how."""

    model: str = field(
        metadata={"help": "Folder or Hub name of a latent model, an adapter or a plain base model; or a GGUF file."}
    )
    gguf_file: str | None = field(default=None, metadata={"help": "The GGUF file of model that holds a plain base model."})
    split: str = field(
        default="test", metadata={"help": "Split that is read: validation or test, or one of the data set's own."}
    )
    output: str | None = field(
        default=None, metadata={"help": "JSON file of the record; graded answers are written to a folder beside it."}
    )
    batch_size: Positive = field(default=32, metadata={"help": "Problems per call of generate()."})
    max_new_tokens: Positive | None = field(default=None, metadata={"help": "Tokens per problem; by default as trained."})
    num_latents: Count | None = field(default=None, metadata={"help": "Latents per prompt; by default as trained."})
    compression: Positive | None = field(
        default=None, metadata={"help": "Tokens a latent stands for, as prompts are told; by default as trained."}
    )
    controls: list[str] = field(
        default_factory=list, metadata={"help": f"Compare with other latents: {', '.join(CONTROLS)}, or all of them."}
    )
    pause_model: str | None = field(
        default=None, metadata={"help": "A model trained with pause tokens instead of latents, as one more control."}
    )
    sweep_latents: bool = field(default=False, metadata={"help": "Also answer with 0 to twice as many latents."})
    num_samples: Positive = field(default=1, metadata={"help": "Answers per problem: pass@k and majority vote."})
    temperature: Scale | None = field(default=None, metadata={"help": "Sample at this temperature; greedy without it."})
    top_k: Count = field(default=0, metadata={"help": "Sample among the k likeliest tokens; 0 is all."})
    top_p: Mass = field(default=1.0, metadata={"help": "Sample among the likeliest tokens of this mass."})
    latent_do_sample: bool = field(
        default=False, metadata={"help": "Draw a thought for every answer; without it all answers to a problem share one."}
    )
    latent_do_sample_by: str | None = field(
        default=None,
        metadata={"help": "How latents are drawn: noise (default), dropout, or a policy (multiplex, gumbel, token)."},
    )
    noise_std: Scale | None = field(default=None, metadata={"help": "Deviation of that noise; 0.1 by default."})
    dropout_p: Dropout | None = field(default=None, metadata={"help": "Probability of that dropout; 0.1 by default."})
    template: str | None = field(
        default=None,
        metadata={"help": "For a plain base model: how prompts are written; by default chat (its own), else coconut."},
    )
    feedback: str | None = field(default=None, metadata={"help": "For a plain base model: let it think untrained (soft)."})
    seed: Seed = field(default=0, metadata={"help": "Seed of sampling and controls."})

    def __post_init__(self):
        check_fields(self)
        self.model = named(self.model, self.gguf_file)
        if self.output is not None:
            self.output = output_file("output", self.output, (".answers", ".png"))
            record_file("output", self.output, ("accuracy", "versions"))
        check_choice("split", self.split, sorted({*SPLITS[1:], *(name for more in MORE_SPLITS.values() for name in more)}))
        if self.controls == ["all"]:
            self.controls = CONTROLS.names()
        for name in self.controls:
            if ":" in name:
                CONTROLS.choose("control", name)
            else:
                check_choice("control", name, [*CONTROLS.names(), "all"])
        drawing = drawing_of(self.latent_do_sample, **self._drawing)
        if drawing is not None:
            drawing.policy()
        if self.temperature is None and (self.top_k or self.top_p != 1.0):
            raise InputError("top_k and top_p sample answers; give temperature too")
        if self.temperature is None and self.num_samples > 1 and drawing is None:
            raise InputError("num_samples samples answers; give temperature too, or latent_do_sample to sample thoughts")
        if drawing is not None and (self.controls or self.pause_model):
            raise InputError("controls compare one thought a problem with other latents; leave latent_do_sample out")
        if self.num_samples > 1 and (self.controls or self.pause_model):
            raise InputError("controls compare one answer a problem with one; leave num_samples at 1")

    @property
    def _drawing(self) -> dict:
        return {"by": self.latent_do_sample_by, "noise_std": self.noise_std, "dropout_p": self.dropout_p}

    @property
    def thoughts(self) -> dict | None:
        """Return the options by which thoughts are drawn; None where answers to a problem share one."""
        if not self.latent_do_sample:
            return None
        names = {"by": "latent_do_sample_by"}
        given = {names.get(name, name): value for name, value in self._drawing.items() if value is not None}
        return {"seed": self.seed, **given}

    @property
    def sampling(self) -> dict | None:
        """Return the options of sampling; None for greedy decoding."""
        if self.temperature is None:
            return None
        return {"seed": self.seed, "temperature": self.temperature, "top_k": self.top_k, "top_p": self.top_p}


def run(argv: list[str]) -> None:
    """Evaluate, print the tables and write record, answers and figure."""
    args, data_args, suite_args = parse("evaluate", (EvaluateArguments, DataArguments, SuiteArguments), argv)
    state = PartialState(cpu=not torch.accelerator.is_available())
    if suite_args.suite is not None:
        refuse_other_data(suite_args.suite, given(argv))
        _evaluate_suite(args, data_args, suite_args, state)
        return
    problems = as_problems(data_args.load(args.split))
    evaluator = _evaluator(args, args.model, problems, state)
    num_latents = evaluator.num_latents
    check_controls(args.controls, num_latents, len(evaluator.problems))
    answers = {"intact": evaluator.intact()}
    answers |= {name: evaluator.control(name) for name in args.controls}
    if args.pause_model:
        paused = _evaluator(args, args.pause_model, evaluator.problems, state, "pause")
        if paused.dropped:
            raise InputError(f"{paused.dropped} problems do not fit the context of pause_model; compare models of one size")
        answers["pause"] = paused.intact()
    swept = {}
    if args.sweep_latents:
        others = [number for number in range(2 * num_latents + 1) if number != num_latents]
        swept = {number: evaluator.intact(number) for number in others} | {num_latents: answers["intact"]}
    if state.is_main_process:
        left_out = {"dropped": evaluator.dropped, "unreachable": evaluator.unreachable}
        record = {**summarise(answers["intact"]), **left_out, "peak_memory_gb": peak_memory()}
        record["thoughts"] = "one a problem" if args.thoughts is None else "one an answer"
        record |= by_group(answers["intact"], evaluator.problems)
        record["controls"] = {name: _compared(answers["intact"], own) for name, own in answers.items() if name != "intact"}
        record["sweep"] = {str(number): _short(summarise(swept[number])) for number in sorted(swept)}
        _report(args, data_args, record, evaluator)


def _evaluate_suite(args: EvaluateArguments, data_args: DataArguments, suite: SuiteArguments, state: PartialState) -> None:
    """Answer the data sets of a suite one after the other with one model."""
    problems = load_suite(suite, data_args)
    loaded = _load(args, args.model, state)
    rows, warnings = {}, []
    for name, own in problems.items():
        evaluator = _evaluator(args, args.model, own, state, name, loaded)
        rows[name] = row_of(evaluator)
        warnings += [f"{name}: {evaluator.warning}"] if evaluator.warning else []
        if evaluator.dropped:
            warnings.append(f"{name}: {evaluator.dropped} of {len(own)} problems do not fit the context and are left out")
    if state.is_main_process:
        as_trained = {name: getattr(evaluator, name) for name in ("num_latents", "max_new_tokens")}
        report(args.output, suite.suite, rows, warnings, {**vars(args), **vars(data_args), **vars(suite), **as_trained})


def _load(args: EvaluateArguments, name: str, state: PartialState) -> tuple:
    """Return a model on this process's device, and its tokenizer."""
    of_base = (args.template, args.feedback) if name == args.model else (None, None)
    model, tokenizer = load_any(name, *of_base, thinks=bool(args.num_latents) or args.sweep_latents)
    set_compression(model, args.compression if name == args.model else None)
    return model.to(state.device), tokenizer


def _evaluator(
    args: EvaluateArguments, name: str, problems, state: PartialState, part: str = "", loaded: tuple | None = None
) -> Evaluator:
    model, tokenizer = loaded or _load(args, name, state)
    num_latents = model.config.num_latents if args.num_latents is None else args.num_latents
    return Evaluator(
        model,
        tokenizer,
        problems,
        num_latents,
        2 * num_latents if args.sweep_latents else num_latents,
        args.batch_size,
        args.max_new_tokens or new_tokens(model),
        samples=args.num_samples,
        sampling=args.sampling,
        seed=args.seed,
        folder=Path(args.output).with_suffix(".answers") / part if args.output else None,
        model_id=model_id(name),
        show_progress=state.is_main_process,
        thoughts=args.thoughts,
    )


def _compared(intact, changed) -> dict[str, float]:
    """Return a control's numbers and its paired comparison with the intact model."""
    pair = [[answer.correct for answer in own] for own in (intact, changed)]
    return {**_short(summarise(changed)), **mcnemar(*pair)}


def _short(summary: dict[str, float]) -> dict[str, float]:
    names = ("accuracy", "accuracy_stderr", "accuracy_flexible", "invalid", "tokens_written", "latents")
    return {name: summary[name] for name in names}


def _report(args: EvaluateArguments, data_args: DataArguments, record: dict, evaluator: Evaluator) -> None:
    console = Console()
    console.print(
        f"accuracy {record['accuracy']:.4f} +- {record['accuracy_stderr']:.4f} on {record['problems']} problems, "
        f"{record['tokens_written']:.1f} tokens written, {record['latents']:g} latents, {record['dropped']} dropped",
        soft_wrap=True,
        highlight=False,
    )
    if evaluator.warning:
        console.print(evaluator.warning, soft_wrap=True, highlight=False)
    if record["controls"]:
        console.print(_control_table(record))
    if record["sweep"]:
        console.print(_sweep_table(record["sweep"]))
    if not args.output:
        return
    if record["controls"] or record["sweep"]:
        figure = Path(args.output).with_suffix(".png")
        control_bars(record, figure)
        console.print(f"figure in {figure}", soft_wrap=True, highlight=False)
    as_trained = {name: getattr(evaluator, name) for name in ("num_latents", "max_new_tokens")}
    config = {**vars(args), **vars(data_args), **as_trained}
    write_record(args.output, record, config=config, problems=evaluator.problems)
    console.print(f"record in {args.output}", soft_wrap=True, highlight=False)


def _control_table(record: dict) -> Table:
    table = Table(title="what the latents do")
    headings = ("latents", "accuracy %", "lost", "only intact right", "only this right", "p (McNemar)", "Cohen's g")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "latents" else "right", no_wrap="%" in heading)
    table.add_row("intact", f"{100 * record['accuracy']:.1f} ± {100 * record['accuracy_stderr']:.1f}", *[""] * 5)
    for name, row in record["controls"].items():
        table.add_row(
            name,
            f"{100 * row['accuracy']:.1f} ± {100 * row['accuracy_stderr']:.1f}",
            f"{100 * row['difference']:.1f} ± {100 * row['difference_stderr']:.1f}",
            str(row["only_intact"]),
            str(row["only_changed"]),
            f"{row['p_value']:.2g}",
            f"{row['cohen_g']:+.2f}",
        )
    return table


def _sweep_table(sweep: dict[str, dict]) -> Table:
    table = Table(title="other numbers of latents")
    for heading in ("latents", "accuracy", "tokens written"):
        table.add_column(heading, justify="right")
    for number, row in sweep.items():
        accuracy = f"{100 * row['accuracy']:.1f} ± {100 * row['accuracy_stderr']:.1f} %"
        table.add_row(number, accuracy, f"{row['tokens_written']:.1f}")
    return table
