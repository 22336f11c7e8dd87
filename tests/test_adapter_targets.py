"""Adapters go where a row of tokens learns, and nowhere else."""

import pytest
import torch
from peft import LoraConfig
from test_base_check import wrapped

from latent_trainer.model.adapter_targets import default_targets
from latent_trainer.model.adapters import add_adapters

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
}
MODELS = {
    "llama": SMALL,
    "ctrl": {"n_embd": 32, "n_layer": 2, "n_head": 4, "dff": 64},  # its feed-forward part is a list: "0"
    "bart": {
        "d_model": 32,
        "decoder_layers": 2,
        "decoder_attention_heads": 4,
        "decoder_ffn_dim": 64,
    },  # attends to an encoder
    "phimoe": {**SMALL, "num_local_experts": 2},  # its router returns a tuple
}


@pytest.mark.parametrize("architecture", MODELS)
def test_every_adapter_learns(architecture):
    model = wrapped(architecture, **MODELS[architecture]).float()
    model = add_adapters(model, LoraConfig(r=2, init_lora_weights=False)).train()
    row = torch.tensor([[5, 6, 98, 97, 99, 7, 8]])
    model(input_ids=row, labels=row).loss.backward()
    adapters = {name: weight.grad for name, weight in model.named_parameters() if "lora_" in name}
    assert adapters and all(gradient is not None and gradient.any() for gradient in adapters.values())


def test_pefts_own_choice_stays():
    assert default_targets(wrapped("llama", **SMALL)) == ["q_proj", "v_proj"]
