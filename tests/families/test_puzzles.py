"""Countdown and Game 24: a right answer by another route, and a check that accepts every right one and nothing else."""

import hashlib
import random
import re
from collections import Counter
from fractions import Fraction
from itertools import permutations

import pytest

from latent_trainer.data import as_problems, load_problems
from latent_trainer.data.checks import check_of
from latent_trainer.errors import InputError

# of the first 200 training problems, the same on every platform and Python
DIGESTS = {
    "countdown": "801b82536b5d6de700d248f1fb6f2f631df922a7d64ee2a2eb17060f4a98610b",
    "game24": "a592235bbd6f052139bbb7721855dcc73430631e1ea9363834a0bd94a69adf7b",
}
GAMES = tuple(DIGESTS)
each_game = pytest.mark.parametrize("game", GAMES)


def asked(problem) -> tuple[int, list[int]]:
    """Return target and numbers as the words of the question have them."""
    found = [int(number) for number in re.findall(r"\d+", problem.question)]
    if problem.id.startswith("game24"):
        return 24, [number for number in found if number != 24 or found.count(24) > 1][-4:]
    if problem.question.startswith("Use"):
        return found[-1], found[:-1]
    return found[0], found[1:]


def solutions(numbers: list[int], target: int, most: int):
    """Yield right expressions, found by trying every order of numbers and signs in reverse Polish notation."""
    number = len(numbers)
    found = 0
    for order in permutations(numbers):
        for shape in SHAPES[number]:
            stack = [[]]
            for sign in shape:
                stack = [[*signs, one] for signs in stack for one in ("+-*/" if sign == "o" else ".")]
            for signs in stack:
                value, text = run(order, signs)
                if value == target:
                    yield text
                    found += 1
                    if found == most:
                        return


def run(order, signs):
    """Return value and fully bracketed text of one program; None where it divides by zero."""
    stack, rest = [], list(order)
    for sign in signs:
        if sign == ".":
            stack.append((Fraction(rest[0]), str(rest.pop(0))))
            continue
        (one, left), (other, right) = stack[-2:]
        if sign == "/" and other == 0:
            return None, ""
        value = {"+": one + other, "-": one - other, "*": one * other, "/": one / other if other else None}[sign]
        stack[-2:] = [(value, f"({left} {sign} {right})")]
    return stack[0]


SHAPES = {3: ("..o.o", "...oo"), 4: ("..o.o.o", "..o..oo", "...oo.o", "...o.oo", "....ooo")}


@pytest.fixture(scope="module")
def puzzles(request):
    number = request.config.getoption("--problems")
    return {game: as_problems(load_problems(game, size=number)) for game in GAMES}


@each_game
def test_every_puzzle_has_a_right_answer_by_another_route(game, puzzles):
    for problem in puzzles[game]:
        target, numbers = asked(problem)
        assert problem.check == f"{game} {target} from {' '.join(map(str, numbers))}"
        assert Counter(map(int, re.findall(r"\d+", problem.answer))) == Counter(numbers)
        exact = re.sub(r"\d+", lambda found: f"Fraction({found[0]})", problem.answer)
        assert eval(exact, {"Fraction": Fraction}) == target, problem
        for step in problem.steps:
            left, right = (re.sub(r"\d+", lambda found: f"Fraction({found[0]})", side) for side in step.split("="))
            assert eval(left, {"Fraction": Fraction}) == eval(right, {"Fraction": Fraction}), problem
        assert problem.steps[-1].endswith(f"={target}") and len(problem.steps) == len(numbers) - 1


@each_game
def test_every_right_expression_is_accepted(game, puzzles):
    """Those that a search finds, which the generator never saw; and none of them with a number changed."""
    rng = random.Random(0)
    for problem in puzzles[game][:: len(puzzles[game]) // 25]:
        target, numbers = asked(problem)
        is_right = check_of(problem.check)
        found = list(solutions(numbers, target, most=5))
        assert found, problem
        for text in found:
            assert is_right(text) and is_right(f"{text[1:-1]} = {target}") and is_right(text.replace("*", "\u00d7"))
            number = rng.choice(re.findall(r"\d+", text))
            assert not is_right(re.sub(rf"\b{number}\b", str(int(number) + 1), text, count=1))
            assert not is_right(f"{text} + 0") and not is_right(f"{text} = {target + 1}") and not is_right(f"{text} * 1")


def test_countdown_may_leave_numbers_out_and_game24_may_not():
    assert check_of("countdown 10 from 4 6 9")("4 + 6")
    assert not check_of("game24 10 from 4 6 9")("4 + 6")
    assert check_of("countdown 12 from 4 4 4")("4 + 4 + 4") and not check_of("countdown 12 from 4 4 5")("4 + 4 + 4")


@each_game
def test_splits_share_no_numbers(game):
    sizes = {"train": 400, "validation": 60, "test": 60}
    splits = {split: load_problems(game, split, size=size) for split, size in sizes.items()}
    keys = {split: {(asked(row)[0], *sorted(asked(row)[1])) for row in as_problems(rows)} for split, rows in splits.items()}
    assert not keys["train"] & keys["test"] and not keys["train"] & keys["validation"]
    assert not keys["validation"] & keys["test"]
    assert all(len(set(rows["id"])) == len(set(rows["question"])) == len(rows) for rows in splits.values())
    other = load_problems(game, "test", size=60, seed=1)
    assert not {(asked(row)[0], *sorted(asked(row)[1])) for row in as_problems(other)} & keys["train"]
    assert splits["test"].to_list() == load_problems(game, "test", size=60).to_list() != other.to_list()


@each_game
def test_same_bytes(game):
    rows = load_problems(game, size=200).remove_columns("place").to_list()
    assert hashlib.sha256(repr([list(row.values()) for row in rows]).encode()).hexdigest() == DIGESTS[game]


def test_options():
    rows = as_problems(load_problems("countdown", size=30, min_numbers=5, max_numbers=6, largest=50))
    assert {row.difficulty for row in rows} == {4, 5} and max(max(asked(row)[1]) for row in rows) < 50
    assert {row.difficulty for row in as_problems(load_problems("countdown", size=30))} == {2, 3}
    assert max(max(asked(row)[1]) for row in as_problems(load_problems("game24", size=60))) == 13
    assert max(max(asked(row)[1]) for row in as_problems(load_problems("game24", size=60, largest=20))) > 13
    for game, options, message in (
        ("countdown", {"min_numbers": 4, "max_numbers": 3}, "min_numbers=4 is above max_numbers=3"),
        ("countdown", {"size": 1_000_000, "min_numbers": 2, "max_numbers": 2, "largest": 10}, "too many, about"),
        ("countdown", {"path": "a.json"}, "reads no file"),
        ("game24", {"path": "a.json"}, "reads no file"),
    ):
        with pytest.raises(InputError, match=message):
            load_problems(game, **options)
