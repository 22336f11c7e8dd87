"""Every argument of a stock causal language model is honoured as there, or refused in one line; none is ignored."""

import copy
import inspect

import pytest
import torch
from conftest import make_latent, sharpen
from reference import assert_close
from transformers import DynamicCache, LlamaForCausalLM
from transformers.modeling_flash_attention_utils import FlashAttentionKwargs
from transformers.utils.generic import TransformersKwargs

from latent_trainer.errors import InputError

ROW = [5, 6, 98, 97, 97, 99, 8, 9]
IDS = torch.tensor([ROW])
CAUSAL = torch.ones(1, 1, 8, 8).bool().tril()
LABELS = torch.tensor([[-100, 6, 7, -100, 8, 9, 10, 11]])


def make(attention: str = "sdpa"):
    model = sharpen(make_latent("llama")).eval()
    model.set_attn_implementation(attention)
    return model


def filled(model, ids: torch.Tensor = IDS, attention_mask=None, position_ids=None, **arguments) -> torch.Tensor:
    """Return the embeddings with every latent in its place: with them the base model is the stock model to compare with."""
    embeds = model.get_input_embeddings()(ids)
    for column in sorted({column for _, column in (ids == 97).nonzero().tolist()}):
        mask = attention_mask if attention_mask is None else attention_mask[..., :column]
        before = {
            "attention_mask": mask if mask is None or mask.ndim == 2 else mask[:, :, :column],
            "position_ids": position_ids if position_ids is None else position_ids[:, :column],
        }
        hidden = model.base.base_model(inputs_embeds=embeds[:, :column], use_cache=False, **before).last_hidden_state[:, -1:]
        latent = torch.where(ids[:, column, None, None] == 97, hidden, embeds[:, column : column + 1])
        embeds = torch.cat([embeds[:, :column], latent, embeds[:, column + 1 :]], 1)
    return embeds


def stock(model, ids: torch.Tensor = IDS, **arguments):
    return model.base(inputs_embeds=filled(model, ids, **arguments), use_cache=False, **arguments)


def ready(dtype=torch.float64) -> torch.Tensor:
    """Return a mask that is added to attention scores, under which the last column does not see the first two."""
    mask = torch.zeros(1, 1, 8, 8, dtype=dtype).masked_fill(~CAUSAL, torch.finfo(dtype).min)
    mask[..., -1, :2] = torch.finfo(dtype).min
    return mask


SAME = {  # argument -> values; logits, loss, hidden states and attention equal the stock model's over filled embeddings
    "attention_mask": [torch.ones(1, 8), torch.tensor([[1, 0, 2, 2, 3, 3, 3, 1]]), CAUSAL, ready()],
    "position_ids": [torch.arange(8)[None] + 3, torch.arange(8)[None]],
    "labels": [LABELS],
    "logits_to_keep": [0, 3, torch.tensor([1, 5])],
    "output_hidden_states": [True],
    "num_items_in_batch": [3, torch.tensor(5)],
    "is_causal": [True],
    "return_dict": [True, False],
}
REFUSED = {  # argument -> other arguments, and what the refusal says
    "inputs_embeds": ({"inputs_embeds": torch.zeros(1, 8, 32).double()}, "either input_ids or inputs_embeds"),
    "is_causal": ({"is_causal": False}, "is_causal=False"),
    "output_router_logits": ({"output_router_logits": True}, "output_router_logits=True"),
    "cu_seq_lens_q": ({"cu_seq_lens_q": torch.tensor([0, 9])}, "cu_seq_lens_q must rise"),
    "cu_seq_lens_k": ({"cu_seq_lens_k": torch.tensor([1, 8])}, "cu_seq_lens_k must rise"),
    "max_length_q": ({"position_ids": torch.tensor([[0, 1, 2, 3, 4, 5, 0, 1]]), "max_length_q": 3}, "max_length_q=3, but"),
    "max_length_k": ({"position_ids": torch.tensor([[0, 1, 2, 3, 4, 5, 0, 1]]), "max_length_k": 3}, "max_length_k=3, but"),
    "seq_idx": (
        {"seq_idx": torch.tensor([[0, 0, 0, 0, 0, 0, 1, 1]]), "use_cache": True},
        "use_cache cannot be combined with packed",
    ),
}
APART = {"input_ids", "past_key_values", "use_cache", "output_attentions", "kwargs", "self"}  # tests of their own, below


def test_no_argument_of_the_stock_model_is_forgotten():
    """What a new release adds fails here until it is honoured or refused."""
    known = set(inspect.signature(LlamaForCausalLM.forward).parameters)
    known |= set(TransformersKwargs.__annotations__) | set(FlashAttentionKwargs.__annotations__)
    assert known <= SAME.keys() | REFUSED.keys() | APART


@pytest.mark.parametrize(("name", "at"), [(name, at) for name, values in SAME.items() for at in range(len(values))])
def test_honoured(name, at, exact_norms):
    model = make()
    arguments = {name: SAME[name][at]}
    if name == "num_items_in_batch":
        arguments["labels"] = LABELS
    found = model(IDS, use_cache=False, **arguments)
    if name == "attention_mask" and arguments[name].ndim == 2:  # positions count real columns, so that padding moves nothing
        arguments["position_ids"] = arguments[name].bool().cumsum(1) - 1
    expected = stock(model, **arguments)
    if arguments.get("return_dict") is False:
        assert isinstance(found, tuple) and len(found) == len(expected) == 1
        assert_close(found[0], expected[0])
        return
    assert_close(found.logits, expected.logits)
    assert (found.loss is None) == (expected.loss is None)
    if found.loss is not None:
        assert_close(found.loss.float(), expected.loss, 1e-5)  # the stock loss is in float32
    assert (found.hidden_states is None) == (expected.hidden_states is None)
    for layer, other in zip(found.hidden_states or (), expected.hidden_states or (), strict=True):
        assert_close(layer, other)


def test_columns_of_each_row(exact_norms):
    """As in transformers 5.23; older releases know the last columns and those of all rows only."""
    model = make()
    whole = stock(model).logits
    assert_close(model(IDS, logits_to_keep=torch.tensor([[6, 2]])).logits, whole[:, [6, 2]])
    assert_close(model(IDS, logits_to_keep=torch.tensor([[True, *[False] * 6, True]])).logits, whole[0, [0, 7]])


@pytest.mark.parametrize(("choice", "chosen"), [(-1, {2}), (0, {0}), ([0, -2], {0, 1}), ([7], set()), (False, None)])
def test_chosen_hidden_states(choice, chosen):
    """As in transformers 5.23; older releases give all or none."""
    model = make()
    found = model(IDS, output_hidden_states=choice).hidden_states
    if chosen is None:
        assert found is None
        return
    for index, (layer, whole) in enumerate(zip(found, model(IDS, output_hidden_states=True).hidden_states, strict=True)):
        assert layer is None if index not in chosen else torch.equal(layer, whole)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    arguments, says = REFUSED[name]
    with pytest.raises(InputError, match=says) as refusal:
        make()(IDS, **arguments)
    assert "\n" not in str(refusal.value)


def test_positions_of_all_rows_at_once(exact_norms):
    model = make()
    ids = torch.tensor([ROW, [5, 98, 97, 97, 97, 99, 7, 8]])
    positions = torch.arange(8)[None] + 1
    assert_close(model(ids, position_ids=positions).logits, stock(model, ids, position_ids=positions).logits)


def test_shift_labels(exact_norms):
    model = make()
    shifted = torch.cat([LABELS[:, 1:], torch.tensor([[-100]])], 1)
    assert_close(model(IDS, shift_labels=shifted).loss, model(IDS, labels=LABELS).loss)
    expected = stock(model, labels=LABELS, shift_labels=shifted).loss
    assert_close(model(IDS, labels=LABELS, shift_labels=shifted).loss.float(), expected, 1e-5)


@pytest.mark.parametrize("use_cache", [None, True, False])
@pytest.mark.parametrize("cut", [3, 4, 5, 6])
def test_a_past_is_read_and_goes_on(cut, use_cache, exact_norms):
    """Whatever use_cache says, as in the stock model: a trained folder's config.json says no."""
    model = make()
    model.config.use_cache = False
    cache = DynamicCache()
    first = model(IDS[:, :cut], past_key_values=cache)
    assert first.past_key_values is cache and cache.get_seq_length() == cut
    second = model(IDS[:, cut:], past_key_values=cache, use_cache=use_cache)
    assert second.past_key_values is cache and cache.get_seq_length() == 8
    assert_close(torch.cat([first.logits, second.logits], 1), stock(model).logits)


def test_columns_after_a_past_under_a_ready_mask(exact_norms):
    model = make()
    cache = model(IDS[:, :4], use_cache=True).past_key_values
    assert_close(
        model(IDS[:, 4:], ready()[:, :, 4:], past_key_values=cache).logits,
        stock(model, attention_mask=ready()).logits[:, 4:],
    )


def test_a_ready_mask_in_eager_attention(exact_norms):
    model = make("eager")
    for mask in (CAUSAL, ready(), ready() == 0):
        added = ready() if mask is not CAUSAL else ready().masked_fill(CAUSAL, 0)
        found = model(IDS, attention_mask=mask, labels=LABELS).logits
        assert_close(found, stock(model, attention_mask=added).logits, 1e-5)  # the stock softmax is in float32


def test_attention_of_every_column(exact_norms):
    model = make("eager")
    whole = model(IDS, output_attentions=True).attentions
    expected = stock(model, output_attentions=True).attentions
    assert len(whole) == len(expected) == 2
    for layer, other in zip(whole, expected, strict=True):
        assert_close(layer, other, 1e-6)  # the stock softmax is in float32
    cache = model(IDS[:, :4], use_cache=True).past_key_values
    for layer, other in zip(
        model(IDS[:, 4:], past_key_values=cache, output_attentions=True).attentions, expected, strict=True
    ):
        assert_close(layer, other[:, :, 4:], 1e-6)


def test_embeddings_without_latents(exact_norms):
    model = make()
    assert_close(model(inputs_embeds=filled(model)).logits, stock(model).logits)


def test_defaults_of_the_configuration():
    """As in the stock model, what a call leaves open the configuration says."""
    model = make("eager")
    model.config.output_hidden_states = model.config.output_attentions = True
    model.config.return_dict = False
    logits, _, hidden_states, attentions = model(IDS)
    assert logits.shape == (1, 8, 100) and len(hidden_states) == 3 and len(attentions) == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"atention_mask": torch.ones(1, 8)}, "no argument 'atention_mask'; did you mean 'attention_mask'"),
        ({"label": LABELS}, "no argument 'label'; did you mean 'labels'"),
        ({"latent_mask": IDS == 97}, "no argument 'latent_mask'"),
        ({"token_type_ids": IDS}, "no argument 'token_type_ids'"),
        ({"steps": {}}, "steps need views"),
        ({"past_key_values": ((torch.zeros(1), torch.zeros(1)),)}, "past_key_values is a tuple"),
        ({"position_ids": torch.arange(8)}, r"position_ids have the shape \(8,\)"),
        ({"position_ids": torch.zeros(3, 1, 8).long()}, r"position_ids have the shape \(3, 1, 8\)"),
        ({"attention_mask": torch.ones(1, 7)}, "attention_mask has 7 columns"),
        ({"attention_mask": torch.ones(8)}, "attention_mask must be a tensor"),
        ({"attention_mask": torch.ones(1, 1, 8, 9).bool()}, "attention_mask has the shape"),
        ({"attention_mask": torch.ones(1, 1, 8, 8).bool()}, "attention_mask shows what comes after"),
        ({"attention_mask": CAUSAL & (torch.arange(8) != 2)}, "attention_mask hides the column before a latent"),
        ({"labels": LABELS, "logits_to_keep": 2}, "leave logits_to_keep out"),
        ({"labels": LABELS[:, 1:]}, "give a label for every column"),
        ({"cache_position": torch.arange(1, 9)}, "cache_position must be 0 to 7"),
        ({"output_attentions": True}, "needs attn_implementation='eager'; it is sdpa"),
    ],
)
def test_clashes_and_misspellings(arguments, says):
    with pytest.raises(InputError, match=says) as refusal:
        make()(IDS, **arguments)
    assert "\n" not in str(refusal.value)


def test_cache_position_that_says_what_is_so():
    model = make()
    cache = model(IDS[:, :5], use_cache=True, cache_position=torch.arange(5)).past_key_values
    logits = model(IDS[:, 5:], past_key_values=cache, cache_position=torch.arange(5, 8)).logits
    torch.testing.assert_close(logits, model(IDS).logits[:, 5:])


def test_neither_tokens_nor_embeddings():
    with pytest.raises(InputError, match="either input_ids or inputs_embeds"):
        make()()


def test_embeddings_that_would_need_a_thought():
    model = make()
    with pytest.raises(InputError, match="inputs_embeds hold the embedding of"):
        model(inputs_embeds=model.get_input_embeddings()(IDS))


def test_attention_of_latents_that_are_read_again():
    model = sharpen(make_latent("llama", rollout="jacobi"))
    model.set_attn_implementation("eager")
    with pytest.raises(InputError, match="needs rollout=sequential"):
        model(IDS, output_attentions=True)


@pytest.mark.parametrize(
    "arguments",
    [
        {"labels": LABELS},
        {"latents": torch.zeros(1, 1, 32).double()},
        {"position_ids": torch.arange(8)[None]},
        {"past_key_values": DynamicCache()},
        {"use_cache": False},
        {"logits_to_keep": 1},
        {"return_dict": False},
        {"num_items_in_batch": 3},
        {"shift_labels": LABELS},
        {"seq_idx": IDS},
        {"nonsense": 1},
    ],
)
def test_nothing_beside_views(arguments):
    view = {"input_ids": torch.tensor([[98, 97, 99, 5]]), "labels": torch.tensor([[-100, -100, -100, 5]])}
    views = {"latent": {**view, "answer_start": torch.tensor([3])}}
    with pytest.raises(InputError, match=f"{next(iter(arguments))} cannot be combined with views"):
        make_latent("gpt2")(torch.tensor([[5, 6]]), torch.ones(1, 2), views=views, **arguments)


def test_the_backbone_is_the_model_without_its_head(exact_norms):
    model = make()
    output = model.base_model(IDS, output_hidden_states=True)
    assert model.base_model is model.backbone is getattr(model, model.base_model_prefix)
    assert_close(model.logits_of(output.last_hidden_state), model(IDS).logits)
    assert_close(output.hidden_states[0], filled(model))
    assert_close(model.base_model(IDS, logits_to_keep=3).last_hidden_state, output.last_hidden_state[:, -3:])
    for copied in (copy.copy(model), copy.deepcopy(model)):
        assert copied.backbone.model is copied and model.backbone.model is model
    assert not any("backbone" in name for name in model.state_dict())
    assert len(list(model.base_model.parameters())) == len(list(model.parameters()))
    with pytest.raises(InputError, match="the backbone has no head, so labels means nothing"):
        model.base_model(IDS, labels=LABELS)
