"""Curricula against tables made by hand, and against what their papers publish."""

import math
import random

import pytest
from training import quick

from latent_trainer import LatentTrainingArguments
from latent_trainer.methods.curriculum import (
    CURRICULA,
    EVERYTHING,
    Blank,
    CompressedCurriculum,
    FixedCurriculum,
    InternalizeCurriculum,
    Plan,
    StagedCurriculum,
    row_rng,
)
from latent_trainer.training.stages import _stages_done

NO_CHANCE = random.Random(0)


def plans(curriculum, num_steps: int) -> list[Plan]:
    """Return a row's plan at every stage and one beyond the last."""
    return [curriculum.plan(stage, Blank(num_steps), NO_CHANCE) for stage in range(curriculum.num_stages + 1)]


# Coconut with c = 2 and max_stage = 3: rows with 2 and with 5 steps, stages 0 to 5.
COCONUT = {
    (2, False): [(0, 0), (2, 1), (4, 2), (6, 3), (4, EVERYTHING), (4, EVERYTHING)],
    (2, True): [(0, 0), (2, 1), (4, 2), (6, 3), (6, EVERYTHING), (6, EVERYTHING)],
    (5, False): [(0, 0), (2, 1), (4, 2), (6, 3), (6, EVERYTHING), (6, EVERYTHING)],
    (5, True): [(0, 0), (2, 1), (4, 2), (6, 3), (6, EVERYTHING), (6, EVERYTHING)],
    (0, False): [(0, 0), (2, 1), (4, 2), (6, 3), (0, EVERYTHING), (0, EVERYTHING)],
}


@pytest.mark.parametrize(("num_steps", "padded"), COCONUT)
def test_coconut(num_steps, padded):
    curriculum = StagedCurriculum(latents_per_step=2, max_stage=3, pad_latent_to_max=padded)
    assert curriculum.num_stages == 5
    assert [(plan.latents, plan.skip_steps) for plan in plans(curriculum, num_steps)] == COCONUT[num_steps, padded]
    assert [curriculum.latents(stage) for stage in range(5)] == [0, 2, 4, 6, 6]


def published_coconut(stage, num_steps, c_thought, max_latent_stage, pad_latent_to_max):
    """The rule in the published code's own terms: n_skip_steps and n_latent_tokens."""
    if stage > max_latent_stage:
        n_skip_steps = 10000
        n_latent_tokens = max_latent_stage if pad_latent_to_max else min(num_steps, max_latent_stage)
    else:
        n_skip_steps = n_latent_tokens = stage
    return n_latent_tokens * c_thought, n_skip_steps


def test_coconut_everywhere():
    for c in (1, 2, 3):
        for most in (0, 1, 4):
            for padded in (False, True):
                curriculum = StagedCurriculum(c, most, padded)
                for stage in range(curriculum.num_stages):
                    for num_steps in range(7):
                        plan = curriculum.plan(stage, Blank(num_steps), NO_CHANCE)
                        latents, skip = published_coconut(stage, num_steps, c, most, padded)
                        steps = list(range(num_steps))
                        assert plan.latents == latents
                        assert steps[plan.skip_steps :] == steps[skip:]
                        assert plan.skip_tokens == 0


def test_uniform_stages():
    """A row is drawn at a random stage of its own with the probability given; 0 and 1 draw none and all."""
    curriculum = StagedCurriculum(latents_per_step=1, max_stage=3, uniform_prob=0.25)
    drawn = [curriculum.plan(3, Blank(3), row_rng(0, 0, row)).latents for row in range(4000)]
    shares = [drawn.count(latents) / 4000 for latents in range(4)]
    assert shares == pytest.approx([1 / 16, 1 / 16, 1 / 16, 13 / 16], abs=0.02)
    everyone = StagedCurriculum(latents_per_step=1, max_stage=3, uniform_prob=1.0)
    drawn = [everyone.plan(0, Blank(5), row_rng(0, 0, row)) for row in range(4000)]
    seen = {(plan.latents, plan.skip_steps) for plan in drawn}
    assert seen == {(0, 0), (1, 1), (2, 2), (3, 3), (3, EVERYTHING)}  # stages 4 and 5 lie beyond the last


def test_mixed_stages():
    """At stage k a row is drawn at a stage i <= k with probability proportional to i + 1; an evaluation draws none."""
    curriculum = StagedCurriculum(latents_per_step=1, max_stage=3, mixed_stages=True)
    drawn = [curriculum.plan(2, Blank(3), row_rng(0, 0, row)).latents for row in range(6000)]
    assert [drawn.count(latents) / 6000 for latents in range(4)] == pytest.approx([1 / 6, 2 / 6, 3 / 6, 0], abs=0.02)
    assert {curriculum.plan(0, Blank(3), row_rng(0, 0, row)) for row in range(50)} == {Plan()}
    last = [curriculum.plan(4, Blank(5), row_rng(0, 0, row)) for row in range(6000)]  # stage 3 keeps two steps, stage 4 none
    assert last.count(Plan(3, 3)) / 6000 == pytest.approx(4 / 15, abs=0.02)
    assert last.count(Plan(3, EVERYTHING)) / 6000 == pytest.approx(5 / 15, abs=0.02)
    assert curriculum.plan(2, Blank(3)) == Plan(2, 2)
    both = StagedCurriculum(latents_per_step=1, max_stage=3, mixed_stages=True, uniform_prob=1.0)
    alone = StagedCurriculum(latents_per_step=1, max_stage=3, uniform_prob=1.0)
    assert all(
        both.plan(2, Blank(3), row_rng(0, 0, row)) == alone.plan(2, Blank(3), row_rng(0, 0, row)) for row in range(50)
    )


def test_a_row_draws_the_same_stage_again():
    """The draw belongs to seed, epoch and row alone: not to the order of rows, nor to who asks."""
    curriculum = StagedCurriculum(uniform_prob=0.5)

    def draw(seed, epoch, rows):
        return {row: curriculum.plan(1, Blank(6), row_rng(seed, epoch, row)) for row in rows}

    assert draw(0, 0, range(50)) == draw(0, 0, reversed(range(50)))
    assert draw(0, 0, range(50)) != draw(0, 1, range(50))
    assert draw(0, 0, range(50)) != draw(1, 0, range(50))
    assert draw(1, 23, range(50)) != draw(12, 3, range(50))  # the numbers do not run together


@pytest.mark.parametrize("unit", ["step", "token"])
def test_internalize(unit):
    curriculum = InternalizeCurriculum(per_stage=2, unit=unit, max_stage=3)
    table = plans(curriculum, 9)
    dropped = [plan.skip_steps if unit == "step" else plan.skip_tokens for plan in table[:4]]
    assert dropped == [0, 2, 4, 6]
    assert [plan.skip_tokens if unit == "step" else plan.skip_steps for plan in table[:4]] == [0, 0, 0, 0]
    assert table[4] == table[5] == Plan(skip_steps=EVERYTHING)
    assert {plan.latents for plan in table} == {0}
    assert [curriculum.latents(stage) for stage in range(5)] == [0] * 5


def test_internalize_smoothing():
    """The offset o >= 0 has probability proportional to exp(-lambda o), at stage 0 too; the last stage has none."""
    curriculum = InternalizeCurriculum(per_stage=3, unit="token", max_stage=2, smoothing=1.0)
    for stage in (0, 1):
        drawn = [curriculum.plan(stage, Blank(9), row_rng(0, 0, row)).skip_tokens - 3 * stage for row in range(8000)]
        assert min(drawn) == 0
        for offset in range(4):
            expected = math.exp(-offset) * (1 - math.exp(-1))
            assert drawn.count(offset) / 8000 == pytest.approx(expected, abs=0.015)
    assert {curriculum.plan(3, Blank(9), row_rng(0, 0, row)) for row in range(100)} == {Plan(skip_steps=EVERYTHING)}


def test_fixed():
    assert plans(FixedCurriculum(5), 3) == [Plan(5, EVERYTHING)] * 2
    assert plans(FixedCurriculum(5, keep_steps=True), 3) == [Plan(5, 0)] * 2
    assert FixedCurriculum(5).latents(0) == 5


@pytest.mark.parametrize("name", CURRICULA)
def test_arguments_make_each_curriculum(tmp_path, name):
    settings = {
        "fixed": {"num_latents": 4},
        "staged": {"latents_per_step": 3, "max_stage": 5},
        "internalize": {"internalize_per_stage": 2, "max_stage": 5},
        "compressed": {"method": "colar", "curriculum_options": {"max_compression": 3, "max_latents": 8}},
    }[name]
    curriculum = LatentTrainingArguments(str(tmp_path), **quick(curriculum=name, **settings)).make_curriculum()
    assert curriculum == {
        "fixed": FixedCurriculum(4),
        "staged": StagedCurriculum(3, 5),
        "internalize": InternalizeCurriculum(2, max_stage=5),
        "compressed": CompressedCurriculum(3, max_latents=8),
    }.get(name, curriculum)
    assert type(curriculum) is CURRICULA[name]


def test_stages_by_steps():
    """Lengths 3 and 2, the last of which repeats: stages end after 3, 5, 7, ... steps."""
    assert [_stages_done(step, [3, 2]) for step in range(10)] == [0, 0, 0, 1, 1, 2, 2, 3, 3, 4]
    assert [_stages_done(step, [4]) for step in range(9)] == [0, 0, 0, 0, 1, 1, 1, 1, 2]
