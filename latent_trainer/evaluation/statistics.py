"""What can be concluded from graded answers: intervals, pass@k, majority votes and paired tests."""

from collections.abc import Sequence
from math import comb

import numpy as np

BOOTSTRAP_SAMPLES = 2_000
CONFIDENCE = 0.95


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and its standard error; for correct / wrong answers that is sqrt(p (1 - p) / n)."""
    array = np.asarray(values, dtype=float)
    return float(array.mean()), float(array.std() / len(array) ** 0.5)


def bootstrap_interval(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of the mean, problems drawn with replacement."""
    array = np.asarray(values, dtype=float)
    if len(array) < 2:
        return float(array[0]), float(array[0])
    from scipy import stats  # takes longer to import than the library

    interval = stats.bootstrap(
        (array,),
        np.mean,
        n_resamples=BOOTSTRAP_SAMPLES,
        batch=100,
        method="percentile",
        confidence_level=CONFIDENCE,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Return the chance that one of k answers, drawn from ``samples`` of which ``correct`` are right, is right.

    Source: Chen et al. 2021, equation 1 (the unbiased estimator).
    """
    return 1.0 - comb(samples - correct, k) / comb(samples, k)


def mcnemar(intact: Sequence[bool], changed: Sequence[bool]) -> dict[str, float]:
    """Compare two runs over the same problems, paired: does the change make a difference?

    Args:
        intact, changed: whether each problem was answered right, in the same order.

    Returns:
        The loss of accuracy ``difference`` = intact - changed with its paired standard error, the numbers of problems only
        one of them got right, the two-sided p-value of the exact test (binomial, for every count), and Cohen's g, the share
        of discordant problems in favour of the intact run less one half.

    Source: McNemar 1947; Cohen 1988, chapter 5.
    """
    from scipy import stats  # takes longer to import than the library

    first, second = np.asarray(intact, dtype=bool), np.asarray(changed, dtype=bool)
    only_intact, only_changed = int((first & ~second).sum()), int((~first & second).sum())
    discordant = only_intact + only_changed
    difference, error = mean_and_error(first.astype(float) - second.astype(float))
    return {
        "difference": difference,
        "difference_stderr": error,
        "only_intact": only_intact,
        "only_changed": only_changed,
        "p_value": float(stats.binomtest(only_intact, discordant).pvalue) if discordant else 1.0,
        "cohen_g": only_intact / discordant - 0.5 if discordant else 0.0,
    }
