"""Generation with drawn latents: whose noise it is, which ways there are, and what is refused."""

import pytest
import torch
from conftest import make_latent, sharpen
from reference import assert_close
from transformers import GenerationConfig

from latent_trainer.errors import InputError
from latent_trainer.methods.policies import build_policy
from latent_trainer.rollout.thoughts import SampledThoughts, using

PROMPTS = [[5, 6, 98, 97, 97, 97, 99], [98, 97, 99], [6, 98, 97, 97, 99]]
WAYS = [
    {"latent_do_sample_by": "noise", "noise_std": 0.7},
    {"latent_do_sample_by": "dropout", "dropout_p": 0.4},
    {"latent_do_sample_by": "multiplex"},
    {"latent_do_sample_by": "gumbel", "latent_options": {"top_k": 5}},
    {"latent_do_sample_by": "gaussian", "latent_options": {"sigma": 2.0}},
]
ways = pytest.mark.parametrize("way", WAYS, ids=lambda way: way["latent_do_sample_by"])
DRAWN = {"latent_do_sample": True, "max_new_tokens": 8, "do_sample": False}


@pytest.fixture(scope="module")
def model():
    return sharpen(make_latent(feedback="soft")).eval()


def batch(rows):
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    return {
        "input_ids": ids,
        "attention_mask": (torch.arange(width) >= width - torch.tensor([[len(row)] for row in rows])).long(),
    }


def written(model, rows, **settings):
    given = batch(rows)
    return model.generate(**given, **settings)[:, given["input_ids"].shape[1] :].tolist()


@ways
def test_a_seed_decides_its_rows_thought(model, way):
    """The same in every batch and with or without a cache; other seeds write something else."""
    whole = written(model, PROMPTS, **DRAWN, **way, latent_seeds=[1, 2, 3])
    for row, prompt in enumerate(PROMPTS):
        alone = written(model, [prompt], **DRAWN, **way, latent_seeds=[row + 1])[0]
        assert whole[row][: len(alone)] == alone
    assert written(model, PROMPTS, **DRAWN, **way, latent_seeds=[1, 2, 3], use_cache=False) == whole
    others = {str(written(model, PROMPTS, **DRAWN, **way, latent_seeds=[seed] * 3)) for seed in range(5)}
    assert len(others) > 1
    plain = written(model, PROMPTS, max_new_tokens=8, do_sample=False)
    assert plain == written(model, PROMPTS, max_new_tokens=8, do_sample=False)


def test_the_first_token_is_that_of_the_drawn_thought(model):
    """What a call of the model draws under a seed is what generation draws."""
    given, policy = batch(PROMPTS), build_policy("gaussian", {"sigma": 0.7, "relative": False})
    with torch.no_grad(), using(model, SampledThoughts(policy, [1, 2, 3])):
        expected = model(**given).logits[:, -1]
    settings = {"latent_do_sample": True, "noise_std": 0.7, "latent_seeds": [1, 2, 3]}
    found = model.generate(
        **given, **settings, max_new_tokens=1, do_sample=False, output_logits=True, return_dict_in_generate=True
    ).logits[0]
    assert_close(found.double(), expected, 1e-5)
    assert model.thoughts is None


@pytest.mark.parametrize(
    "more", [{"do_sample": True, "num_return_sequences": 3}, {"num_beams": 3, "num_return_sequences": 3}]
)
def test_returned_sequences_think_for_themselves(model, more):
    """Sequences of one prompt have a thought each: their drawn latents differ, and the first is that of the seed."""
    seen, policy = [], build_policy("gaussian", {"sigma": 2.0})
    kept = policy.sample
    policy.sample = lambda *args: seen.append(kept(*args)) or seen[-1]
    model.generation_config.pad_token_id = 0
    with using(model, SampledThoughts(policy, [1, 2, 3])), torch.no_grad():
        model.generate(**batch(PROMPTS), max_new_tokens=4, **more)
    rows = seen[-1][0]
    assert len(rows) == 9 and len({tuple(row.tolist()) for row in rows}) == 9
    _, alone = sample_alone(model, PROMPTS[0])
    assert_close(rows[0], alone, 1e-9)


def sample_alone(model, prompt):
    with torch.no_grad(), using(model, SampledThoughts(build_policy("gaussian", {"sigma": 2.0}), [1])) as thoughts:
        model(torch.tensor([prompt]))
    record, counted = thoughts.record()
    return counted, record["latent"][0, -1]


def test_without_seeds_torch_decides(model):
    results = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        results.append(written(model, PROMPTS, **DRAWN, noise_std=2.0))
    assert results[0] == results[1] != results[2]


@pytest.mark.parametrize(
    ("feedback", "settings", "why"),
    [
        ("soft", {"latent_do_sample_by": "noise"}, "latent_do_sample_by=noise has no effect without latent_do_sample=True"),
        ("soft", {"noise_std": 0.1}, "noise_std=0.1 has no effect without latent_do_sample=True"),
        ("soft", {"latent_do_sample": True, "noise_std": 0.0}, "noise_std=0.0 must be above 0"),
        (
            "soft",
            {"latent_do_sample": True, "dropout_p": 0.1},
            "dropout_p=0.1 is of latent_do_sample_by=dropout, and it is noise",
        ),
        (
            "soft",
            {"latent_do_sample": True, "latent_do_sample_by": "dropout", "dropout_p": 1.0},
            "dropout_p=1.0 must be at least 0 and below 1",
        ),
        ("soft", {"latent_do_sample": True, "latent_do_sample_by": "drop"}, "did you mean 'dropout'"),
        ("hidden", {"latent_do_sample": True, "latent_do_sample_by": "multiplex"}, "policy=multiplex .*feedback=hidden"),
        ("learned", {"latent_do_sample": True}, "policy=noise draws latents, and feedback=learned computes none"),
        ("soft", {"latent_do_sample": True, "latent_seeds": [1]}, "latent_seeds has 1 seeds for 3 prompts"),
        ("soft", {"latent_seeds": [1, 2, 3]}, "latent_seeds have no effect without latent_do_sample=True"),
        (
            "soft",
            {"generation_config": GenerationConfig(latent_do_sample=True)},
            "generation_config has latent_do_sample, which nobody reads there",
        ),
        ("soft", {"latent_do_sample": True, "latent_options": {"sigma": 1.0}}, "latent_options are of a policy"),
    ],
)
def test_refused(feedback, settings, why):
    model = make_latent(feedback=feedback)
    with pytest.raises(InputError, match=why):
        model.generate(**batch(PROMPTS), max_new_tokens=2, **settings)
    assert model.thoughts is None
