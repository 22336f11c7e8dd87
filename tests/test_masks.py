"""Masks made once for a rollout: equal to those the model builds itself, and none where it must build them itself."""

from dataclasses import replace

import pytest
import torch
from conftest import ARCHITECTURES, SMALL, make_base, make_latent, sharpen
from reference import assert_close, same
from test_checkpointing import batch
from test_rollout import record_passes
from transformers import AutoConfig, AutoModelForCausalLM

from latent_trainer import LatentForCausalLM
from latent_trainer.errors import InputError
from latent_trainer.rollout.columns import Columns, Continuation
from latent_trainer.rollout.fast.ready_masks import ReadyMasks, takes_ready_mask
from latent_trainer.rollout.passes import Passes
from latent_trainer.rollout.reading import Reading

JACOBI = {"rollout": "jacobi", "rollout_options": {"iterations": 2}}
KINDS = {"one by one": {}, "jacobi": JACOBI, "last": {"backprop": "last"}}
ATTENTIONS = [(name, attention) for name in ARCHITECTURES for attention in ("sdpa", "eager")]
ATTENTIONS.remove(("gemma2", "sdpa"))  # which it does not have
IDS = {"latent_token_id": 97, "bot_token_id": 98, "eot_token_id": 99}


def measured(model) -> tuple[dict, list]:
    """Return losses, hidden states and gradients of both views of a ragged batch, and the passes it took."""
    model.train().zero_grad()
    passes = record_passes(model)
    outputs = model(**batch())
    values = {f"{name} losses": one.token_loss for name, one in outputs.items()}
    values |= {f"{name} layers": torch.stack(one.hidden_states["answer"]) for name, one in outputs.items()}
    sum(value.square().sum() for value in values.values()).backward()
    values |= {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    return {name: value.detach().clone() for name, value in values.items()}, list(passes)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("architecture", "attention"), ATTENTIONS)
def test_equal_to_the_models_own(architecture, kind, attention):
    """Views beside the first pass give what they give on branches of the cache, in one pass less."""
    window = {"sliding_window": 32} if "sliding_window" in ARCHITECTURES[architecture] else {}
    exact = architecture == "gpt2"  # others have norms or attention in float32, where the stock mask of float64 is infinite
    base = make_base(architecture, dtype=torch.float64 if exact else torch.float32, **window)
    model = LatentForCausalLM.from_base(base, **IDS, **KINDS[kind])
    model.set_attn_implementation(attention)
    ready, passes = measured(model)
    model.get_decoder()._supports_attention_backend = False  # as models with masks of their own have it
    own, more = measured(model)
    assert len(more) == len(passes) + 1
    for name, value in own.items():
        assert value.isfinite().all(), name
        scale = 1 + value.abs().max()
        assert_close(ready[name] / scale, value / scale, 1e-12 if exact else 1e-5)


@pytest.mark.parametrize("columns", [15, 20])
def test_a_window_that_does_not_see_everything(columns):
    """Beyond its window a layer forgets; the model then builds its own masks."""
    model = sharpen(LatentForCausalLM.from_base(make_base("mistral", sliding_window=16), **IDS)).train()
    ids = torch.randint(1, 90, (2, columns))
    ids[:, 3:6] = torch.tensor([98, 97, 99])
    mask = torch.ones_like(ids)
    mask[0, :2] = 0
    passes = record_passes(model)
    model(input_ids=ids, attention_mask=mask)
    assert [one["dimensions"] for one in passes] == [4 if columns <= 16 else 2] * 2


def test_eager_in_float64():
    """The lowest float64 is infinite to an attention in float32, which the stock mask makes of padded rows."""
    model = make_latent("llama").train()
    expected = model(**batch())
    model.set_attn_implementation("eager")
    for name, found in model(**batch()).items():
        assert_close(found.token_loss, expected[name].token_loss, 1e-5)


@pytest.mark.parametrize("padded", [False, True])
def test_the_padding_is_looked_at_once(padded):
    """Without padding the model needs no mask but the causal one, and is told so once."""
    model = make_latent()
    ids = torch.tensor([[5, 98, 97, 97, 97, 99, 6]] * 2)
    mask = torch.ones_like(ids)
    mask[0, 0] = not padded
    passes = record_passes(model)
    model(input_ids=ids, attention_mask=mask)
    assert len(passes) == 4 and {one["dimensions"] for one in passes} == {4 if padded else None}


def test_one_pass_leaves_the_mask_alone():
    """Plain rows get what any model gets."""
    model = make_latent()
    passes = record_passes(model)
    model(input_ids=torch.tensor([[5, 6, 7]]), attention_mask=torch.tensor([[0, 1, 1]]))
    assert [one["dimensions"] for one in passes] == [2]


def tiny(model_type: str, **settings) -> LatentForCausalLM:
    """Return a latent model of an architecture with settings of its own."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type, bos_token_id=0, eos_token_id=0, pad_token_id=0, **settings)
    return sharpen(LatentForCausalLM.from_base(AutoModelForCausalLM.from_config(config).float(), **IDS)).train()


def test_a_window_inside_a_composite_configuration():
    """The multimodal Gemma 3 states its window in the configuration of its text part."""
    layers = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 4}
    text = {**ARCHITECTURES["gemma"], **layers, "vocab_size": 100, "query_pre_attn_scalar": 8}
    base = AutoModelForCausalLM.from_config(AutoConfig.for_model("gemma3", text_config=text, vision_config=SMALL))
    assert not takes_ready_mask(base.base_model, 5) and takes_ready_mask(base.base_model, 4)


def test_frequencies_that_depend_on_the_length():
    """What is read beside would change the frequencies of the rollout's own columns."""
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10_000.0}
    settings = {**ARCHITECTURES["llama"], "vocab_size": 100, "max_position_embeddings": 16}
    assert takes_ready_mask(tiny("llama", **settings).get_decoder(), 20)
    assert not takes_ready_mask(tiny("llama", **settings, rope_parameters=rope).get_decoder(), 20)


@pytest.mark.parametrize("kind", ["one by one", "jacobi"])
def test_a_latent_in_the_prompt(kind):
    model = make_latent(**KINDS[kind])
    rows = batch()
    rows["input_ids"][0, 3:5] = 97
    with pytest.raises(InputError, match="a latent stands in column 3 of a prompt of 7 columns"):
        model(**rows)


def test_continuations_need_a_ready_mask():
    """One that is made for all passes, and those are the fast ones."""
    embeds, decoder = torch.zeros(1, 2, 32), make_latent().get_decoder()
    one = Continuation(embeds, torch.ones(1, 4).long())
    columns = Columns(embeds, torch.zeros(1, 2).bool(), torch.ones(1, 2).long(), torch.arange(2)[None], continuations=[one])
    assert ReadyMasks(decoder, columns).square.shape == (1, 1, 4, 4)
    with pytest.raises(InputError, match="with a mask and an empty cache"):
        ReadyMasks(decoder, replace(columns, attention_mask=None))
    with pytest.raises(InputError, match="read with fast=True"):
        Passes(columns, Reading(decoder, same))


def test_a_view_of_one_token():
    """The prompt alone predicts it."""
    model = sharpen(make_latent())
    both = {"latent": [[98, 97, 99, 7]], "explicit": [[11]]}
    views = {name: {"input_ids": torch.tensor(ids), "labels": torch.tensor(ids)} for name, ids in both.items()}
    views["latent"]["labels"] = torch.tensor([[-100, -100, -100, 7]])
    for view in views.values():
        view["attention_mask"] = torch.ones_like(view["input_ids"])
    outputs = model(input_ids=torch.tensor([[5, 6]]), attention_mask=torch.ones(1, 2).long(), views=views)
    plain = model.base(input_ids=torch.tensor([[5, 6]])).logits[0, -1]
    assert_close(outputs["explicit"].token_loss[0], -plain.log_softmax(-1)[11])
