"""Causal patching: give problem A the latent i of problem B. Does the answer follow?"""

import random

import torch

from latent_trainer.evaluation.answers import is_equivalent, is_right
from latent_trainer.evaluation.generation import generate_answers, new_tokens
from latent_trainer.evaluation.statistics import mean_and_error

WAYS = ("rethought", "kept")  # what becomes of the other latents


def patched(latents: torch.Tensor, donors: list[int], place: int, way: str) -> torch.Tensor:
    """Return latents (N, K, H) in which latent ``place`` of every row is its donor's.

    Args:
        latents: (N, K, H), each row's own.
        donors: N rows they come from.
        place: number of the latent, from 0.
        way: "rethought": every other latent is NaN, so that the model thinks on from the patch; "kept": they stay.
    """
    result = torch.full_like(latents, float("nan")) if way == "rethought" else latents.clone()
    result[:, place] = latents[donors, place]
    return result


def measure(subject) -> dict:
    """Return how often the answer follows the donor's latent, stays what it was, or becomes another.

    What the donor implies is A's problem continued from the value of B's step where the data set can tell, else B's answer.
    Counted are the pairs for which that differs from A's answer, among ``subject.most`` problems.

    Args:
        subject: see `latent_trainer.analysis.Subject`.

    Source: Vig et al. 2020; Meng et al. 2022 (activation patching).
    """
    latents = torch.from_numpy(subject.traces.read("latents", most=subject.most))  # (n, K, H)
    problems, values = subject.traces.problems[: len(latents)], subject.values
    order = list(range(len(problems)))
    random.Random(subject.seed).shuffle(order)
    donors = [donor for _, donor in sorted(zip(order, order[1:] + order[:1], strict=True))]
    rows = []
    for way in WAYS:
        for place in range(latents.shape[1]):
            answers = generate_answers(
                subject.model,
                subject.tokenizer,
                problems,
                latents.shape[1],
                subject.model.config.template or "coconut",
                batch_size=subject.batch_size,
                max_new_tokens=new_tokens(subject.model),
                latents=patched(latents, donors, place, way),
            )
            outcomes = []
            for row, (problem, donor) in enumerate(zip(problems, donors, strict=True)):
                implied = _implied(subject, problem, problems[donor], place, values[donor][place])
                if not is_right(implied, problem.answer, problem.check):
                    given = answers[row].strict
                    outcomes.append((is_equivalent(given, implied), is_right(given, problem.answer, problem.check)))
            rows.append({"others": way, "latent": place + 1, "pairs": len(outcomes), **_shares(outcomes)})
    return {
        "problems": len(problems),
        "implied": "continued from the donor's value" if subject.continued else "the donor's answer",
        "rows": rows,
    }


def _implied(subject, problem, donor, place: int, value: str | None) -> str:
    step = place // subject.latents_per_step
    if subject.continued is None or value is None:
        return donor.answer
    return subject.continued(problem, step, value)


def _shares(outcomes: list[tuple[bool, bool]]) -> dict:
    if not outcomes:
        return {"follows": None, "stays": None, "other": None}
    follows, error = mean_and_error([one for one, _ in outcomes])
    stays, stays_error = mean_and_error([one for _, one in outcomes])
    errors = {"follows_stderr": error, "stays_stderr": stays_error}
    return {"follows": follows, "stays": stays, "other": 1 - follows - stays, **errors}


def draw(result: dict, figure) -> None:
    """Draw the share of answers that follow the donor and that stay, over the patched latent, a panel a way."""
    figure.set_size_inches(10, 4)
    titles = {"rethought": "later latents thought anew", "kept": "other latents kept"}
    for way, axes in zip(WAYS, figure.subplots(1, 2, sharey=True), strict=True):
        rows = [row for row in result["rows"] if row["others"] == way and row["pairs"]]
        for name, mark, label in (("follows", "o", "follows the donor"), ("stays", "s", "stays")):
            means, errors = ([100 * row[key] for row in rows] for key in (name, f"{name}_stderr"))
            axes.errorbar([row["latent"] for row in rows], means, yerr=errors, marker=mark, label=label)
        pairs = sum(row["pairs"] for row in rows)
        mean = sum(row["follows"] * row["pairs"] for row in rows) / max(pairs, 1)
        axes.set_title(f"With {titles[way]}, {100 * mean:.1f} % of answers follow the donor")
        axes.set(xlabel="patched latent", ylim=(-3, 103))
        axes.legend()
    figure.axes[0].set_ylabel("answers (% of pairs that would differ)")
