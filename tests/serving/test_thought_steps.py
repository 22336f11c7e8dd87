"""What the vLLM plug-in knows of thoughts without vLLM: steps, states, slots."""

import random

import pytest
import torch

from latent_trainer import LatentConfig
from latent_trainer.model.thinking import ThinkingProcessor
from latent_trainer.model.tokens import thinking_columns
from latent_trainer.serving.slots import ThoughtSlots
from latent_trainer.serving.steps import BEGUN, OPEN, ThoughtTokens, columns_in_step, decided, open_latents, states_after

TOKENS = ThoughtTokens(latent=3, bot=4, eot=5)
ROWS = [random.Random(seed).choices([0, 3, 3, 4, 5], k=1 + seed % 17) for seed in range(200)]


def latents_of(row: list[int]) -> list[bool]:
    """Return where the model itself sees a latent."""
    ids = torch.tensor([row])
    return (thinking_columns(ids, TOKENS.bot, TOKENS.eot) & (ids == TOKENS.latent))[0].tolist()


def in_steps(row: list[int], most: int) -> list[tuple[int, int]]:
    """Return the first column and the one after the last of every step of at most ``most`` columns."""
    steps, start = [], 0
    while start < len(row):
        steps.append((start, start + columns_in_step(row, start, min(most, len(row) - start), TOKENS)))
        start = steps[-1][1]
    return steps


@pytest.mark.parametrize("most", [1, 3, 100])
def test_a_step_ends_before_the_next_latent_and_nowhere_else(most):
    for row in ROWS:
        latents = latents_of(row)
        for start, end in in_steps(row, most):
            assert end > start and not any(latents[start + 1 : end])
            assert end - start == most or end == len(row) or latents[end]


def test_a_closed_thought_costs_no_steps_and_a_long_prompt_no_time():
    many = [TOKENS.bot, TOKENS.eot, *[TOKENS.latent] * 200_000]
    assert columns_in_step(many, 0, len(many), TOKENS) == len(many)


@pytest.mark.parametrize("most", [1, 3, 100])
def test_states_of_rows_side_by_side_are_those_of_each_alone(most):
    """Steps of several rows are computed together, each row from the state its last step left."""
    known = [OPEN] * len(ROWS)
    found = [[] for _ in ROWS]
    thoughts = [[] for _ in ROWS]
    waiting = {number: in_steps(row, most) for number, row in enumerate(ROWS)}
    while waiting:
        steps = {number: steps.pop(0) for number, steps in waiting.items()}
        ids = torch.tensor([token for number, (start, end) in steps.items() for token in ROWS[number][start:end]])
        starts = torch.tensor([0, *(end - start for start, end in steps.values())]).cumsum(0)
        before = torch.tensor([known[number] for number in steps])
        after = states_after(ids, starts, before, TOKENS)
        latents = open_latents(ids, starts, before, after, TOKENS.latent)
        for place, number in enumerate(steps):
            own = slice(starts[place], starts[place + 1])
            found[number] += after[own].tolist()
            thoughts[number] += latents[own].tolist()
            known[number] = found[number][-1]
        waiting = {number: steps for number, steps in waiting.items() if steps}
    for row, states, latents in zip(ROWS, found, thoughts, strict=True):
        assert latents == latents_of(row)
        assert states == [_state(row[: column + 1]) for column in range(len(row))]


def _state(row: list[int]) -> int:
    """Return where the thought stands after a row, counted from its last marker on."""
    for place in range(len(row) - 1, -1, -1):
        if row[place] == TOKENS.bot:
            return BEGUN + row[place:].count(TOKENS.latent)
        if row[place] == TOKENS.eot:
            return 1
    return OPEN


def test_the_next_token_is_decided_as_generate_decides_it():
    rows = [[0] * (7 - count) + [TOKENS.bot, *[TOKENS.latent] * count] for count in range(6)]
    rows += [[*row[1:], TOKENS.eot] for row in rows] + [[0] * 8]
    config = LatentConfig(latent_token_id=3, bot_token_id=4, eot_token_id=5)
    scores = torch.randn(len(rows), 6, generator=torch.Generator().manual_seed(0))
    scores[:, [3, 4]] = float("-inf")
    scores[::3, 5] = 9.0  # the likeliest
    expected = ThinkingProcessor(config, 3)(torch.tensor(rows), scores)
    states = torch.tensor([_state(row) for row in rows])
    assert (states >= BEGUN + 3).any() and (states < BEGUN).any()
    assert torch.equal(decided(scores, states, TOKENS, 3), expected)


def test_slots_keep_the_state_of_a_column_and_know_where_there_is_none():
    slots = ThoughtSlots(2, torch.float32, torch.device("cpu"))
    slots.write(torch.tensor([7, 5_000]), torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([1, 6]))
    slots.write(torch.tensor([9_999]), torch.tensor([[5.0, 6.0]]), torch.tensor([2]))
    assert slots.hidden[[5_000, 7, 9_999]].tolist() == [[3.0, 4.0], [1.0, 2.0], [5.0, 6.0]]
    assert slots.states_before(torch.tensor([-1, 7, 5_000, 9_999])).tolist() == [OPEN, 1, 6, 2]
    for unknown in (8, 10**6):
        with pytest.raises(RuntimeError, match="without its hidden state"):
            slots.states_before(torch.tensor([7, unknown]))
