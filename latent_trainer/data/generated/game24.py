"""Game 24: make 24 of four numbers, each used exactly once; any right expression counts.

The puzzle of Yao et al. 2023, "Tree of Thoughts", whose file holds the 1,362 that the cards 1 to 13 allow; drawn here from a
solution, in any order of the numbers.
"""

import random
from typing import Annotated

from latent_trainer.data.generated import number_games
from latent_trainer.data.problem import Problem
from latent_trainer.errors import InputError
from latent_trainer.options import Bounds, Positive

TARGET, CARDS = 24, 4
TRIES = 10  # at a solution, before other numbers are drawn
SIZES = {"train": 2_000, "validation": 200, "test": 200}
ASKS = (
    "Use {numbers}, each exactly once, with + - * / and brackets to make 24.",
    "Make 24 of {numbers}. You may use + - * / and brackets, and must use every number once.",
    "Write an expression that equals 24 with + - * / and each of {numbers} once.",
)
Largest = Annotated[int, Bounds(least=6, most=100)]


def load(
    split: str, path: str | None = None, seed: int = 0, size: Positive | None = None, largest: Largest = 13
) -> list[Problem]:
    """Generate different puzzles; difficulty is 1 for + and - alone, 2 with *, 3 with /, 5 with a fraction on the way.

    Args:
        split: train, validation or test; the same four numbers never stand in two of them, in whatever order.
        path: not taken.
        seed: decides which puzzles are drawn.
        size: number of problems.
        largest: largest number; larger ones are harder.

    Raises:
        InputError: a path is given, or fewer different puzzles exist than asked for.
    """
    if path is not None:
        raise InputError("dataset 'game24' is generated and reads no file; leave dataset_path out")

    def puzzle(rng: random.Random, is_wanted: number_games.Wanted):
        numbers = tuple(rng.randint(1, largest) for _ in range(CARDS))
        if not is_wanted(numbers, TARGET):
            return None
        tries = (number_games.draw(rng, numbers, lambda value: value == TARGET, fractions=True) for _ in range(TRIES))
        solution = next(filter(None, tries), None)
        if solution is None:
            return None
        difficulty = 5 if not solution.is_whole else 3 if "/" in solution.signs else 2 if "*" in solution.signs else 1
        return rng.choice(ASKS).format(numbers=number_games.listed(numbers)), numbers, TARGET, solution, difficulty

    rng = random.Random(f"game24/{split}/{seed}/{largest}")
    return number_games.problems("game24", split, SIZES[split] if size is None else size, rng, puzzle)
