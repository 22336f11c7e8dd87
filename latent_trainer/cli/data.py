"""``latent-trainer data export`` writes problems to a file, ``latent-trainer data validate`` checks one."""

from collections import Counter
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from latent_trainer.cli.arguments import DataArguments, parse
from latent_trainer.data import MORE_SPLITS, SPLITS, as_problems
from latent_trainer.data.export import SUFFIXES, export, validate
from latent_trainer.errors import InputError, check_choice
from latent_trainer.options import Positive, check_fields

MAX_FAULTS = 20  # more lines than this help nobody


@dataclass
class ExportArguments:
    """What is written where."""

    output: str = field(metadata={"help": "File: .json (textbook format), .jsonl or .parquet."})
    split: str = field(default="train", metadata={"help": "Split that is written."})
    size: Positive | None = field(default=None, metadata={"help": "Number of problems, for generated data sets."})

    def __post_init__(self):
        check_fields(self)
        check_choice("suffix of the output", Path(self.output).suffix, SUFFIXES)
        check_choice("split", self.split, sorted({*SPLITS, *chain.from_iterable(MORE_SPLITS.values())}))


@dataclass
class ValidateArguments:
    """Which file is checked."""

    path: str = field(metadata={"help": "File: .json (textbook format), .jsonl or .parquet."})


def run(argv: list[str]) -> None:
    """Run ``export`` or ``validate``, the first word."""
    actions = {"export": _export, "validate": _validate}
    if not argv or argv[0] in ("-h", "--help"):
        print(
            "usage: latent-trainer data export --dataset NAME --output FILE\n       latent-trainer data validate --path FILE"
        )
        return
    check_choice("action of data", argv[0], actions)
    actions[argv[0]](argv[1:])


def _export(argv: list[str]) -> None:
    args, data_args = parse("data export", (ExportArguments, DataArguments), argv)
    if args.size is not None:
        data_args.dataset_options = {**(data_args.dataset_options or {}), "size": args.size}
    problems = as_problems(data_args.load(args.split))
    export(problems, args.output)
    print(f"{len(problems)} problems of {data_args.dataset}, split {args.split}, in {args.output}")


def _validate(argv: list[str]) -> None:
    (args,) = parse("data validate", (ValidateArguments,), argv)
    problems, faults = validate(args.path)
    for fault in faults[:MAX_FAULTS]:
        print(fault)
    if faults:
        raise InputError(f"{args.path}: {len(faults)} of {len(faults) + len(problems)} entries are wrong; mend those lines")
    with_steps = sum(bool(problem.steps) for problem in problems)
    families = Counter(problem.family for problem in problems if problem.family)
    print(f"{args.path}: {len(problems)} problems, {with_steps} with steps, {len(families)} families; nothing wrong")
