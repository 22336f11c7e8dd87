"""The contract of curricula."""

import random
from dataclasses import dataclass

from latent_trainer.methods.curriculum import CURRICULA, Plan
from latent_trainer.options import check_options
from latent_trainer.testing.tiny import contract, other_seeds, require


@dataclass(frozen=True)
class Row:
    """What a curriculum sees of a problem: token ids."""

    prompt: tuple[int, ...]
    steps: tuple[tuple[int, ...], ...]
    answer: tuple[int, ...]


ROWS = [
    Row(tuple(range(1, 3 + number)), tuple(tuple(range(1 + (number + step) % 4)) for step in range(number)), (1, 2))
    for number in (0, 1, 2, 3, 5, 9)
]


def check_curriculum(curriculum: str | type, options: dict | None = None) -> None:
    """Require that a curriculum keeps its contract: a pure function whose ``plans`` know every plan that ``plan`` gives.

    Args:
        curriculum: a name, ``package.module:Class`` or the class.
        options: its options.

    Raises:
        AssertionError: with a sentence that says what is wrong.
    """
    with contract("curriculum", curriculum) as name:
        what, kind = f"curriculum '{name}'", CURRICULA[name]
        options = check_options(what, kind, options or {}, setting="curriculum_options")
        one, other = kind(**options), kind(**options)
        stages = one.num_stages
        require(isinstance(stages, int) and stages >= 1, f"{what}: num_stages is {stages!r}; give a whole number from 1 on")
        require(one == other, f"{what}: two of the same options are not equal; make it a dataclass of its options")
        for stage in range(stages):
            latents = one.latents(stage)
            require(
                isinstance(latents, int) and latents >= 0,
                f"{what}: latents({stage}) is {latents!r}; give a whole number from 0 on",
            )
            for row in ROWS:
                _check_plan(what, one, other, stage, row, one)
                for own, again in _of_steps(what, one, other):
                    _check_plan(what, own, again, stage, row, one)
        require(one == other, f"{what} is changed by being asked for plans; keep nothing in it")


def _of_steps(what: str, one, other) -> list[tuple]:
    """Return what two equal curricula draw for some optimizer steps; nothing of one that draws nothing for a step."""
    if not hasattr(one, "drawn"):
        return []
    pairs = [tuple(each.drawn(random.Random(seed)) for each in (one, other)) for seed in range(8)]
    require(
        all(own == again and type(own) is type(one) for own, again in pairs),
        f"{what}: drawn(rng) returns {pairs[0]!r}; return a curriculum of the same class that depends on rng alone",
    )
    return pairs


def _check_plan(what: str, one, other, stage: int, row: Row, whole) -> None:
    at = f"{what}: plan at stage {stage} of a row with {len(row.steps)} steps"
    with other_seeds(1):
        scheduled = one.plan(stage, row)
        drawn = [one.plan(stage, row, random.Random(seed)) for seed in range(20)]
        every = whole.plans(row)
    with other_seeds(2):
        # in another order, so that a plan that depends on what was asked before shows
        again = [other.plan(stage, row, random.Random(seed)) for seed in reversed(range(20))][::-1]
        again = [other.plan(stage, row), *again]
    for plan in (scheduled, *drawn):
        numbers = (plan.latents, plan.skip_steps, plan.skip_tokens) if isinstance(plan, Plan) else (None,)
        require(
            all(isinstance(number, int) and number >= 0 for number in numbers),
            f"{at} is {plan!r}; return a Plan of whole numbers from 0 on",
        )
    require(
        again == [scheduled, *drawn],
        f"{at} changes when it is asked for again; let it depend on stage, row and rng alone, not on random itself or on "
        "what was asked before",
    )
    for plan in (scheduled, *drawn):
        require(
            any(_covers(longest, plan) for longest in every),
            f"{at} may be {plan}, and plans(row) holds nothing as long: {every}; return every plan a row may get, or the "
            "longest",
        )


def _covers(longest: Plan, plan: Plan) -> bool:
    """Return whether a row under a plan is at most as long as under another one."""
    drops = longest.skip_steps <= plan.skip_steps and longest.skip_tokens <= plan.skip_tokens
    return drops and longest.latents >= plan.latents
