"""Equivalence does not depend on the order, and what is written around an answer does not change it."""

import itertools
import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from latent_trainer.evaluation import answers, notation
from latent_trainer.evaluation.answers import is_equivalent
from latent_trainer.evaluation.grading import comparison

PAIRS = [json.loads(line) for line in Path(__file__).with_name("pairs.jsonl").read_text(encoding="utf-8").splitlines()]

NUMBERS = st.one_of(
    st.integers(-10_000, 10**9).map(str),
    st.integers(0, 10**9).map("{:,}".format),
    st.tuples(st.integers(0, 99), st.integers(1, 99)).map(lambda pair: f"{pair[0]}/{pair[1]}"),
    st.tuples(st.integers(0, 99), st.integers(1, 99)).map(lambda pair: rf"\frac{{{pair[0]}}}{{{pair[1]}}}"),
    st.sampled_from(
        ["2½", "0.(3)", r"0.\overline{6}", "1e3", "1010_2", "1.5 x 10^3", r"\infty", r"\sqrt{8}", r"2\sqrt2", "3 million"]
    ),
)
FORMULAS = st.recursive(
    NUMBERS | st.sampled_from(["x", "y", "n", "x_1", "x₁", r"\lambda", "λ", r"\pi", "e", "i", r"\|x\|", "f(x)"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", r" \cdot ", "/", " "]), inner).map("".join),
        inner.map(r"\sqrt{{{}}}".format),
        inner.map("({})^2".format),
        inner.map("|{}|".format),
        inner.map(r"-({})".format),
    ),
    max_leaves=4,
)
UNITS = st.sampled_from(
    ["{} cm", "${}", "{} km", "{} m", "{} h", "{} hours", r"{}\%", r"{} \text{{ kg}}", "€{}", "{} boxes"]
)
ANSWERS = st.one_of(
    FORMULAS,
    st.tuples(UNITS, NUMBERS).map(lambda pair: pair[0].format(pair[1])),
    st.tuples(FORMULAS, st.sampled_from([" = ", " < ", r" \le ", r" \ne ", r" \approx ", r" \in "]), FORMULAS).map("".join),
    st.tuples(
        st.sampled_from(["({})", r"\{{{}\}}", "[{}]", "{}", "({}]", "]{}["]), st.lists(FORMULAS, min_size=2, max_size=3)
    ).map(lambda pair: pair[0].format(", ".join(pair[1]))),
    st.sampled_from(["yes", "No", r"\emptyset", r"\mathbb{R}", "total = 18", r"3 \pm 1", "1; 2", "19, 46, and 82"]),
)


def fresh(one: str, other: str) -> bool:
    """Return the verdict without what is remembered of the other order."""
    cleaned = notation.clean(one), notation.clean(other)
    return bool(all(cleaned)) and comparison.same(*cleaned)


def test_every_text_against_every_other_in_both_orders():
    texts = sorted({pair[side] for pair in PAIRS for side in ("prediction", "reference") if pair[side]})[::45]
    assert len(texts) > 30
    for one, other in itertools.combinations(texts, 2):
        assert fresh(one, other) is fresh(other, one), (one, other)
        assert is_equivalent(one, other) is is_equivalent(other, one), (one, other)


@settings(max_examples=120, deadline=None, derandomize=True)
@given(ANSWERS, ANSWERS)
def test_generated_answers_in_both_orders(one, other):
    assert fresh(one, other) is fresh(other, one)
    assert is_equivalent(one, one)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    ANSWERS,
    st.sampled_from(
        ["${}$", r"\boxed{{{}}}", "**{}**", "{}.", '"{}"', "{}<|im_end|>", "Answer: {}", r"\({}\)", " {} ", "{},"]
    ),
)
def test_marks_around_an_answer_change_nothing(answer, form):
    if "$" not in answer:
        assert is_equivalent(form.format(answer), answer)
        assert is_equivalent(answer, form.format(answer))


@settings(max_examples=120, deadline=None, derandomize=True)
@given(st.text(max_size=60), st.text(alphabet=r"\{}()[]|$^_=+-*/!,.;<> 0123456789xnfrac", max_size=60))
def test_any_text_has_a_verdict(one, other):
    assert fresh(one, other) is fresh(other, one)


def test_both_orders_are_one_comparison():
    answers._verdict.cache_clear()
    assert is_equivalent("1/2", "0.5") and is_equivalent("0.5", "1/2")
    assert (answers._verdict.cache_info().misses, answers._verdict.cache_info().hits) == (1, 1)
