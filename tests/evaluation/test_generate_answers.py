"""Generated answers: what a batch costs is measured, and what stands in it never changes an answer."""

from dataclasses import asdict

import pytest
import torch
from conftest import make_base, sharpen

from latent_trainer import LatentForCausalLM, load_problems
from latent_trainer.data import as_problems
from latent_trainer.data.tokenizer import train_tokenizer
from latent_trainer.evaluation.generation import Answer, generate_answers

COSTS = ("prefill_seconds", "decode_seconds")


@pytest.fixture(scope="module")
def chains():
    """Five hundred problems of one to five operations, in random order of length."""
    parts = [
        as_problems(load_problems("arithmetic", "train", size=size, operations=1 + row))
        for row, size in enumerate((10, 115, 125, 125, 125))
    ]
    mixed = [problem for part in parts for problem in part]
    return [mixed[place] for place in torch.randperm(500, generator=torch.Generator().manual_seed(0)).tolist()]


@pytest.fixture(scope="module")
def made(chains):
    """Return a model that ends some texts early, and its tokenizer."""
    tokenizer = train_tokenizer([" ".join([problem.question, *problem.steps, "= ###"]) for problem in chains])
    base = make_base("gpt2", vocab_size=len(tokenizer), n_layer=1)
    base.generation_config.suppress_tokens = tokenizer.convert_tokens_to_ids(
        ["=", "###"]
    )  # answers are then compared at once
    model = sharpen(LatentForCausalLM.from_base(base, tokenizer=tokenizer)).eval()
    with torch.no_grad():
        table = model.get_output_embeddings().weight
        table[tokenizer.eos_token_id] = 1.05 * table[tokenizer.convert_tokens_to_ids("2")]  # written in its place
    return model, tokenizer


def answered(made, problems, batch_size=64, **options) -> list[Answer]:
    settings = {"num_latents": 2, "template": "plain", "max_new_tokens": 3, **options}
    return generate_answers(*made, problems, batch_size=batch_size, **settings)


def without_costs(answers: list[Answer]) -> list[dict]:
    return [{name: value for name, value in asdict(answer).items() if name not in COSTS} for answer in answers]


def test_batches_change_nothing(made, chains):
    """500 problems one by one and in ragged batches of 64, the last of which has 52: texts, tokens, passes and grades."""
    ragged = answered(made, chains)
    assert [answer.id for answer in ragged] == [problem.id for problem in chains]
    assert without_costs(answered(made, chains, 1)) == without_costs(ragged)
    assert len({answer.text for answer in ragged}) > 50
    assert {answer.tokens_written for answer in ragged} == {1, 2, 3}
    assert 0 < sum(answer.correct_flexible for answer in ragged) < 500


def test_two_models_of_ending(made, chains):
    """Any token that ends a text for ``generate`` ends it in the answer; padding after it is not counted as written."""
    model, tokenizer = made
    plain = answered(made, chains[:60])
    other = tokenizer.convert_tokens_to_ids(plain[0].text.split()[0])  # written by several rows
    kept = model.generation_config.eos_token_id
    model.generation_config.eos_token_id = [kept, other]
    try:
        ragged, alone = (without_costs(answered(made, chains[:60], batch_size)) for batch_size in (60, 1))
    finally:
        model.generation_config.eos_token_id = kept
    assert ragged == alone
    assert ragged[0]["tokens_written"] == 1 < plain[0].tokens_written
    assert max(answer["tokens_written"] for answer in ragged) == 3


@pytest.mark.parametrize("num_latents", [0, 1, 4])
def test_passes_and_seconds(made, chains, num_latents):
    """Alone, a row needs a pass for the prompt, one a latent and one for each token but the first."""
    passes = []
    hook = made[0].get_decoder().register_forward_pre_hook(lambda *call: passes.append(1))
    for problem in chains[:6]:
        passes.clear()
        (answer,) = answered(made, [problem], num_latents=num_latents)
        assert answer.passes == num_latents + answer.tokens_written == len(passes)
        assert answer.latents == num_latents
        assert answer.prefill_seconds > 0 and answer.decode_seconds > 0
    hook.remove()
    together = answered(made, chains, num_latents=num_latents)  # a row that ends early has had no more
    assert len({answer.tokens_written for answer in together}) > 1
    assert all(answer.passes == num_latents + answer.tokens_written for answer in together)
    assert not made[0].get_decoder()._forward_pre_hooks


def test_passes_of_pause_tokens(chains):
    """Pause tokens are read with the prompt."""
    tokenizer = train_tokenizer([" ".join([problem.question, *problem.steps, "= ###"]) for problem in chains])
    base = make_base("gpt2", vocab_size=len(tokenizer), n_layer=1)
    model = LatentForCausalLM.from_base(base, tokenizer=tokenizer, feedback="learned").eval()
    (answer,) = answered((model, tokenizer), chains[:1], num_latents=5)
    assert (answer.passes, answer.latents) == (answer.tokens_written, 5)


def test_seconds_are_shared(made, chains, monkeypatch):
    """What a batch took is divided by its rows: their sum is the time of all calls."""
    ticks = iter(range(100))
    monkeypatch.setattr("latent_trainer.evaluation.generation.time.perf_counter", lambda: next(ticks))
    answers = answered(made, chains[:6], batch_size=4)
    assert sorted(answer.prefill_seconds for answer in answers) == [1 / 4] * 4 + [1 / 2] * 2
    assert sum(answer.prefill_seconds + answer.decode_seconds for answer in answers) == 4


def test_batches_are_handed_over_as_they_come(made, chains):
    batches = []
    answers = answered(made, chains[:10], batch_size=4, on_batch=batches.append)
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert {answer.id: answer for batch in batches for answer in batch} == {answer.id: answer for answer in answers}
    assert answered(made, []) == []


def test_the_mode_of_the_model_comes_back(made, chains):
    model, _ = made
    model.train()
    answered(made, chains[:2])
    assert model.training
    model.eval()
    answered(made, chains[:2])
    assert not model.training
