"""Numbers about graded answers against enumeration, simulation and plain references."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from latent_trainer.evaluation.statistics import bootstrap_interval, mcnemar, mean_and_error, pass_at_k


@pytest.mark.parametrize("samples", [1, 2, 5, 9])
def test_pass_at_k_equals_the_product_and_counts_draws(samples):
    """1 - prod (1 - k / i) for i above samples - correct, and the share of all draws of k that hold a right answer."""
    for correct, k in itertools.product(range(samples + 1), range(1, samples + 1)):
        product = (
            1.0 if samples - correct < k else 1 - math.prod(1 - k / i for i in range(samples - correct + 1, samples + 1))
        )
        draws = list(itertools.combinations([True] * correct + [False] * (samples - correct), k))
        found = pass_at_k(samples, correct, k)
        assert found == pytest.approx(product, abs=1e-12)
        assert found == pytest.approx(sum(map(any, draws)) / len(draws), abs=1e-12)


def test_pass_at_k_is_unbiased():
    """Its mean over simulated runs of 10 answers is the chance that k answers hold a right one."""
    rng, right = np.random.default_rng(0), 0.3
    counts = rng.binomial(10, right, 20_000)
    for k in (1, 4, 10):
        values = [pass_at_k(10, int(count), k) for count in counts]
        assert np.mean(values) == pytest.approx(1 - (1 - right) ** k, abs=4 * np.std(values) / len(values) ** 0.5)


def test_pass_at_k_of_many_samples():
    assert pass_at_k(10_000, 1, 5_000) == pytest.approx(0.5)
    assert pass_at_k(10_000, 0, 10_000) == 0.0


def enumerated(first: int, second: int) -> float:
    """Return the share of all ways to give each discordant problem to a side that are no likelier than what was seen."""
    discordant = first + second
    seen = math.comb(discordant, first)
    ways = [sum(sides) for sides in itertools.product((0, 1), repeat=discordant)]
    return sum(math.comb(discordant, way) <= seen for way in ways) / len(ways)


def pair(both: int, first: int, second: int, neither: int) -> tuple[list[bool], list[bool]]:
    rows = [(True, True)] * both + [(True, False)] * first + [(False, True)] * second + [(False, False)] * neither
    np.random.default_rng(0).shuffle(rows)
    return [bool(row[0]) for row in rows], [bool(row[1]) for row in rows]


@pytest.mark.parametrize(("first", "second"), [(0, 1), (3, 3), (6, 2), (1, 9), (0, 7)])
def test_mcnemar_of_few_problems_is_enumerated(first, second):
    found = mcnemar(*pair(4, first, second, 5))
    assert (found["only_intact"], found["only_changed"]) == (first, second)
    assert found["p_value"] == pytest.approx(enumerated(first, second), abs=1e-12)
    assert found["p_value"] == pytest.approx(stats.binomtest(first, first + second).pvalue, abs=1e-12)
    assert found["cohen_g"] == pytest.approx(first / (first + second) - 0.5)


@pytest.mark.parametrize(("first", "second"), [(520, 480), (1050, 950), (600, 400)])
def test_mcnemar_of_many_problems_nears_chi_square(first, second):
    """With the continuity correction the chi-square test agrees to two per cent of the p-value or 1e-4."""
    statistic = (abs(first - second) - 1) ** 2 / (first + second)
    expected = stats.chi2.sf(statistic, 1)
    assert mcnemar(*pair(0, first, second, 100))["p_value"] == pytest.approx(expected, rel=0.02, abs=1e-4)


def test_mcnemar_difference_and_its_error():
    """The paired difference of accuracies, with the standard error of the paired differences."""
    intact, changed = pair(20, 9, 4, 7)
    found = mcnemar(intact, changed)
    values = [int(one) - int(other) for one, other in zip(intact, changed, strict=True)]
    mean = sum(values) / 40
    assert found["difference"] == pytest.approx(mean) == pytest.approx(5 / 40)
    assert found["difference_stderr"] == pytest.approx((sum((value - mean) ** 2 for value in values) / 40 / 40) ** 0.5)
    back = mcnemar(changed, intact)
    assert (back["difference"], back["cohen_g"]) == (-found["difference"], -found["cohen_g"])
    assert back["p_value"] == found["p_value"]


@pytest.mark.parametrize("value", [True, False])
@pytest.mark.parametrize("number", [1, 12])
def test_the_same_answers_differ_in_nothing(value, number):
    found = mcnemar([value] * number, [value] * number)
    assert found.pop("p_value") == 1.0
    assert set(found.values()) == {0}


def test_error_of_right_and_wrong_answers():
    mean, error = mean_and_error([True] * 30 + [False] * 70)
    assert (mean, error) == (pytest.approx(0.3), pytest.approx((0.3 * 0.7 / 100) ** 0.5))


def resampled(values, draws: int, seed: int) -> tuple[float, float]:
    """Return the percentile bootstrap interval, drawn plainly."""
    rng = np.random.default_rng(seed)
    means = [rng.choice(values, len(values)).mean() for _ in range(draws)]
    return tuple(np.percentile(means, [2.5, 97.5]))


@pytest.mark.parametrize("number", [15, 200])
def test_bootstrap_interval(number):
    rng = np.random.default_rng(number)
    for values in (rng.random(number) < 0.7, rng.random(number)):
        values = values.astype(float)
        spread = values.std() / number**0.5
        found, expected = bootstrap_interval(values), resampled(values, 5_000, 1)
        assert found == pytest.approx(expected, abs=0.2 * spread + 1 / number)  # estimates, in steps of 1 / number
        assert found[0] < values.mean() < found[1]
        assert bootstrap_interval(values) == found != bootstrap_interval(values, seed=1)


def test_bootstrap_interval_covers_the_truth():
    """Of 150 intervals of 80 answers each, about 95 % hold the true share."""
    rng = np.random.default_rng(0)
    intervals = [bootstrap_interval(rng.random(80) < 0.6) for _ in range(150)]
    covered = sum(low <= 0.6 <= high for low, high in intervals)
    assert 0.90 < covered / 150 < 0.99


@pytest.mark.parametrize("values", [[True], [False], [True] * 9, [False] * 9, [0.5] * 3])
def test_bootstrap_interval_without_spread(values):
    assert bootstrap_interval(values) == (values[0], values[0])
