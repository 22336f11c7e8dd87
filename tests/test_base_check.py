"""What the trial of a base model finds, where it is kept, and what it refuses."""

import dataclasses

import pytest
import torch
from conftest import ARCHITECTURES, make_base, make_latent
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from latent_trainer import LatentForCausalLM
from latent_trainer.errors import InputError
from latent_trainer.model import base_check
from latent_trainer.rollout.base_form import USUAL, BaseForm, decoder_of

IDS = {"latent_token_id": 97, "bot_token_id": 98, "eot_token_id": 99}
ROW = torch.tensor([[5, 6, 98, 97, 97, 99, 7, 8]])


def wrapped(architecture: str, **settings) -> LatentForCausalLM:
    torch.manual_seed(0)
    config = AutoConfig.for_model(architecture, vocab_size=100, pad_token_id=0, bos_token_id=0, eos_token_id=0, **settings)
    return LatentForCausalLM.from_base(AutoModelForCausalLM.from_config(config).double(), **IDS).eval()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_usual_form(architecture):
    """Those that most people train stay on the path they had."""
    assert make_latent(architecture).form is USUAL


def test_it_is_kept_with_the_model(tmp_path, monkeypatch):
    model = wrapped("hyperclovax", **ARCHITECTURES["llama"], logits_scaling=4.0)
    assert model.form == BaseForm(own_head=True)
    torch.testing.assert_close(model(input_ids=ROW[:, :2]).logits, model.base(input_ids=ROW[:, :2]).logits)
    model.save_pretrained(tmp_path)
    monkeypatch.setattr(base_check, "KNOWN", {})
    monkeypatch.setattr(base_check, "_found", lambda *_: pytest.fail("tried again"))
    loaded = LatentForCausalLM.from_pretrained(tmp_path)
    assert loaded.form == model.form
    torch.testing.assert_close(loaded(input_ids=ROW).logits, model(input_ids=ROW).logits)


def test_another_version_tries_again():
    model = make_latent()
    model.config.base_form = {**dataclasses.asdict(BaseForm(own_head=True)), "transformers": "0.0"}
    model._form = None
    assert model.form is USUAL


def test_weights_that_are_not_here():
    with torch.device("meta"):
        base = make_base()
    model = LatentForCausalLM.from_base(base, **IDS)
    assert model.form is USUAL and model.config.base_form is None


def test_it_leaves_the_model_as_it_was(monkeypatch):
    """In its modes, without gradients, and the run's random numbers with a model that draws some in evaluation, too."""
    monkeypatch.setattr(base_check, "KNOWN", {})  # not tried before
    drawn = []
    base = make_base("llama").train()
    base.model.layers[0].eval()
    base.model.layers[0].register_forward_hook(lambda *_: drawn.append(torch.rand(1)))
    state = torch.random.get_rng_state()
    LatentForCausalLM.from_base(base, **IDS)
    assert drawn and torch.equal(torch.random.get_rng_state(), state)
    assert base.training and not base.model.layers[0].training and base.model.layers[1].training
    assert all(parameter.grad is None for parameter in base.parameters())


@pytest.mark.parametrize(
    ("architecture", "settings", "why"),
    [
        ("openai-gpt", {"n_embd": 32, "n_layer": 2, "n_head": 4}, "with a cache its hidden states after a latent differ"),
        ("electra", {"embedding_size": 24, "is_decoder": True}, "hidden states have 32 numbers, its embeddings 24"),
        ("rwkv", {"attention_hidden_size": 32, "context_length": 64}, "columns of padding before a row change"),
    ],
)
def test_refused_in_one_line(architecture, settings, why):
    small = {} if "n_embd" in settings else {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64}
    heads = {"num_attention_heads": 4} if architecture == "electra" else {}
    with pytest.raises(InputError, match=why) as refusal:
        wrapped(architecture, **small, **heads, **settings)
    assert str(refusal.value).startswith(f"{architecture} cannot think in latents: ") and "\n" not in str(refusal.value)


def test_a_head_that_nobody_knows():
    """A model's own code, whatever it does after the decoder, makes the logits."""
    base = make_base("llama")
    base.lm_head = nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 100)).double()
    head = base.lm_head
    base.forward = _twice(base.forward)
    model = LatentForCausalLM.from_base(base, **IDS).eval()
    assert model.form.own_head and head is base.lm_head
    torch.testing.assert_close(model(input_ids=ROW[:, :2]).logits, base(input_ids=ROW[:, :2]).logits)


def _twice(forward):
    def scaled(*args, **kwargs):
        output = forward(*args, **kwargs)
        output.logits = output.logits * 2
        return output

    return scaled


def test_the_decoder_within_a_shell():
    assert (
        type(decoder_of(wrapped("bart", d_model=32, decoder_layers=1, decoder_attention_heads=4).base)).__name__
        == "BartDecoder"
    )


@pytest.mark.parametrize("labels", [True, False])
def test_a_loss_of_the_routers(labels):
    """Left out in silence it would train other weights than the stock model's."""
    settings = {**ARCHITECTURES["llama"], "num_local_experts": 2, "output_router_logits": True}
    model = wrapped("mixtral", **settings)
    if labels:
        with pytest.raises(InputError, match="output_router_logits=True adds a loss"):
            model(input_ids=ROW, labels=ROW)
    else:
        assert model(input_ids=ROW).logits.isfinite().all()


def test_generation_knows_of_states():
    assert wrapped("mamba2", hidden_size=32, num_heads=8, head_dim=8, n_groups=2, state_size=8)._is_stateful
    assert not make_latent()._is_stateful
