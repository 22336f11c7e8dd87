"""Reading off: whether latents tell that an answer will be right, and which written steps they spell."""

import numpy as np
import torch

from latent_trainer.analysis import Subject
from latent_trainer.analysis.audit.battery import Battery
from latent_trainer.analysis.lens import lens_logits, tokens_of
from latent_trainer.analysis.linear import FOLDS, LEAST, classifier_and_folds
from latent_trainer.errors import InputError
from latent_trainer.evaluation.statistics import BOOTSTRAP_SAMPLES, mean_and_error

TOPS = (1, 5)
ROWS = 256  # hidden states whose logits are in memory at a time


def correctness(battery: Battery) -> dict:
    """Return how well a linear probe on the latents ranks right answers before wrong ones, beside one on the question.

    The probe on the question reads its last hidden state: what the model knows before it thinks.

    Returns:
        ``latents`` and ``question``: the area under the ROC curve (cross-validated, 0.5 is chance) with its interval.

    Raises:
        InputError: fewer than ``LEAST`` right or wrong answers.
    """
    right = np.array([answer.correct for answer in battery.answers("forced/intact")])
    fewest = int(min(right.sum(), (~right).sum()))
    if fewest < LEAST:
        raise InputError(
            f"{fewest} of {len(right)} answers are of the rarer kind; a probe needs {LEAST} right and {LEAST} wrong"
        )
    thoughts = battery.thoughts
    result = {"problems": len(right), "right": int(right.sum()), "folds": FOLDS}
    for name, vectors in (("latents", thoughts.latents.flatten(1)), ("question", thoughts.question)):
        scores = _scores(vectors.float().numpy(), right, battery.seed)
        low, high = _interval(right, scores, battery.seed)
        result[name] = {"auroc": auroc(right, scores), "auroc_low": low, "auroc_high": high}
    return result


def _scores(vectors: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """Return, per row, the score of a classifier that has not seen it."""
    from sklearn.model_selection import cross_val_predict  # of the extra "analysis"

    classifier, folds = classifier_and_folds(seed)
    return cross_val_predict(classifier, vectors, labels, cv=folds, method="decision_function")


def auroc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Return the chance that a true row has a higher score than a false one, ties counted half.

    Source: Hanley & McNeil 1982.
    """
    from scipy.stats import rankdata  # takes longer to import than the library

    positive = int(labels.sum())
    ranks = rankdata(scores)[labels].sum()
    return float((ranks - positive * (positive + 1) / 2) / (positive * (len(labels) - positive)))


def _interval(labels: np.ndarray, scores: np.ndarray, seed: int) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of the area, problems drawn with replacement within each kind."""
    rng, values = np.random.default_rng(seed), []
    kinds = [np.flatnonzero(labels), np.flatnonzero(~labels)]
    for _ in range(BOOTSTRAP_SAMPLES // 4):
        rows = np.concatenate([rng.choice(kind, len(kind)) for kind in kinds])
        values.append(auroc(labels[rows], scores[rows]))
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


@torch.no_grad()
def gold_steps(battery: Battery, latents_per_step: int = 1) -> dict:
    """Return how often the value of a written step is among the likeliest tokens where its latent is thought from.

    The hidden state each latent is thought from is read through the model's own head.

    Raises:
        InputError: the problems have no written steps that a latent could stand for.
    """
    number = battery.num_latents
    subject = Subject(_Thought(battery.problems, number), battery.model, battery.tokenizer, latents_per_step)
    gold = [[tokens_of(value, battery.tokenizer) for value in row] for row in subject.values]  # (N, K) sets of tokens
    if not any(any(row) for row in gold):
        raise InputError("the problems have no written steps")
    hidden = battery.thoughts.hidden.flatten(0, 1)  # (N K, H)
    layer = battery.model.config.num_hidden_layers
    best = torch.cat(
        [
            lens_logits(battery.model, hidden[at : at + ROWS], layer).float().topk(max(TOPS)).indices.cpu()
            for at in range(0, len(hidden), ROWS)
        ]
    ).view(len(gold), number, -1)  # (N, K, 5)
    rows = []
    for place in range(number):
        known = [row for row in range(len(gold)) if gold[row][place]]
        found: dict = {"latent": place + 1, "problems": len(known)}
        for top in TOPS if known else ():
            hits = [not gold[row][place].isdisjoint(best[row, place, :top].tolist()) for row in known]
            found[f"top_{top}"], found[f"top_{top}_stderr"] = mean_and_error(hits)
        rows.append(found)
    return {"latents": rows}


class _Thought:
    """The part of `latent_trainer.analysis.traces.Traces` that the values of steps are found with."""

    def __init__(self, problems, num_latents: int):
        self.problems, self.num_latents = problems, num_latents
