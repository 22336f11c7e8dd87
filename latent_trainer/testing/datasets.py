"""The contract of data sets."""

from latent_trainer.data import SPLITS, TEMPLATES, as_problems, load_problems
from latent_trainer.data.problem import Problem
from latent_trainer.errors import InputError
from latent_trainer.testing.tiny import contract, other_seeds, require


def check_dataset(dataset, path: str | None = None, options: dict | None = None, template: str = "coconut") -> None:
    """Require that a data set keeps its contract: the same problems every time, and no question in two splits.

    Args:
        dataset: a name, ``package.module:load`` or the function.
        path: a file or folder, where it reads one.
        options: its options; ``validation_path`` and the like name other files.
        template: under which its answers must be gradable.

    Raises:
        AssertionError: with a sentence that says what is wrong.
    """
    with contract("dataset", dataset) as name:
        what, options = f"dataset '{name}'", options or {}
        found: dict[str, list[Problem]] = {}
        for split in SPLITS:
            try:
                with other_seeds(1):
                    found[split] = as_problems(load_problems(name, split, path=path, **options))
            except InputError as error:
                require(split != "train", f"{what}, split train: {error}")  # others it may not have
                continue
            with other_seeds(2):
                again = as_problems(load_problems(name, split, path=path, **options))
            require(
                again == found[split],
                f"{what}, split {split}: other problems when they are loaded again; draw them from seed alone",
            )
            _check_problems(f"{what}, split {split}", found[split], TEMPLATES[template])
        _check_splits(what, found)


def _check_problems(what: str, problems: list[Problem], template) -> None:
    named = [problem.id for problem in problems if problem.id]
    require(len(set(named)) == len(named), f"{what}: two problems have the same id; give each its own")
    for problem in problems:
        fault = template.fault(problem)
        require(fault is None, f"{what}: {problem.named}: {fault}")


def _check_splits(what: str, found: dict[str, list[Problem]]) -> None:
    asked: dict[str, tuple[str, str]] = {}
    for split, problems in found.items():
        for problem in problems:
            question = " ".join(problem.question.lower().split())
            other, first = asked.setdefault(question, (split, problem.named))
            require(
                other == split,
                f"{what}: {problem.named} of split {split} asks the question of {first} of split {other}; keep each "
                "question in one split",
            )
