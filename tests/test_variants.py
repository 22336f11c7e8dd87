"""Variants of problems: one thing in the question is another, all else stays, and the answer is that of the new text."""

import random
import re

import pytest

from latent_trainer.data import COUNTERFACTUALS, VARIANTS, as_problems, load_problems
from latent_trainer.data.generated.prosqa.graph import Graph
from latent_trainer.data.problem import Problem

FAMILIES = {"combinatorics": ["tilings", "committees", "dice_sums"], "convex": ["water_filling", "condition_number"]}


def problems(name: str, size: int = 8) -> list[Problem]:
    """Return test problems of a data set that can be varied."""
    options = {"families": FAMILIES[name]} if name in FAMILIES else {}
    return as_problems(load_problems(name, "test", size=size, **options))


def numbers(text: str) -> list[str]:
    return re.findall(r"\d+", text)


@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "prosqa"])
def test_one_number_is_another(name):
    found = 0
    for problem in problems(name):
        for variant in VARIANTS[name](problem, random.Random(problem.id)):
            assert re.sub(r"\d+", "#", variant.question) == re.sub(r"\d+", "#", problem.question)
            pairs = set(zip(numbers(problem.question), numbers(variant.question), strict=True))
            changed = {(before, after) for before, after in pairs if before != after}
            assert len(changed) <= 1
            if not changed:  # the number that was there
                assert variant.answer == problem.answer
            found += variant.answer != problem.answer
            assert variant.steps and variant.family == problem.family
    assert found > 8


@pytest.mark.parametrize("name", VARIANTS)
def test_the_same_variants_every_time(name):
    problem = problems(name, 1)[0]
    one, other = (list(VARIANTS[name](problem, random.Random(3))) for _ in range(2))
    assert one == other and one


def test_one_edge_is_another():
    """One sentence is another one, and the answer follows from what is told then."""
    flipped = 0
    for problem in problems("prosqa"):
        before = Graph.read(problem)
        for variant in VARIANTS["prosqa"](problem, random.Random(0)):
            after = Graph.read(variant)
            assert sum(one != other for one, other in zip(before.edges, after.edges, strict=True)) == 1
            assert (before.root, before.options) == (after.root, after.options)
            assert variant.answer == after.solution()[1]
            flipped += variant.answer != problem.answer
    assert flipped > 8


def test_what_is_of_no_family_has_none():
    problem = Problem("2 + 2 = ?", (), "4", "mine")
    assert not list(VARIANTS["combinatorics"](problem, random.Random(0)))
    assert set(COUNTERFACTUALS) < set(VARIANTS)
