"""GSM8K-Aug: 385k augmented GSM8K problems with equation steps, what CODI, PCCoT and SIM-CoT train on."""

from pathlib import Path

from latent_trainer.data.files import carve
from latent_trainer.errors import InputError
from latent_trainer.problem import Problem

HUB_ID = "whynlp/gsm8k-aug"


def load(split: str, path: str | None = None, seed: int = 0, test_path: str | None = None) -> list[Problem]:
    """Load GSM8K-Aug from the Hub, or from text files of lines ``question||<<a=b>> <<c=d>> #### answer``.

    Args:
        split: the Hub has all three; from a file, validation is carved from the training rows.
        path: the training rows; None downloads ``whynlp/gsm8k-aug``.
        seed: decides which rows of the file are held out for validation.
        test_path: the test rows.

    Raises:
        InputError: a malformed line (names file and line), or no file for the test split.
        FileNotFoundError: the file does not exist.

    Source: Deng et al. 2023, "Implicit Chain of Thought Reasoning via Knowledge Distillation".
    """
    if path is None and test_path is None:
        return _hub(split)
    if split == "test":
        if test_path is None:
            raise InputError("dataset 'gsm8k_aug' has its test rows in a file of their own; give dataset_test_path")
        return _text(test_path)
    return carve(_text(path), split, seed)


def _hub(split: str) -> list[Problem]:
    from datasets import load_dataset

    rows = load_dataset(HUB_ID, split=split)
    return [
        Problem(row["question"], tuple(row["steps"]), row["answer"], f"{HUB_ID}/{split}:{n}") for n, row in enumerate(rows)
    ]


def _text(path: str) -> list[Problem]:
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file {path}; check dataset_path")
    with open(path, encoding="utf-8") as file:
        return [_line(line, f"{Path(path).name}:{number}") for number, line in enumerate(file, 1) if line.strip()]


def _line(line: str, place: str) -> Problem:
    question, bar, solution = line.partition("||")
    steps, mark, answer = solution.rpartition("####")
    if not (bar and mark and question.strip() and answer.strip()):
        raise InputError(f"{place}: expected 'question||<<a=b>> <<c=d>> #### answer'")
    return Problem(question.strip(), tuple(steps.split()), answer.strip().replace(",", ""), place)
