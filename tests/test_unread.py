"""The last layer's feed-forward part on the columns that are read: same losses and gradients, fewer rows."""

import contextlib

import pytest
import torch
from conftest import ARCHITECTURES, make_base, make_latent
from reference import assert_close
from test_checkpointing import batch
from test_masks import IDS, KINDS, measured
from transformers import AutoConfig, AutoModelForCausalLM

from latent_trainer import LatentForCausalLM
from latent_trainer.rollout.fast import passes as fast_passes

PROMPT = batch()["input_ids"].shape[1]


def rows_of(module) -> list[int]:
    """Return a list that fills with the columns of every call of a module."""
    columns = []
    module.register_forward_pre_hook(lambda module, args: columns.append(args[0].shape[-2]))
    return columns


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nothing_changes(monkeypatch, architecture, kind):
    model = make_latent(architecture, **KINDS[kind])
    part, _ = measured(model)
    monkeypatch.setattr(fast_passes, "read_from", lambda decoder, column: contextlib.nullcontext())
    whole, _ = measured(model)
    for name, value in whole.items():
        scale = 1 + value.abs().max()
        assert value.isfinite().all()
        assert_close(part[name] / scale, value / scale, 1e-5 if architecture == "gemma2" else 1e-8)


def test_the_prompt_is_left_out():
    """All of its columns but the last, which predicts what follows; every other layer reads them."""
    model = make_latent("llama").train()
    first, last = (rows_of(model.get_decoder().layers[at].mlp.gate_proj) for at in (0, -1))
    model(**batch())
    assert first[0] - last[0] == PROMPT - 1 and first[1:] == last[1:]
    model(input_ids=torch.tensor([[5, 6, 98, 97, 99]]))
    assert first[-2:] == last[-2:]


def test_experts_read_everything():
    """Which expert reads a column depends on the others where its capacity is counted."""
    settings = {**ARCHITECTURES["llama"], "moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2}
    config = AutoConfig.for_model("qwen3_moe", vocab_size=100, bos_token_id=0, eos_token_id=0, **settings)
    torch.manual_seed(0)
    model = LatentForCausalLM.from_base(AutoModelForCausalLM.from_config(config), **IDS)
    columns = []
    # the router: what the part itself is called with holds every column, also where some are left out within
    model.get_decoder().layers[-1].mlp.gate.register_forward_pre_hook(
        lambda module, args: columns.append(args[0].shape[:-1].numel() // len(batch()["input_ids"]))
    )
    losses, passes = measured(model)
    assert columns == [one["positions"] for one in passes] and losses["latent losses"].isfinite().all()


def test_a_layer_without_such_a_part():
    """OPT's layers call theirs fc1 and fc2."""
    settings = {
        "hidden_size": 32,
        "ffn_dim": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "word_embed_proj_dim": 32,
    }
    config = AutoConfig.for_model("opt", vocab_size=100, bos_token_id=0, eos_token_id=0, pad_token_id=1, **settings)
    torch.manual_seed(0)
    model = LatentForCausalLM.from_base(AutoModelForCausalLM.from_config(config), **IDS)
    assert not hasattr(model.get_decoder().decoder.layers[-1], "mlp")
    values, _ = measured(model)
    assert all(value.isfinite().all() for value in values.values())


def test_modules_are_left_as_they_were():
    model = LatentForCausalLM.from_base(make_base("gpt2"), **IDS).train()
    model(**batch())
    assert not any("forward" in module.__dict__ for module in model.modules())


def test_a_part_that_takes_more():
    """BLOOM's adds the residual itself."""
    settings = {"hidden_size": 32, "n_layer": 2, "n_head": 4, "bos_token_id": 0, "eos_token_id": 0}
    config = AutoConfig.for_model("bloom", vocab_size=100, **settings)
    torch.manual_seed(0)
    values, _ = measured(LatentForCausalLM.from_base(AutoModelForCausalLM.from_config(config), **IDS))
    assert all(value.isfinite().all() for value in values.values())
