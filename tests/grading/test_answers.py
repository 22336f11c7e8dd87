"""Answers are found and graded as a careful person would, over hand-made pairs and every shape the data sets use."""

import json
import multiprocessing
import re
import sys
from collections import Counter
from pathlib import Path

import pytest

from latent_trainer.errors import InputError
from latent_trainer.evaluation.answers import extract_answer, is_equivalent
from latent_trainer.evaluation.grading import units

sys.path.insert(0, str(Path(__file__).parent))
from hostile_pairs import HOSTILE

PAIRS = [json.loads(line) for line in Path(__file__).with_name("pairs.jsonl").read_text(encoding="utf-8").splitlines()]

SHAPES = [  # each with a slip in it
    ("12", "13"),
    ("7/3", "8/3"),
    ("yes", "no"),
    ("(1, -2, 3/2)", "(1, -2, 5/2)"),
    ("[0, 5/2]", "[0, 5/2)"),
    (r"\frac{n!}{k! (n-k)!}", r"\frac{n!}{k! (n-k+1)!}"),
    (r"\binom{n+k-1}{k}", r"\binom{n+k}{k}"),
    (r"n \cdot 2^{n-1}", r"n \cdot 2^{n}"),
    (r"\frac{1}{n+1} \binom{2n}{n}", r"\frac{1}{n} \binom{2n}{n}"),
    (r"\sqrt{x^2 + y^2}", r"\sqrt{x^2 - y^2}"),
    (r"\max(0, |x| - 1)", r"\max(0, |x| + 1)"),
    (r"\log(1 + \exp(x))", r"\log(1 + \exp(-x))"),
    (r"y \log y - y", r"y \log y + y"),
    (r"\frac{y^{2}}{4} + |x|", r"\frac{y^{2}}{4} - |x|"),
    (r"n! \cdot (n-1)!", r"n! \cdot (n+1)!"),
]


@pytest.mark.parametrize("equal", [True, False], ids=["equal", "not equal"])
def test_pairs_graded_by_hand(equal):
    chosen = [pair for pair in PAIRS if pair["equal"] is equal]
    assert len(chosen) > 150
    wrong = [pair for pair in chosen if is_equivalent(pair["prediction"], pair["reference"]) is not equal]
    assert not wrong
    backwards = [pair for pair in chosen if None not in pair.values()]
    wrong = [pair for pair in backwards if is_equivalent(pair["reference"], pair["prediction"]) is not equal]
    assert not wrong


def test_rules_of_the_page_hold_in_either_order():
    page = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    table = page.split("<!-- rules of equivalence -->")[1].split("<!-- end -->")[0].strip().splitlines()[2:]
    assert len(table) > 20
    for line in table:
        *_, same, different = line.strip("| ").split(" | ")
        for cell, equal in ((same, True), (different, False)):
            one, other = re.findall("`([^`]+)`", cell)
            assert is_equivalent(one, other) is equal, line
            assert is_equivalent(other, one) is equal, line


def test_hostile_pairs_are_not_equal():
    assert len(HOSTILE) >= 40
    assert not [prediction[:80] for prediction, reference in HOSTILE if is_equivalent(prediction, reference)]


def test_table_is_large_and_varied():
    groups = Counter(pair["group"] for pair in PAIRS)
    assert len(PAIRS) + len(HOSTILE) >= 1150
    assert min(groups.values()) >= 9


@pytest.mark.parametrize(("answer", "slip"), SHAPES)
def test_shapes_of_the_data_sets(answer, slip):
    spaced = answer.replace(", ", " ,  ").replace("+", " +  ").replace("{", "{ ")
    assert is_equivalent(answer, answer)
    assert is_equivalent(f"${spaced}$.", answer)
    assert not is_equivalent(slip, answer)
    assert not is_equivalent(answer, slip)


def test_ordinary_answers_read_no_table_of_units_and_start_no_process():
    before = units._registry.cache_info().misses
    for prediction, reference in [
        ("12", "13"),
        ("1,000", "1000.0"),
        ("5 cm", "6"),
        ("5 hours", "5 hour"),
        ("$18", "18 dollars"),
        ("7/3", "2 1/3"),
        ("Yes.", "no"),
        ("yes", "4"),
        ("n(n+1)/2", "n^2"),
    ]:
        is_equivalent(prediction, reference)
    assert is_equivalent("(1,-2,1.5)", "(1, -2, 3/2)")
    assert not is_equivalent("[0, 3]", "[0, 5/2]")
    assert units._registry.cache_info().misses == before
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("text", "strict", "flexible"),
    [
        ("2 + 3 = 5\n### 5", "5", "5"),
        ("### 4 cm\n### 5 cm\nmore", "4 cm", "4 cm"),
        ("###", None, None),
        ("", None, None),
        ("nothing here", None, None),
        (r"so \boxed{4}, no: \boxed{\frac{1}{2}} it is 7", None, r"\frac{1}{2}"),
        (r"\boxed{3} and \boxed{4", None, "4"),
        ("The answer is $\\frac{7}{3}$. Check 12.", None, r"$\frac{7}{3}$"),
        ("Answer: (1, -2, 3/2)", None, "(1, -2, 3/2)"),
        ("**Answer:** yes, because 2 > 1", None, "yes"),
        (r"We find $x = 2n + 1$ for 3 of them", None, "2n + 1"),
        (r"hence \(n(n+1)/2\)", None, "n(n+1)/2"),
        ("Adding up:\n3 + 4 = n(n+1)/2.", None, "n(n+1)/2"),
        ("3 + 4 = 7 apples and 2 pears, 9 in all", None, "9"),
        ("from 1,250 to -3.5", None, "-3.5"),
        ("he pays 1,250 dollars", None, "1,250"),
        ("10-3", None, "3"),
        ("a share of 7/3", None, "7/3"),
        ("Yes, it is convex", None, "Yes"),
    ],
)
def test_extraction(text, strict, flexible):
    assert extract_answer(text, "strict") == strict
    assert extract_answer(text, "flexible") == flexible


def test_extraction_where_the_prompt_ends_with_the_prefix():
    assert extract_answer(" 5 cm\nmore", "strict", "") == "5 cm"
    assert extract_answer("\n", "flexible", "") is None


def test_extraction_names_the_modes():
    with pytest.raises(InputError, match="strict, flexible"):
        extract_answer("5", "loose")
