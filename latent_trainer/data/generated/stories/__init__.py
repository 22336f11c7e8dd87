"""Generated word problems in plain English: two to six steps that hang on each other, exact, any number, from a seed.

A story starts with a number and changes it step by step ("Mia has 12 pears, buys 7, then eats 5. How many pears are
left?"). Some stories also tell a number that does not matter. Which split a problem belongs to is a property of its numbers,
so that no split ever sees the numbers of another, in whatever words; the scenes of `HELD_OUT` are told in the split
``test_templates`` alone.
"""

import random
import zlib
from fractions import Fraction
from typing import Annotated

from latent_trainer.data.generated.stories.story import OPERATIONS, SCENES, Story
from latent_trainer.data.problem import Problem
from latent_trainer.errors import InputError
from latent_trainer.options import Bounds, Positive, Share

SIZES = {"train": 50_000, "validation": 1_000, "test": 1_000, "test_templates": 1_000}
SHARES = {
    "train": range(0, 90),
    "validation": range(90, 95),
    "test": range(95, 100),
    "test_templates": range(95, 100),
}
HELD_OUT = (
    "tea",
    "stamps",
    "candles",
    "plants",
    "lift",
    "ferry",
    "zoo",
    "camp",
    "tailor",
    "tank",
    "mine",
    "post",
    "kite",
    "cards",
    "ants",
    "beach",
)
MOST = 100  # largest number of a story
OPERANDS = {"+": range(2, 10), "-": range(2, 10), "*": range(2, 5), "/": range(2, 6)}
WEIGHTS = {"+": 3, "-": 3, "*": 2, "/": 2}
MAX_DRAWS = 10_000  # without a new story: there are no others
Operations = Annotated[int, Bounds(least=1, most=6)]


def load(
    split: str,
    path: str | None = None,
    seed: int = 0,
    size: Positive | None = None,
    min_operations: Operations = 2,
    max_operations: Operations = 6,
    asides: Share = 0.1,
) -> list[Problem]:
    """Generate different stories, with every number of operations equally often.

    Args:
        split: train, validation, test or test_templates.
        path: not taken.
        seed: decides which stories are drawn.
        size: number of problems.
        min_operations, max_operations: fewest and most operations of a story, its steps.
        asides: share of the stories that tell a number that does not matter.

    Raises:
        InputError: a path is given, more operations at least than at most, or fewer different stories exist than asked for.
    """
    if path is not None:
        raise InputError("dataset 'stories' is generated and reads no file; leave dataset_path out")
    if min_operations > max_operations:
        raise InputError(f"min_operations={min_operations} is above max_operations={max_operations}; lower it")
    size = SIZES[split] if size is None else size
    scenes = [name for name in SCENES if (name in HELD_OUT) == (split == "test_templates")]
    rng = random.Random(f"stories/{split}/{seed}/{min_operations}/{max_operations}/{asides}")
    problems: dict[str, Problem] = {}
    repeats = 0
    while len(problems) < size:
        operations = min_operations + len(problems) % (max_operations - min_operations + 1)
        story = draw(rng, rng.choice(scenes), operations, asides)
        problem = story.problem()
        repeats += 1
        if zlib.crc32(story.chain.encode()) % 100 in SHARES[split] and problem.question not in problems:
            problems[problem.question] = problem
            repeats = 0
        if repeats > MAX_DRAWS:
            raise InputError(f"dataset 'stories', split '{split}': size={size} is too many, about {len(problems)} exist")
    return list(problems.values())


def draw(rng: random.Random, scene: str, operations: int, asides: float = 0.0) -> Story:
    """Draw a story whose numbers are whole and lie between 1 and ``MOST``.

    Args:
        rng: decides everything.
        scene: a key of ``SCENES``.
        operations: its number of operations.
        asides: probability of a number that does not matter.
    """
    start = value = rng.randint(2, 30)
    drawn: list[tuple[str, int]] = []
    while len(drawn) < operations:
        (sign,) = rng.choices(list(WEIGHTS), WEIGHTS.values())
        operand = rng.choice(OPERANDS[sign])
        after = OPERATIONS[sign](value, operand)
        if after == int(after) and 1 <= after <= MOST:
            drawn.append((sign, operand))
            value = int(after)
    aside = rng.randint(2, MOST - 1) if rng.random() < asides else None
    return Story(scene, start, tuple(drawn), rng.randrange(10_000), aside)


def changed(problem: Problem, place: int, value: int) -> Problem:
    """Return the problem with another number in its question, worked out anew.

    Args:
        problem: of this data set.
        place: which number of the question, from 0.
        value: what stands there instead.

    Raises:
        InputError: not a problem of this data set, no such number, or no whole answer.
    """
    return Story.of(problem).with_number(place, value).problem()


def continued(problem: Problem, step: int, value: str) -> str:
    """Return the answer of a problem whose step number ``step``, from 0, had arrived at ``value`` instead."""
    result = Fraction(value)
    for sign, operand in Story.of(problem).operations[step + 1 :]:
        result = OPERATIONS[sign](result, operand)
    return str(result)
