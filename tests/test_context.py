"""The context of a model: read from any configuration, and never left without a line that says so."""

import pytest
import torch
from conftest import make_base
from transformers import AutoConfig

from latent_trainer import LatentForCausalLM
from latent_trainer.errors import InputError
from latent_trainer.model.context import context_length

CONTEXT = 16
SCALE = {"rope_theta": 10000.0, "factor": 4.0}
LENGTHS = [
    ("gpt2", {"n_positions": 48}, 48),
    ("gptj", {"n_positions": 48}, 48),
    ("gpt_neo", {"max_position_embeddings": 48}, 48),
    ("opt", {"max_position_embeddings": 48}, 48),
    ("mpt", {"max_seq_len": 48}, 48),
    ("bloom", {}, None),
    ("bloom", {"seq_length": 48}, None),
    ("falcon", {"max_position_embeddings": 48, "alibi": True}, None),
    ("falcon", {"max_position_embeddings": 48, "alibi": False}, 48),
    ("mamba", {}, None),
    ("xlnet", {}, None),
    ("mistral", {"max_position_embeddings": 48, "sliding_window": 8}, 48),
    ("gemma3", {"text_config": {"max_position_embeddings": 48}}, 48),
    ("llama", {"max_position_embeddings": 48}, 48),
    ("llama", {"max_position_embeddings": 48, "rope_parameters": {"rope_type": "linear", **SCALE}}, 192),
    ("llama", {"max_position_embeddings": 48, "rope_parameters": {"rope_type": "dynamic", **SCALE}}, 192),
    (
        "qwen2",
        {
            "max_position_embeddings": 48,
            "rope_parameters": {"rope_type": "yarn", "original_max_position_embeddings": 48, **SCALE},
        },
        192,
    ),
    (
        "llama",
        {
            "max_position_embeddings": 192,
            "rope_parameters": {"rope_type": "yarn", "original_max_position_embeddings": 48, **SCALE},
        },
        192,
    ),
    (
        "llama",
        {
            "max_position_embeddings": 192,
            "rope_parameters": {
                "rope_type": "llama3",
                "original_max_position_embeddings": 48,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                **SCALE,
            },
        },
        192,
    ),
]


@pytest.mark.parametrize(("model_type", "settings", "expected"), LENGTHS)
def test_context_of_a_configuration(model_type, settings, expected):
    assert context_length(AutoConfig.for_model(model_type, **settings)) == expected


def make_model(architecture: str) -> LatentForCausalLM:
    length = {"n_positions": CONTEXT} if architecture == "gpt2" else {"max_position_embeddings": CONTEXT}
    base = make_base(architecture, dtype=torch.float32, **length)
    return LatentForCausalLM.from_base(base, latent_token_id=97, bot_token_id=98, eot_token_id=99).eval()


def rows(width: int, padding: int = 0) -> dict[str, torch.Tensor]:
    """Return one row with two latents that ends in three tokens."""
    ids = torch.tensor([[1] * (width - 7) + [98, 97, 97, 99, 5, 6, 7]])
    mask = torch.ones_like(ids)
    mask[:, :padding] = 0
    return {"input_ids": ids, "attention_mask": mask}


def test_absolute_positions_end_in_one_line():
    """A row that fits is read however wide its padding makes the call; a longer one is no IndexError."""
    model = make_model("gpt2")
    with torch.no_grad():
        model(**rows(CONTEXT))
        padded = model(**rows(CONTEXT + 9, padding=9)).logits[:, 9:]
        assert torch.allclose(padded, model(**rows(CONTEXT)).logits, atol=1e-5)
        for call in (rows(CONTEXT + 1), {"input_ids": rows(CONTEXT + 1)["input_ids"]}):
            with pytest.raises(InputError, match=r"a row of 17 tokens, latents included, .* context of 16"):
                model(**call)
        cache = model(**rows(CONTEXT)).past_key_values
        with pytest.raises(InputError, match="a row of 17 tokens"):
            model(input_ids=torch.tensor([[1]]), past_key_values=cache)


def test_rotary_positions_go_on_as_in_the_stock_model():
    with torch.no_grad():
        assert make_model("llama")(**rows(CONTEXT + 4)).logits.shape[1] == CONTEXT + 4


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_a_prompt_beyond_the_context_is_refused(architecture):
    """`generate`, and with it a pipeline and chat, says so for either kind of positions."""
    model = make_model(architecture)
    with pytest.raises(InputError, match="a row of 17 tokens, latents included"):
        model.generate(**rows(CONTEXT + 1), max_new_tokens=1)
    with pytest.raises(InputError, match="a row of 17 tokens, latents included"):
        model.generate(rows(CONTEXT + 1)["input_ids"], max_new_tokens=1)
    assert model.generate(**rows(CONTEXT + 5, padding=9), max_new_tokens=2).shape[1] <= CONTEXT + 7


def test_generation_that_reaches_the_end():
    """What the stock model only warns of goes on with rotary positions; absolute ones end in one line."""
    wanted = {"max_new_tokens": 9, "min_new_tokens": 9}
    assert make_model("llama").generate(**rows(10), **wanted).shape[1] == 19
    with pytest.raises(InputError, match="lower max_new_tokens"):
        make_model("gpt2").generate(**rows(10), **wanted)
    assert make_model("gpt2").generate(**rows(10), max_new_tokens=6).shape[1] <= CONTEXT
