"""``latent-trainer data export`` writes problems to a file, ``latent-trainer data validate`` checks files."""

from collections import Counter
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from latent_trainer.cli.arguments import DataArguments, parse
from latent_trainer.data import MORE_SPLITS, SPLITS, as_problems, resolve_template
from latent_trainer.data.export import SUFFIXES, export
from latent_trainer.data.forms import parse_columns
from latent_trainer.data.validation import READERS, Checked, overlaps, validate
from latent_trainer.errors import InputError, check_choice
from latent_trainer.options import Positive, check_fields
from latent_trainer.whole_files import output_file, reason

MAX_FAULTS = 20  # more lines than this help nobody


@dataclass
class ExportArguments:
    """What is written where."""

    output: str = field(metadata={"help": "File: .json (textbook format), .jsonl or .parquet."})
    split: str = field(default="train", metadata={"help": "Split that is written."})
    size: Positive | None = field(default=None, metadata={"help": "Number of problems, for generated data sets."})

    def __post_init__(self):
        check_fields(self)
        self.output = output_file("output", self.output)
        check_choice("suffix of the output", Path(self.output).suffix, SUFFIXES)
        check_choice("split", self.split, sorted({*SPLITS, *chain.from_iterable(MORE_SPLITS.values())}))


@dataclass
class ValidateArguments:
    """Which files are checked."""

    path: list[str] = field(
        default_factory=list,
        metadata={"help": "Files or folders, as the data sets read them; questions that two of them share are counted."},
    )
    dataset: str = field(
        default="auto", metadata={"help": "Data set that is to read them; auto recognises it from the rows."}
    )
    columns: dict | str | None = field(default=None, metadata={"help": "Names of fields: question=problem,answer=solution."})
    template: str = field(default="coconut", metadata={"help": "Template under which the answers must be gradable."})

    def __post_init__(self):
        if not self.path:
            raise InputError("data validate needs a file; give --path")
        check_choice("dataset", self.dataset, ["auto", *READERS])
        if isinstance(self.columns, str):
            self.columns = parse_columns(self.columns)
        resolve_template(self.template)


def run(argv: list[str]) -> None:
    """Run ``export`` or ``validate``, the first word."""
    actions = {"export": _export, "validate": _validate}
    if not argv or argv[0] in ("-h", "--help"):
        print(
            "usage: latent-trainer data export --dataset NAME --output FILE\n"
            "       latent-trainer data validate --path FILE [FILE ...]"
        )
        return
    check_choice("action of data", argv[0], actions)
    actions[argv[0]](argv[1:])


def _export(argv: list[str]) -> None:
    args, data_args = parse("data export", (ExportArguments, DataArguments), argv)
    if args.size is not None:
        data_args.dataset_options = {**(data_args.dataset_options or {}), "size": args.size}
    for name in ("dataset_path", "dataset_validation_path", "dataset_test_path"):
        source = getattr(data_args, name)
        if source and Path(source).exists() and Path(args.output).exists() and Path(source).samefile(args.output):
            raise InputError(f"output={args.output!r} is the file {name} names, and would be overwritten; name another file")
    problems = as_problems(data_args.load(args.split))
    try:
        export(problems, args.output)
    except OSError as error:
        raise InputError(f"cannot write output={args.output!r}: {reason(error)}; nothing was left there") from error
    print(f"{len(problems)} problems of {data_args.dataset}, split {args.split}, in {args.output}")


def _validate(argv: list[str]) -> None:
    (args,) = parse("data validate", (ValidateArguments,), argv)
    template = resolve_template(args.template)
    files = [one for path in args.path for one in validate(path, template, args.dataset, args.columns)]
    for file in files:
        for fault in file.faults[:MAX_FAULTS]:
            print(fault)
        if len(file.faults) > MAX_FAULTS:
            print(f"{file.source}: and {len(file.faults) - MAX_FAULTS} more")
        _say(file)
    shared = overlaps(files)
    for first, second, places in shared:
        pairs = ", ".join(f"{one} = {other}" for one, other in places[:3])
        more = ", ..." if len(places) > 3 else ""
        print(f"{first.source} and {second.source}: {len(places)} questions in both ({pairs}{more})")
    if len(files) > 1 and not shared:
        print(f"no question in two of the {len(files)} files")
    wrong = [
        f"{file.source}: {len(file.faults)} of {file.rows} entries are wrong; fix those lines"
        for file in files
        if file.faults
    ]
    wrong += [f"{file.source} is empty; give it at least one problem" for file in files if not file.rows]
    wrong += [f"{first.source} and {second.source} share questions; keep each in one file" for first, second, _ in shared]
    if wrong:
        raise InputError("; ".join(wrong))


def _say(file: Checked) -> None:
    """Print what a file is."""
    with_steps = sum(bool(problem.steps) for problem in file.problems)
    families = Counter(problem.family for problem in file.problems if problem.family)
    left_out = file.rows - len(file.problems) - len(file.faults)
    words = [f"{len(file.problems)} problems", f"{with_steps} with steps", f"{len(families)} families"]
    words += [f"{left_out} without an answer left out"] if left_out else []
    verdict = f"{len(file.faults)} wrong" if file.faults else "nothing wrong"
    fields = f"; fields left out: {', '.join(file.not_read)}" if file.not_read else ""
    print(f"{file.source}: dataset '{file.dataset}' reads it; {', '.join(words)}{fields}; {verdict}")
