"""GSM8K-Aug: 385k augmented GSM8K problems with equations or sentences as steps, what CODI, PCCoT and SIM-CoT train on."""

import re
from dataclasses import replace
from functools import partial

from latent_trainer.data import values
from latent_trainer.data.files import Place
from latent_trainer.data.folders import dataset_rows
from latent_trainer.data.forms import check_form
from latent_trainer.data.problem import Problem
from latent_trainer.data.reasoning import cut, is_equations
from latent_trainer.data.sources import jsonl
from latent_trainer.data.splits import as_read, load_split
from latent_trainer.errors import InputError

HUB_ID = "whynlp/gsm8k-aug"
BAR = re.compile(r"\|(?=\|)")


def load(
    split: str,
    path: str | None = None,
    seed: int = 0,
    validation_path: str | None = None,
    test_path: str | None = None,
    columns: dict[str, str] | None = None,
) -> list[Problem]:
    """Load GSM8K-Aug from the Hub, or from files: lines ``question||<<a=b>> <<c=d>> #### answer``, or rows as on the Hub.

    Args:
        split: the Hub has all three; from a file, validation is carved from the training rows.
        path: the training rows; None downloads ``whynlp/gsm8k-aug``.
        seed: decides which questions of the file are held out for validation.
        validation_path: the published validation rows instead.
        test_path: the test rows.
        columns: field -> column, for files with other names.

    Raises:
        InputError: a malformed line (names file and line), or no file for the split.
        FileNotFoundError: the file does not exist.

    Source: Deng et al. 2023, "Implicit Chain of Thought Reasoning via Knowledge Distillation".
    """
    if (path, validation_path, test_path) == (None, None, None):
        return hub(HUB_ID, "gsm8k_aug", split)
    return load_split("gsm8k_aug", problem, split, seed, path, validation_path, test_path, columns)


def hub(hub_id: str, name: str, split: str) -> list[Problem]:
    """Return a split of the Hub's rows, as it is published there."""
    from datasets import load_dataset

    rows = dataset_rows(load_dataset(hub_id, split=split), f"{hub_id}/{split}", first=0)
    return [replace(one, id=one.place) for one in as_read(name, partial(problem, name=name), rows, hub_id)]


def problem(row: dict, place: Place, name: str = "gsm8k_aug") -> Problem:
    """Return a line of text, or a row of question, steps and answer, as a problem.

    Raises:
        InputError: the line cannot be told apart, or a field is wrong.
    """
    check_form(row, name, place)
    if "text" in row:
        question, steps, answer = _line(values.text(row, "text", place), place)
        answer = values.answer({"answer": answer}, "answer", place)
        return Problem(question, steps, values.without_thousands(answer), place.id, place=str(place))
    if isinstance(row.get("steps"), list):  # a published row may have an empty one
        row = row | {"steps": [step for step in row["steps"] if step != ""]}
    one = jsonl.read_fields(row, place)
    return replace(one, answer=values.without_thousands(one.answer))


def _line(line: str, place: Place) -> tuple[str, tuple[str, ...], str]:
    """Return question, steps and answer of a line."""
    if line.count("####") > 1:
        raise InputError(f"{place}: '####' appears twice; a line is one problem")
    problem, mark, answer = line.partition("####")
    cuts = [bar.start() for bar in BAR.finditer(problem)]
    if not cuts or not mark or not answer.strip() or not problem[: cuts[-1]].strip():
        raise InputError(f"{place}: expected 'question||<<a=b>> <<c=d>> #### answer'")
    if len(cuts) > 1:
        cuts = _separators(problem, cuts)
    if len(cuts) != 1:
        raise InputError(
            f"{place}: '||' appears more than once, so the end of the question is unclear; "
            "write the row as JSON with question, steps and answer"
        )
    question, written = problem[: cuts[0]].strip(), problem[cuts[0] + 2 :]
    if written.count("<<") != written.count(">>"):
        raise InputError(f"{place}: an equation '<<...>>' is not closed")
    return question, cut(written), answer


def _separators(problem: str, cuts: list[int]) -> list[int]:
    """Return which of several bars end the question: those before nothing but equations, else the last one after a stop.

    A bar inside the question, |x||y|, is followed by more than equations. Before written sentences only the last bar can be
    the one, and is where it alone comes after the end of a sentence.
    """
    before_equations = [at for at in cuts if "<<" in problem[at:] and is_equations(problem[at + 2 :])]
    if before_equations:
        return before_equations
    after_stop = [at for at in cuts if problem[:at].rstrip().endswith((".", "?", "!"))]
    return after_stop if after_stop == cuts[-1:] else cuts
