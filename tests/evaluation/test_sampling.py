"""Sampling from a row's own generator: the right frequencies, and the same text in every batch."""

import pytest
import torch
from conftest import make_base, sharpen
from scipy import stats
from training import make_tokenizer, uneven_problems
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from latent_trainer import LatentForCausalLM
from latent_trainer.evaluation.generation import generate_answers
from latent_trainer.evaluation.sampling import sampler

SCORES = torch.tensor([2.0, 1.0, 0.5, 0.0, -0.5, -1.0, -3.0])
DRAWS = 4_000


def draws(names: int, steps: int, scores=SCORES, **options) -> torch.Tensor:
    """Return how often each token is chosen over rows and steps."""
    processors = sampler([str(name) for name in range(names)], "cpu", **options)
    chosen = torch.cat([processors(None, scores.repeat(names, 1)).argmax(-1) for _ in range(steps)])
    return chosen.bincount(minlength=len(scores))


@pytest.mark.parametrize("shape", [(DRAWS, 1), (40, DRAWS // 40)], ids=["many rows", "many steps"])
@pytest.mark.parametrize(
    ("options", "warpers"),
    [
        ({}, []),
        ({"temperature": 0.7}, [TemperatureLogitsWarper(0.7)]),
        ({"top_k": 3}, [TopKLogitsWarper(3)]),
        ({"top_p": 0.8}, [TopPLogitsWarper(0.8)]),
        (
            {"temperature": 1.5, "top_k": 5, "top_p": 0.9},
            [TemperatureLogitsWarper(1.5), TopKLogitsWarper(5), TopPLogitsWarper(0.9)],
        ),
    ],
)
def test_frequencies(options, warpers, shape):
    """A chi-square test against the softmax of what the stock warpers leave; what they take away is never chosen."""
    scores = SCORES[None]
    for warper in warpers:
        scores = warper(None, scores)
    chances = scores[0].double().softmax(-1).numpy()
    found = draws(*shape, **options).numpy()
    possible = chances > 0
    assert not found[~possible].any()
    assert stats.chisquare(found[possible], chances[possible] * DRAWS).pvalue > 0.01
    assert stats.chisquare(found[possible]).pvalue < 1e-6  # the test would notice equal frequencies


def test_the_name_decides():
    """Rows of one name draw alike, whatever else is in the batch; steps and names differ."""
    batch = [sampler(list(names), "cpu") for names in ("abc", "b", "cb")]
    scores = torch.zeros(3, 50)
    first = [processor(None, scores[: len(names)]) for processor, names in zip(batch, ("abc", "b", "cb"), strict=True)]
    assert torch.equal(first[0][1], first[1][0]) and torch.equal(first[0][1], first[2][1])
    assert not torch.equal(first[0][0], first[0][1])
    assert not torch.equal(batch[1](None, scores[:1]), first[1])


def test_impossible_tokens_stay_impossible():
    scores = torch.full((1, 5), -torch.inf).index_fill(1, torch.tensor([2]), 0.0)
    assert (sampler(["a"], "cpu")(None, scores).isinf() == scores.isinf()).all()


@pytest.fixture(scope="module")
def model_and_tokenizer():
    tokenizer = make_tokenizer()
    model = LatentForCausalLM.from_base(make_base(vocab_size=len(tokenizer)), tokenizer=tokenizer)
    return sharpen(model).eval(), tokenizer


def sampled(model_and_tokenizer, rows: list[tuple[int, int]], batch_size: int, seed: int = 0) -> dict:
    """Return the text of each (problem, sample)."""
    model, tokenizer = model_and_tokenizer
    problems = uneven_problems(8)
    answers = generate_answers(
        model,
        tokenizer,
        [problems[number] for number, _ in rows],
        2,
        "plain",
        batch_size,
        6,
        samples=[sample for _, sample in rows],
        sampling={"seed": seed, "temperature": 20.0, "top_k": 9},
    )
    return {(int(answer.id), answer.sample): answer.text for answer in answers}


def test_a_row_is_sampled_alike_in_every_batch(model_and_tokenizer):
    rows = [(number, sample) for number in range(8) for sample in range(3)]
    alone = sampled(model_and_tokenizer, rows, 1)
    assert sampled(model_and_tokenizer, rows, 24) == alone
    assert sampled(model_and_tokenizer, rows[::-1], 5) == alone
    late = sampled(model_and_tokenizer, rows[10:], 4)  # the rest after an interruption
    assert late == {row: alone[row] for row in rows[10:]}
    assert len({alone[0, sample] for sample in range(3)}) == 3
    other = sampled(model_and_tokenizer, rows, 24, seed=1)
    assert sum(other[row] != alone[row] for row in rows) > 20
