"""Weighted sums of adapters: token rows are mixed like the layers, and what cannot be mixed is refused."""

from copy import deepcopy

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from test_adapters import PLAIN, logits, make, stir

from latent_trainer.errors import InputError
from latent_trainer.model.adapter_mixing import add_weighted_adapter
from latent_trainer.model.adapters import add_adapters

ROWS = LoraConfig(r=4, target_modules=["q_proj"])  # add_adapters adds the thought tokens' rows


def two(tmp_path, config, tied=False):
    """Return a model with the adapters "first" and "second", and the logits of each alone."""
    alone = {}
    for seed, name in enumerate(("first", "second")):
        model = make(tied=tied)
        wrap = add_adapters if config is ROWS else get_peft_model
        model = stir(wrap(model, deepcopy(config)), seed + 1)
        model.save_pretrained(tmp_path / name)
        alone[name] = logits(model)
    model = PeftModel.from_pretrained(make(tied=tied), tmp_path / "first", adapter_name="first")
    model.load_adapter(tmp_path / "second", adapter_name="second")
    return model.eval(), alone


KINDS = {
    "rows": (ROWS, False),
    "rows, tied head": (ROWS, True),
    "layers only": (PLAIN["lora"], False),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_mixture_of_all_and_nothing_is_the_first(tmp_path, kind):
    model, alone = two(tmp_path, *KINDS[kind])
    for weights, expected in (([1.0, 0.0], "first"), ([0.0, 1.0], "second")):
        add_weighted_adapter(model, ["first", "second"], weights, expected + " again")
        model.set_adapter(expected + " again")
        torch.testing.assert_close(logits(model), alone[expected], rtol=1e-4, atol=1e-4)
    assert (alone["first"] - alone["second"]).abs().max() > 0.1


def test_rows_of_a_half_mixture_lie_half_way(tmp_path):
    model, _ = two(tmp_path, ROWS)
    add_weighted_adapter(model, ["first", "second"], [0.5, 0.5], "mixture")
    rows = model.get_base_model().get_input_embeddings().token_adapter.trainable_tokens_delta
    torch.testing.assert_close(rows["mixture"], (rows["first"] + rows["second"]) / 2)
    model.set_adapter("mixture")
    before = logits(model)
    model.set_adapter("first")
    model.set_adapter("mixture")
    torch.testing.assert_close(logits(model), before)


def test_parts_trained_whole_are_refused_by_peft(tmp_path):
    model, _ = two(tmp_path, PLAIN["whole"])
    with pytest.raises(ValueError, match="Cannot add weighted adapters"):
        add_weighted_adapter(model, ["first", "second"], [0.5, 0.5], "mixture")


def test_an_adapter_without_rows_beside_one_with_rows(tmp_path):
    """It has lost nothing; but it cannot be mixed with the other."""
    model, _ = two(tmp_path, ROWS)
    model.add_adapter("plain", deepcopy(PLAIN["lora"]))
    model.set_adapter("plain")
    assert logits(model).isfinite().all()
    with pytest.raises(InputError, match=r"'first' and 'plain' train rows of different tokens"):
        add_weighted_adapter(model, ["first", "plain"], [0.5, 0.5], "mix")


@pytest.mark.parametrize("kind", ["use_dora", "use_rslora"])
def test_what_peft_mixes_wrongly(tmp_path, kind):
    model, _ = two(tmp_path, LoraConfig(r=4, target_modules=["q_proj"], **{kind: True}))
    with pytest.raises(InputError, match=f"adapter 'first' has {kind}, which PEFT leaves out of a mixture"):
        add_weighted_adapter(model, ["first", "second"], [1.0, 0.0], "mixture")


def test_names_and_weights_are_looked_at_before_anything_changes(tmp_path):
    model, alone = two(tmp_path, ROWS)
    for adapters, weights, name, said in (
        (["first", "second"], [0.0, 1.0], "first", r"adapter_name='first' is an adapter of the model already"),
        (["first", "third"], [0.5, 0.5], "mixture", r"adapters: 'third' is not among the model's: first, second"),
        (["first", "second"], [0.5], "mixture", r"weights has 1 numbers for 2 adapters"),
        ([], [], "mixture", r"give one for each of at least one"),
    ):
        with pytest.raises(InputError, match=said):
            add_weighted_adapter(model, adapters, weights, name)
    assert set(model.peft_config) == {"first", "second"}
    model.set_adapter("first")
    torch.testing.assert_close(logits(model), alone["first"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["linear", "cat", "svd"])
def test_negative_weights_survive_saving_and_merging(tmp_path, kind):
    model, _ = two(tmp_path, ROWS)
    add_weighted_adapter(model, ["first", "second"], [0.5, -0.7], "mixture", kind)
    model.set_adapter("mixture")
    expected = logits(model)
    model.save_pretrained(tmp_path / "saved", selected_adapters=["mixture"])
    again = PeftModel.from_pretrained(make(tied=False), tmp_path / "saved" / "mixture").eval()
    torch.testing.assert_close(logits(again), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits(again.merge_and_unload()), expected, rtol=1e-4, atol=1e-4)
