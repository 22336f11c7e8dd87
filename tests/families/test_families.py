"""Every family of generated problems: its answers by a different route, its texts, its splits."""

import hashlib
import itertools
import random
import re
from collections import Counter

import combinatorics as combinatorics_checks
import convex as convex_checks
import pytest

from latent_trainer.data import load_problems
from latent_trainer.data.generated import combinatorics, convex
from latent_trainer.data.generated.families import SIZES, Exercise
from latent_trainer.errors import InputError
from latent_trainer.evaluation.answers import is_equivalent

DATASETS = {
    "combinatorics": (combinatorics, combinatorics_checks.CHECKS),
    "convex": (convex, convex_checks.CHECKS),
}
FAMILIES = [(dataset, name) for dataset, (module, _) in DATASETS.items() for name in module.FAMILIES]
each_family = pytest.mark.parametrize(("dataset", "name"), FAMILIES, ids=["-".join(one) for one in FAMILIES])
each_dataset = pytest.mark.parametrize("dataset", DATASETS)


def draws(dataset: str, name: str, number: int, hard: bool, seed: int = 0) -> list[Exercise]:
    """Return exercises of one family, repeats included."""
    rng = random.Random(f"test/{dataset}/{name}/{hard}/{seed}")
    return [DATASETS[dataset][0].FAMILIES[name](rng, hard) for _ in range(number)]


@each_dataset
def test_there_are_enough(dataset):
    module, checks = DATASETS[dataset]
    assert len(module.FAMILIES) >= 25
    assert set(checks) == set(module.FAMILIES)
    assert len(module.HELD_OUT) >= 4 and set(module.HELD_OUT) < set(module.FAMILIES)


@each_family
def test_answers(dataset, name, request):
    """The answers hold by enumeration, optimisation or algebra, from the parameters alone."""
    check = DATASETS[dataset][1][name]
    number = request.config.getoption("--problems")
    for hard, share in ((False, 3 * number // 4), (True, number // 4)):
        for exercise in draws(dataset, name, share, hard):
            check(exercise.parameters, exercise.answer)


@each_family
def test_texts(dataset, name):
    """Texts are whole, the phrasing varies, and the last step leads to the answer."""
    for hard in (False, True):
        exercises = draws(dataset, name, 60, hard)
        for exercise in exercises:
            question, steps = exercise.question, list(exercise.steps)
            assert 2 <= len(steps) <= 8, steps
            assert all(step.strip() == step and step and "\n" not in step for step in steps), steps
            assert question.strip() == question and question[-1] in ".?", question
            assert 1 <= exercise.difficulty <= 5
            for text in (question, *steps, exercise.answer):
                assert text.isascii() and not re.search(r"\{\w*!r|\bNone\b(?! of)|  |\bFraction\(|\d\.\d{6}", text), text
                assert text.count("{") == text.count("}") and text.count("(") + text.count("[") == text.count(
                    ")"
                ) + text.count("]"), text
        without_numbers = {re.sub(r"[-\d(),./\[\]\\{}^_ ]+", "#", exercise.question) for exercise in exercises}
        assert len(without_numbers) >= 3, without_numbers
    easy, hard = (draws(dataset, name, 40, harder) for harder in (False, True))
    assert sum(one.difficulty for one in hard) > sum(one.difficulty for one in easy)


@each_family
def test_answers_are_gradable(dataset, name):
    """Each answer equals itself as the grader reads it, in another writing, and few other answers of the family."""
    answers = [exercise.answer for exercise in draws(dataset, name, 12, False)]
    for answer in answers:
        assert is_equivalent(f"${answer}$", answer), answer
    if not {"yes", "no"} >= set(answers):
        wrong = sum(is_equivalent(one, other) for one, other in itertools.pairwise(answers) if one != other)
        assert wrong <= 2, answers


@each_family
def test_there_are_enough_of_each(dataset, name):
    """A family has many problems, and larger parameters are others; it is drawn from until there are enough."""
    found = []
    for hard, enough in ((False, 600), (True, 300)):
        rng, different, drawn = random.Random(f"test/{dataset}/{name}/{hard}"), set(), 0
        while len(different) < enough and drawn < 2_000:
            exercise = DATASETS[dataset][0].FAMILIES[name](rng, hard)
            different.add(str(sorted(exercise.parameters.items())))
            drawn += 1
        assert len(different) == enough, (hard, len(different))
        found.append(different)
    assert not found[0] & found[1]


@each_dataset
def test_yes_and_no_are_balanced(dataset):
    for name in DATASETS[dataset][0].FAMILIES:
        answers = Counter(one.answer for one in draws(dataset, name, 300, False))
        if set(answers) <= {"yes", "no"}:
            assert min(answers["yes"], answers["no"]) >= 90, (name, answers)


@each_dataset
def test_splits_share_nothing(dataset):
    """No two splits share a problem, whatever the phrasing; held-out families are in their own split only."""
    module = DATASETS[dataset][0]
    splits = {split: load_problems(dataset, split, size=600) for split in SIZES}
    places = Counter(one for rows in splits.values() for one in rows["id"])
    assert max(places.values()) == 1
    questions = Counter(one for rows in splits.values() for one in rows["question"])
    assert max(questions.values()) == 1
    for split, rows in splits.items():
        own = set(module.HELD_OUT) if split == "test_families" else set(module.FAMILIES) - set(module.HELD_OUT)
        assert set(rows["family"]) == own
    mean = {split: sum(rows["difficulty"]) / 600 for split, rows in splits.items()}
    assert mean["test_harder"] > mean["test"] + 0.5


@each_dataset
def test_same_seed_same_problems(dataset):
    """A seed gives the same bytes every time, another seed others, and more problems begin with the same."""
    first, again, other = (load_problems(dataset, "train", size=200, seed=seed).to_list() for seed in (0, 0, 1))
    assert first == again != other
    assert load_problems(dataset, "train", size=500).to_list()[:200] == first


# What the same seed gives on every platform and Python; changes with the families, never by itself.
DIGESTS = {
    "combinatorics": "d55c46980603bf98069605f317133cd557b52559773792b6745d5bd03fe0f825",
    "convex": "ccc7917f9cbc2e2562f078df5dbbe5722ade098b38a9cff58de750a3de2b16f2",
}


def digest(dataset: str) -> str:
    """Return the SHA-256 of the first 2,000 training problems, which no file holds."""
    rows = load_problems(dataset, "train", size=2_000).remove_columns("place").to_list()
    return hashlib.sha256(repr([list(row.values()) for row in rows]).encode()).hexdigest()


@each_dataset
def test_same_bytes(dataset):
    assert digest(dataset) == DIGESTS[dataset]


@each_dataset
def test_options(dataset):
    name = next(iter(DATASETS[dataset][0].FAMILIES))
    assert set(load_problems(dataset, size=30, families=[name])["family"]) == {name}
    held_out = DATASETS[dataset][0].HELD_OUT[0]
    for options, message in (
        ({"families": ["no_such"]}, "no_such"),
        ({"families": [held_out]}, "test_families"),
        ({"families": [name], "size": 10_000_000}, "too many"),
        ({"path": "here.json"}, "generated"),
    ):
        if "size" not in options:
            options["size"] = 10
        elif dataset == "convex":
            continue  # as many draws as a family has, once is enough
        with pytest.raises(InputError, match=message):
            load_problems(dataset, **options)


@pytest.mark.slow
def test_a_hundred_thousand():
    """100,000 problems of mixed families, all different."""
    for dataset in DATASETS:
        rows = load_problems(dataset, "train", size=50_000)
        assert len(set(rows["id"])) == 50_000
