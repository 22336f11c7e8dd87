"""``latent-trainer compare RECORD...``: a table and a figure of result records, with paired tests of their answers."""

import csv
import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from latent_trainer.analysis.figures import compared_records, save_figure
from latent_trainer.cli.arguments import parse
from latent_trainer.errors import InputError
from latent_trainer.evaluation.statistics import mcnemar
from latent_trainer.options import check_fields
from latent_trainer.whole_files import output_file, record_file, replacing, write_json

ANSWERS = "intact.jsonl"
COLUMNS = ("accuracy", "accuracy_stderr", "problems", "tokens_written", "latents", "seconds_per_problem")


@dataclass
class CompareArguments:
    """Where the comparison goes; the records are the words before the options."""

    output: str | None = field(
        default=None, metadata={"help": "Name of the .json, .csv, .png and .svg that are written, without the ending."}
    )

    def __post_init__(self):
        check_fields(self)
        if self.output is not None:
            file = output_file("output", self.output and f"{self.output}.json")
            record_file("output", file, ("records", "tests"))  # and none of those compared
            self.output = file.removesuffix(".json")


def run(argv: list[str]) -> None:
    """Print the table and the tests, and write them and the figure where an output is named.

    Raises:
        InputError: fewer than two records, two of one name, or one without accuracy.
    """
    paths = list(itertools.takewhile(lambda word: not word.startswith("-"), argv))
    (args,) = parse("compare", (CompareArguments,), argv[len(paths) :])
    if len(paths) < 2:
        raise InputError(f"compare needs at least two result records, got {len(paths)}; name them before the options")
    named = {name: Path(path) for name, path in _names(paths).items()}
    records = {name: _record(path) for name, path in named.items()}
    rows = {name: {column: record.get(column) for column in COLUMNS} for name, record in records.items()}
    tests = _tests(records, {name: _answers(path) for name, path in named.items()})
    console = Console()
    console.print(_table(rows))
    if tests:
        console.print(_test_table(tests))
    if args.output:
        _write(args.output, rows, tests)
        console.print(f"comparison in {args.output}.json, .csv, .png and .svg", soft_wrap=True, highlight=False)


def _names(paths: list[str]) -> dict[str, str]:
    """Return the shortest names that tell the records apart: the file's, with as many folders as that takes."""
    for depth in range(1, max(len(Path(path).parts) for path in paths) + 1):
        names = ["/".join(Path(path).with_suffix("").parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            return dict(zip(names, paths, strict=True))
    raise InputError("two of the records are the same file; name every record once")


def _record(path: Path) -> dict:
    if not path.is_file():
        raise FileNotFoundError(f"no result record {path}; write it with evaluate --output")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise InputError(f"{path} is not a JSON file; give records of evaluate") from None
    if not isinstance(record, dict) or "accuracy" not in record:
        raise InputError(f"{path} holds no accuracy; give records of evaluate")
    return record


def _answers(path: Path) -> dict[str, bool]:
    """Return whether each problem was answered right, by id; nothing where no answers lie beside it, or several each."""
    journal = path.with_suffix(".answers") / ANSWERS
    if not journal.is_file():
        return {}
    header, *rows = map(json.loads, journal.read_text(encoding="utf-8").splitlines())
    return {} if header["samples"] > 1 else {row["id"]: row["correct"] for row in rows}


def _tests(records: dict[str, dict], answers: dict[str, dict[str, bool]]) -> list[dict]:
    """Return McNemar's test of every pair of records over the same problems."""
    tests = []
    for first, second in itertools.combinations(records, 2):
        same = records[first].get("data_hash") == records[second].get("data_hash")
        if same and answers[first] and answers[first].keys() == answers[second].keys():
            pair = zip(*((own, answers[second][name]) for name, own in answers[first].items()), strict=True)
            found = mcnemar(*pair)
            found = {name.replace("intact", "first").replace("changed", "second"): value for name, value in found.items()}
            tests.append({"first": first, "second": second, "problems": len(answers[first]), **found})
    return tests


def _table(rows: dict[str, dict]) -> Table:
    table = Table(title="result records")
    for heading in ("record", "accuracy %", "problems", "tokens written", "latents", "ms per problem"):
        table.add_column(heading, justify="left" if heading == "record" else "right", no_wrap=heading == "accuracy %")
    for name, row in rows.items():
        error, seconds = row["accuracy_stderr"], row["seconds_per_problem"]
        table.add_row(
            name,
            f"{100 * row['accuracy']:.1f}" + ("" if error is None else f" ± {100 * error:.1f}"),
            *("" if row[column] is None else f"{row[column]:g}" for column in ("problems", "tokens_written", "latents")),
            "" if seconds is None else f"{1000 * seconds:.2f}",
        )
    return table


def _test_table(tests: list[dict]) -> Table:
    table = Table(title="paired: accuracy of the first less that of the second")
    for heading in ("first", "second", "difference %", "only first right", "only second right", "p (McNemar)"):
        table.add_column(heading, justify="left" if heading in ("first", "second") else "right")
    for test in tests:
        difference = f"{100 * test['difference']:+.1f} ± {100 * test['difference_stderr']:.1f}"
        numbers = (str(test["only_first"]), str(test["only_second"]), f"{test['p_value']:.2g}")
        table.add_row(test["first"], test["second"], difference, *numbers)
    return table


def _write(output: str, rows: dict[str, dict], tests: list[dict]) -> None:
    write_json(f"{output}.json", {"records": rows, "tests": tests}, indent=2)
    with replacing(f"{output}.csv") as partial, open(partial, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["record", *COLUMNS])
        writer.writeheader()
        writer.writerows({"record": name, **row} for name, row in rows.items())
    save_figure(compared_records, rows, output)
