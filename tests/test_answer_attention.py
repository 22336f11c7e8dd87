"""What an objective sees of attention is what eager mode computes, whatever implementation reads the row."""

import pytest
import torch
from conftest import ARCHITECTURES, make_latent, sharpen
from reference import assert_close
from test_kv_distillation import special
from test_objectives import row
from torch import nn
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    AutoModelForCausalLM,
    BloomConfig,
    GptOssConfig,
    Llama4TextConfig,
)

from latent_trainer import LatentForCausalLM
from latent_trainer.data.collator import LatentCollator
from latent_trainer.errors import InputError
from latent_trainer.methods.step import Needs

NEEDS = Needs(("latent", "explicit"), attention=("answer_to_columns",))
ROWS = [*map(row, range(4)), special(2, 0), special(3, 7, prefix=2), special(1, 30)]  # longer than windows of 16
IDS = {"latent_token_id": 97, "bot_token_id": 98, "eot_token_id": 99}


def read(model, needs=NEEDS) -> dict:
    return model(**LatentCollator(pad_token_id=0)(ROWS), needs=needs)


def shares(scores: torch.Tensor) -> torch.Tensor:
    """Return scores as shares of one among the columns that are seen; zeros where none is."""
    return scores.softmax(-1).nan_to_num(0.0)


def check(model, tolerance: float) -> None:
    """Assert that every row's scores are, as shares, those of eager attention over the row alone."""
    with torch.no_grad():
        found = read(model)["explicit"].attention["answer_to_columns"]
        model.base.set_attn_implementation("eager")
        for number, (prompt, views) in enumerate(ROWS):
            view, start = views["explicit"], len(prompt)
            ids = prompt + view.input_ids[:-1]
            end = view.answer_start if view.steps_end is None else view.steps_end
            layers = model.base(torch.tensor([ids]), output_attentions=True, use_cache=False).attentions
            for scores, weights in zip(found, layers, strict=True):
                own = weights[0, :, start + end :, start:]  # (heads, A, n)
                expected = (own / own.sum(-1, keepdim=True)).nan_to_num(0.0)
                asked, width = own.shape[1:]
                assert asked > 0
                assert_close(shares(scores[number])[:, :asked, :width], expected, tolerance)
                assert not scores[number, :, asked:].isfinite().any() and not scores[number, :, :, width:].isfinite().any()


BASES = [(name, kind) for name in ARCHITECTURES for kind in ("sdpa", "eager") if (name, kind) != ("gemma2", "sdpa")]


@pytest.mark.parametrize(("architecture", "attention"), BASES)
def test_scores(architecture, attention):
    """Shared heads of keys, windows and capped scores (gemma2) included; stock attention rounds to float32."""
    model = sharpen(make_latent(architecture)).eval()
    model.base.set_attn_implementation(attention)
    check(model, 1e-10 if architecture == "gpt2" else 1e-5)


def flat(module, query, key, value, attention_mask, scaling, sliding_window=None, **kwargs):
    """Attention that is given the padding alone, as flash attention is."""
    columns = torch.arange(key.shape[2])
    back = columns[-query.shape[2] :, None] - columns
    seen = (back >= 0) & (back < (sliding_window or len(columns)))
    seen = seen if attention_mask is None else seen & attention_mask[:, None, None, :].bool()
    key, value = (states.repeat_interleave(query.shape[1] // key.shape[1], 1) for states in (key, value))
    return nn.functional.scaled_dot_product_attention(query, key, value, seen, scale=scaling).transpose(1, 2), None


@pytest.mark.parametrize("architecture", ["llama", "mistral"])
def test_scores_where_only_the_padding_is_given(architecture, monkeypatch):
    monkeypatch.setitem(AttentionInterface._global_mapping, "flat", flat)
    monkeypatch.setitem(AttentionMaskInterface._global_mapping, "flat", lambda *_, attention_mask=None, **__: attention_mask)
    model = sharpen(make_latent(architecture)).eval()
    model.base.set_attn_implementation("flat")
    check(model, 1e-5)


def test_sinks():
    """What a layer pays to no column at all is left out of the shares."""
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 8}
    more = {"num_key_value_heads": 2, "num_local_experts": 2, "num_experts_per_tok": 1, "sliding_window": 16}
    base = AutoModelForCausalLM.from_config(GptOssConfig(vocab_size=100, max_position_embeddings=128, **sizes, **more))
    for module in base.modules():
        if hasattr(module, "sinks"):
            nn.init.normal_(module.sinks)
    check(LatentForCausalLM.from_base(base, **IDS).eval(), 1e-5)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("fast", [False, True])
def test_nothing_else_changes(training, fast):
    """Losses are the same whether attention is watched or not, and it is watched only then."""
    model = make_latent("llama").train(training)
    model.fast = fast
    plain, watched = read(model, Needs(("latent", "explicit"))), read(model)
    assert plain["explicit"].attention is None and watched["latent"].attention is None
    for name in plain:
        assert_close(plain[name].token_loss, watched[name].token_loss)
    assert not any(layer.requires_grad for layer in watched["explicit"].attention["answer_to_columns"])


def test_checkpoints_do_not_watch_twice():
    """The way back runs the layers again, and nobody watches."""
    found = []
    for checkpoint in (False, True):
        model = make_latent("llama").train()
        if checkpoint:
            model.gradient_checkpointing_enable()
        output = read(model)
        layers = output["explicit"].attention["answer_to_columns"]
        output["explicit"].token_loss.sum().backward()
        found.append(layers)
    assert len(found[1]) == len(found[0]) == 2
    for one, other in zip(*found, strict=True):
        assert torch.equal(one.isfinite(), other.isfinite())
        assert_close(one.nan_to_num(neginf=0.0), other.nan_to_num(neginf=0.0))


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (BloomConfig(vocab_size=100, hidden_size=16, n_layer=2, n_head=2), "bloom calls an attention function .* in 0 of 2"),
        (
            Llama4TextConfig(
                vocab_size=100,
                hidden_size=16,
                intermediate_size=16,
                intermediate_size_mlp=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=2,
                head_dim=8,
                num_local_experts=2,
            ),
            "llama4_text has layers of chunked_attention",
        ),
    ],
    ids=["bloom", "llama4"],
)
def test_what_is_not_known_is_refused(config, says):
    """An attention of a model's own, or a form of looking back that is not known: one line before anything is learned."""
    model = LatentForCausalLM.from_base(AutoModelForCausalLM.from_config(config), **IDS)
    with pytest.raises(InputError, match=says) as refused:
        read(model)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("needs", "says"),
    [
        ({"attention": ("answer",)}, "a place 'answer'; .* attention of answer_to_columns"),
        ({"attention": "answer_to_columns"}, "is a text; write"),
        ({"attention": ("answer_to_columns",)}, "is of views after the first"),
    ],
)
def test_needs_are_checked(needs, says):
    with pytest.raises(ValueError, match=says):
        Needs(**needs)
