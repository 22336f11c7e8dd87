"""Published data sets: where they lie on the Hub, and the one loader they have in common."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from latent_trainer.data.folders import dataset_rows
from latent_trainer.data.problem import Problem
from latent_trainer.data.splits import Reader, as_read, carve, load_split
from latent_trainer.errors import InputError


@dataclass(frozen=True)
class Hub:
    """Where a data set lies on the Hub.

    Args:
        name: of the repository.
        splits: ours -> those that are published; without a validation split it is held out of train.
        configs: configurations, read one after the other; None is the only one.
        whole_ids: whether ids name the repository, too.
    """

    name: str
    splits: dict[str, tuple[str, ...]] = field(default_factory=lambda: {"train": ("train",), "test": ("test",)})
    configs: tuple[str | None, ...] = (None,)
    whole_ids: bool = False


ALL_THREE = {split: (split,) for split in ("train", "validation", "test")}
SUBJECTS = ("algebra", "counting_and_probability", "geometry", "intermediate_algebra", "number_theory", "prealgebra")
HUB = {
    "aime_2024": Hub("Maxwell-Jia/AIME_2024", {"test": ("train",)}),
    "aime_2025": Hub("math-ai/aime25", {"test": ("test",)}),
    "aime_2026": Hub("math-ai/aime26", {"test": ("test",)}),
    "aqua": Hub("deepmind/aqua_rat", ALL_THREE, ("raw",)),
    "gsm8k": Hub("openai/gsm8k", configs=("main",)),
    "gsm8k_aug": Hub("whynlp/gsm8k-aug", ALL_THREE, whole_ids=True),
    "gsm8k_aug_nl": Hub("whynlp/gsm8k-aug-nl", ALL_THREE, whole_ids=True),
    "gsm_hard": Hub("reasoning-machines/gsm-hard", {"test": ("train",)}),
    "math": Hub("EleutherAI/hendrycks_math", configs=(*SUBJECTS, "precalculus")),
    "math500": Hub("HuggingFaceH4/MATH-500", {"test": ("test",)}),
    "multiarith": Hub("ChilleD/MultiArith"),
    "svamp": Hub("ChilleD/SVAMP"),
}


def loader(name: str, read_row: Reader, what: str = "") -> Callable[..., list[Problem]]:
    """Return the ``load`` of a data set that has nothing but rows.

    Args:
        name: of the data set; a key of ``HUB`` where it can come from there.
        read_row: makes a problem of a row.
        what: what the rows are, for the documentation.
    """

    def load(
        split: str,
        path: str | None = None,
        seed: int = 0,
        validation_path: str | None = None,
        test_path: str | None = None,
        columns: dict[str, str] | None = None,
    ) -> list[Problem]:
        """Load the problems from files or folders of published rows, or from the Hub where no file is given.

        Args:
            split: train, validation or test.
            path: train rows.
            seed: decides which questions are held out for validation.
            validation_path: the file of the validation split; without it a part of ``path`` is held out.
            test_path: the file of the test split.
            columns: field -> column, for files with other names.

        Raises:
            InputError: no rows for the split, or a row that is wrong; names file and row.
            FileNotFoundError: a file does not exist.
        """
        if (path, validation_path, test_path) == (None, None, None):
            return from_hub(name, read_row, HUB[name], split, seed)
        return load_split(name, read_row, split, seed, path, validation_path, test_path, columns)

    load.__doc__ = f"{what}\n\n{load.__doc__}" if what else load.__doc__
    return load


def from_hub(name: str, read_row: Reader, hub: Hub, split: str, seed: int) -> list[Problem]:
    """Return the problems of a split on the Hub.

    Args:
        name: of the data set.
        read_row: makes a problem of a row.
        hub: where they lie.
        split: train, validation or test.
        seed: decides what is held out.

    Raises:
        InputError: there are no such rows, or one is wrong.
        ConnectionError: the Hub cannot be reached, and no copy is kept.
    """
    from datasets import load_dataset

    wanted = "train" if split == "validation" and "validation" not in hub.splits else split
    if wanted not in hub.splits:
        raise InputError(
            f"dataset '{name}' has no {split} rows on the Hub ({hub.name} has {', '.join(hub.splits)}); "
            f"give {'dataset_test_path' if split == 'test' else 'dataset_path'}"
        )
    problems = []
    for config in hub.configs:
        for part in hub.splits[wanted]:
            source = f"{hub.name}/{part}" if len(hub.configs) == 1 else f"{hub.name}/{part}-{config}"
            rows = dataset_rows(load_dataset(hub.name, config, split=part), source, first=0)
            problems += as_read(name, read_row, rows, hub.name)
    if hub.whole_ids:
        problems = [replace(one, id=one.place) for one in problems]
    return problems if split == "test" or "validation" in hub.splits else carve(problems, split, seed)
