"""GSM8K: grade-school word problems (Cobbe et al. 2021)."""

import re
from functools import partial
from pathlib import Path

from transformers.utils import logging

from latent_trainer.data import values
from latent_trainer.data.files import Place
from latent_trainer.data.forms import check_form
from latent_trainer.data.problem import Problem
from latent_trainer.data.published import HUB, from_hub
from latent_trainer.data.splits import load_split
from latent_trainer.errors import InputError, check_choice

EQUATION = re.compile(r"<<([^<>]*)>>")
STEPS = ("equations", "text")

logger = logging.get_logger(__name__)


def load(
    split: str,
    path: str | None = None,
    seed: int = 0,
    validation_path: str | None = None,
    test_path: str | None = None,
    columns: dict[str, str] | None = None,
    steps: str = "equations",
) -> list[Problem]:
    """Load GSM8K from the Hub, or from local files of the same rows.

    Args:
        split: train and validation are carved from the published train rows, test is the published test set.
        path: the published ``train.jsonl``; None downloads ``openai/gsm8k``.
        seed: decides which train questions are held out for validation.
        validation_path: a file of the validation split instead.
        test_path: the published ``test.jsonl``; by default the file of that name beside ``path``.
        columns: field -> column, for files with other names.
        steps: "equations" keeps the ``<<a=b>>`` annotations as steps, "text" the sentences without them.

    Raises:
        InputError: a malformed row; names file and line.
    """
    check_choice("steps", steps, STEPS)
    read_row = partial(problem, kind=steps)
    if (path, validation_path, test_path) == (None, None, None):
        problems = from_hub("gsm8k", read_row, HUB["gsm8k"], split, seed)
    else:
        if path is not None and Path(path).is_file():
            beside = Path(path).with_name("test.jsonl")
            if split == "test":
                path, test_path = None, test_path or str(beside)
            elif beside == Path(path):
                raise InputError(f"{path} is the test split by its name; give the train rows as dataset_path")
        problems = load_split("gsm8k", read_row, split, seed, path, validation_path, test_path, columns)
    bare = sum(not one.steps for one in problems)
    if bare and steps == "equations":
        logger.warning_once(
            f"gsm8k, split '{split}': {bare} of {len(problems)} solutions have no <<equation>> and so no steps; "
            "dataset_options steps=text takes their sentences"
        )
    return problems


def problem(row: dict, place: Place, kind: str = "equations") -> Problem:
    """Return a row as a problem.

    Raises:
        InputError: a field is missing, or the answer has no ``#### value``.
    """
    check_form(row | {"answer": "####"} if "answer" in row else row, "gsm8k", place)
    solution, separator, answer = values.text(row, "answer", place).rpartition("####")
    if not separator or not answer.strip():
        raise InputError(f"{place}: the answer does not end in '#### value'; rows of bare answers load with dataset 'jsonl'")
    if kind == "equations":
        steps = [f"<<{equation}>>" for equation in EQUATION.findall(solution)]
    else:
        steps = [line for line in (EQUATION.sub("", line).strip() for line in solution.splitlines()) if line]
    answer = values.without_thousands(values.answer({"answer": answer}, "answer", place))
    return Problem(values.text(row, "question", place), tuple(steps), answer, place.id, place=str(place))
