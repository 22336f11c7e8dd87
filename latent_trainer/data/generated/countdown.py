"""Countdown: make a target of some numbers, each used at most once; any right expression counts.

The puzzle of Gandhi et al. 2024, "Stream of Search", and of TinyZero's data set ``Jiayi-Pan/Countdown-Tasks-3to4``, whose
columns are ``nums`` and ``target``; drawn here from a solution whose values in between are whole, so that one always exists.
"""

import random
from typing import Annotated

from latent_trainer.data.generated import number_games
from latent_trainer.data.problem import Problem
from latent_trainer.errors import InputError
from latent_trainer.options import Bounds, Positive

SIZES = {"train": 20_000, "validation": 1_000, "test": 1_000}
ASKS = (
    "Use the numbers {numbers}, each at most once, with + - * / and brackets to make {target}.",
    "Make {target} of the numbers {numbers}. You may use + - * / and brackets, and every number at most once.",
    "Write an expression that equals {target} with + - * / and the numbers {numbers}, none of them used twice.",
)
Numbers = Annotated[int, Bounds(least=2, most=6)]
Largest = Annotated[int, Bounds(least=10, most=1000)]


def load(
    split: str,
    path: str | None = None,
    seed: int = 0,
    size: Positive | None = None,
    min_numbers: Numbers = 3,
    max_numbers: Numbers = 4,
    largest: Largest = 100,
) -> list[Problem]:
    """Generate different puzzles, with every number of numbers equally often; more numbers are harder.

    Args:
        split: train, validation or test; the same numbers and target never stand in two of them.
        path: not taken.
        seed: decides which puzzles are drawn.
        size: number of problems.
        min_numbers, max_numbers: fewest and most numbers of a puzzle; how many it has is its difficulty, less one.
        largest: largest target; the numbers lie below it.

    Raises:
        InputError: a path is given, more numbers at least than at most, or fewer different puzzles exist than asked for.
    """
    if path is not None:
        raise InputError("dataset 'countdown' is generated and reads no file; leave dataset_path out")
    if min_numbers > max_numbers:
        raise InputError(f"min_numbers={min_numbers} is above max_numbers={max_numbers}; lower it")
    counts = range(min_numbers, max_numbers + 1)
    turn = 0

    def puzzle(rng: random.Random, is_wanted: number_games.Wanted):
        nonlocal turn
        numbers = tuple(rng.randint(1, largest - 1) for _ in range(counts[turn % len(counts)]))
        solution = number_games.draw(rng, numbers, lambda value: largest // 10 <= value <= largest)
        if solution is None or not is_wanted(numbers, int(solution.term.value)):
            return None
        turn += 1
        target = int(solution.term.value)
        question = rng.choice(ASKS).format(numbers=number_games.listed(numbers), target=target)
        return question, numbers, target, solution, len(numbers) - 1

    rng = random.Random(f"countdown/{split}/{seed}/{min_numbers}/{max_numbers}/{largest}")
    return number_games.problems("countdown", split, SIZES[split] if size is None else size, rng, puzzle)
