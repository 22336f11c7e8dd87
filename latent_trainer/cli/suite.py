"""``latent-trainer evaluate --suite``: several data sets in one call, one record with a row a set and their average."""

from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from latent_trainer.cli.arguments import DataArguments
from latent_trainer.data import as_problems, load_problems
from latent_trainer.data.problem import Problem
from latent_trainer.errors import InputError, check_choice
from latent_trainer.evaluation.evaluator import Evaluator
from latent_trainer.evaluation.record import data_hash, peak_memory, write_record
from latent_trainer.evaluation.suites import SUITES, average
from latent_trainer.evaluation.summary import by_group, summarise
from latent_trainer.options import check_fields, parse_json


@dataclass
class SuiteArguments:
    """Which data sets are evaluated together."""

    suite: str | None = field(
        default=None, metadata={"help": f"Evaluate several data sets in one call: {', '.join(SUITES)}; instead of dataset."}
    )
    suite_paths: dict | str | None = field(
        default=None, metadata={"help": 'Local test files of the suite\'s data sets: {"svamp": "svamp.json"}.'}
    )

    def __post_init__(self):
        check_fields(self)
        if isinstance(self.suite_paths, str):
            self.suite_paths = parse_json("suite_paths", self.suite_paths)
        if self.suite is None:
            if self.suite_paths is not None:
                raise InputError("suite_paths has no effect without suite; set both or neither")
            return
        check_choice("suite", self.suite, SUITES)
        for name, path in (self.suite_paths or {}).items():
            check_choice("data set of suite_paths", name, SUITES[self.suite].sets)
            if not isinstance(path, str):
                raise InputError(f"suite_paths: the path of '{name}' is {path!r}; give a file or folder")


def refuse_other_data(suite: str, given: set[str]) -> None:
    """Refuse options that say something else about the data, or compare what a suite does not.

    Args:
        suite: its name.
        given: options that somebody has set, in a file or on the command line.

    Raises:
        InputError: names the first of them.
    """
    data = ("dataset", "dataset_path", "dataset_validation_path", "dataset_test_path", "columns", "dataset_options")
    for name in (*data, "split"):
        if name in given:
            instead = "suite_paths for local files" if name.endswith("_path") else "one of the two"
            raise InputError(f"suite={suite} says which data sets are read, and {name} does too; give {instead}")
    for name in ("controls", "pause_model", "sweep_latents"):
        if name in given:
            raise InputError(f"{name} compares answers on one data set; leave it out, or suite={suite}")


def load_suite(args: SuiteArguments, data_args: DataArguments) -> dict[str, list[Problem]]:
    """Return the test problems of every data set of a suite: all of them before the first is answered.

    Raises:
        InputError: a row that is wrong.
        FileNotFoundError: a file does not exist.
        ConnectionError: a data set without a file cannot be had from the Hub.
    """
    suite, paths, found = SUITES[args.suite], args.suite_paths or {}, {}
    for name in suite.sets:
        options = {"test_path": paths[name]} if name in paths else suite.hub_options.get(name, {})
        problems = as_problems(load_problems(name, "test", seed=data_args.dataset_seed, **options))
        found[name] = problems[: data_args.max_eval_problems]
    return found


def row_of(evaluator: Evaluator) -> dict:
    """Return the numbers of one data set; the answers are written as they come, and those that are there are kept."""
    answers = evaluator.intact()
    left_out = {"dropped": evaluator.dropped, "unreachable": evaluator.unreachable}
    problems = evaluator.problems
    return {**summarise(answers), **left_out, **by_group(answers, problems), "data_hash": data_hash(problems)}


def report(output: str | None, suite: str, rows: dict[str, dict], warnings: list[str], config: dict) -> None:
    """Print the table and write the record.

    Args:
        output: JSON file of the record; None writes none.
        suite: its name.
        rows: data set -> its numbers.
        warnings: lines to print.
        config: the settings of the run.
    """
    console, means = Console(), average(rows)
    console.print(_table(suite, rows, means))
    for line in warnings:
        console.print(line, soft_wrap=True, highlight=False)
    if output is None:
        return
    record = {**means, "suite": suite, "sets": rows, "peak_memory_gb": peak_memory()}
    write_record(output, record, config={**config, "dataset": f"suite {suite}", "split": "test"})
    console.print(f"record in {output}", soft_wrap=True, highlight=False)


def _table(suite: str, rows: dict[str, dict], means: dict) -> Table:
    table = Table(title=f"suite {suite}")
    scores = [name for name in means if f"{name}_stderr" in means]
    shares = [f"{name.removeprefix('accuracy_')} %" for name in scores]
    for heading in ("data set", "problems", *shares, "tokens written"):
        table.add_column(heading, justify="left" if heading == "data set" else "right", no_wrap=True)
    for name, row in {**rows, "average": means}.items():
        shares = [f"{100 * row[key]:.1f} ± {100 * row[f'{key}_stderr']:.1f}" for key in scores]
        table.add_row(name, str(row["problems"]), *shares, f"{row['tokens_written']:.1f}")
    return table
