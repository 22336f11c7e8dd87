"""From answers to the numbers of a result record."""

from collections import defaultdict
from collections.abc import Iterable

from latent_trainer.data.problem import Problem
from latent_trainer.evaluation.answers import is_equivalent
from latent_trainer.evaluation.generation import Answer
from latent_trainer.evaluation.statistics import bootstrap_interval, mean_and_error, pass_at_k

MEANS = ("tokens_written", "latents", "passes", "prefill_seconds", "decode_seconds")


def summarise(answers: list[Answer]) -> dict[str, float]:
    """Return accuracy with its standard error and bootstrap interval, and the means of what it cost.

    Accuracy is the mean over problems of the share of right answers; with several answers a problem, ``pass@k`` for every
    power of two up to their number and ``majority``, the accuracy of the most frequent answer, are added.

    Args:
        answers: one or several of every problem, the same number of each; those of a problem stand together.
    """
    groups = _per_problem(answers)
    shares = [_share(group) for group in groups]
    accuracy, error = mean_and_error(shares)
    low, high = bootstrap_interval(shares)
    flexible, flexible_error = mean_and_error([sum(one.correct_flexible for one in group) / len(group) for group in groups])
    summary = {
        "accuracy": accuracy,
        "accuracy_stderr": error,
        "accuracy_low": low,
        "accuracy_high": high,
        "accuracy_flexible": flexible,
        "accuracy_flexible_stderr": flexible_error,
        "invalid": sum(answer.strict is None for answer in answers) / len(answers),
        **{name: sum(getattr(answer, name) for answer in answers) / len(answers) for name in MEANS},
        "problems": len(groups),
    }
    summary["seconds_per_problem"] = summary["prefill_seconds"] + summary["decode_seconds"]
    number = len(answers) // len(groups)
    if number > 1:
        for k in (2**power for power in range(number.bit_length())):
            values = [pass_at_k(number, sum(one.correct for one in group), k) for group in groups]
            summary[f"pass@{k}"], summary[f"pass@{k}_stderr"] = mean_and_error(values)
        votes = majority_votes(answers)
        summary["majority"], summary["majority_stderr"] = mean_and_error(votes)
        summary["samples"] = number
    return summary


def majority_votes(answers: list[Answer]) -> list[bool]:
    """Return for every problem whether its most frequent answer is right; ``answers`` as for `summarise`."""
    return [_majority_is_right(group) for group in _per_problem(answers)]


def _per_problem(answers: list[Answer]) -> list[list[Answer]]:
    groups: list[list[Answer]] = []
    for answer in answers:
        if answer.sample == 0:
            groups.append([])
        groups[-1].append(answer)
    return groups


def _share(group: list[Answer]) -> float:
    return sum(answer.correct for answer in group) / len(group)


def _majority_is_right(answers: list[Answer]) -> bool:
    """Return whether the most frequent answer is right: of equally frequent ones the first; a missing answer has no vote."""
    groups: list[list[Answer]] = []
    for answer in answers:
        if answer.strict is None:
            continue
        own = next((group for group in groups if _votes_alike(answer, group[0])), None)
        if own is None:
            groups.append([answer])
        else:
            own.append(answer)
    return bool(groups) and max(groups, key=len)[0].correct


def _votes_alike(one: Answer, other: Answer) -> bool:
    """Return whether two answers are a vote for the same; of expressions, those of equal value need not both be right."""
    if one.check:
        return "".join(str(one.strict).split()) == "".join(str(other.strict).split())
    return is_equivalent(one.strict, other.strict)


def by_group(answers: list[Answer], problems: Iterable[Problem]) -> dict[str, dict[str, dict[str, float]]]:
    """Return accuracy, standard error and number of problems by family and by difficulty, where the problems have them."""
    tables: dict[str, dict[str, list[float]]] = {"by_family": defaultdict(list), "by_difficulty": defaultdict(list)}
    for problem, group in zip(problems, _per_problem(answers), strict=True):
        share = _share(group)
        if problem.family:
            tables["by_family"][problem.family].append(share)
        if problem.difficulty:
            tables["by_difficulty"][str(problem.difficulty)].append(share)
    result = {}
    for name, table in tables.items():
        if table:
            rows = {}
            for key in sorted(table):
                accuracy, error = mean_and_error(table[key])
                rows[key] = {"accuracy": accuracy, "accuracy_stderr": error, "problems": len(table[key])}
            result[name] = rows
    return result
