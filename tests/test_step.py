"""What an objective can ask of a step, compared with a pass over the filled row."""

import pytest
import torch
from conftest import make_latent, sharpen
from reference import assert_close, gradients
from scoring import run
from test_objectives import ROWS
from transformers import AutoModelForCausalLM, Lfm2Config

from latent_trainer import LatentForCausalLM
from latent_trainer.data.collator import LatentCollator
from latent_trainer.errors import InputError
from latent_trainer.methods.objectives import build_objective
from latent_trainer.methods.step import Needs

EVERYTHING = Needs(("latent", "explicit"), ("answer", "latents", "before_latents", "columns"), latents=True)


def batch() -> dict:
    return LatentCollator(pad_token_id=0)(ROWS)


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def model(request):
    return sharpen(make_latent(request.param)).eval()


def whole_row(model, batch: dict, name: str, number: int) -> tuple[tuple, int, torch.Tensor, list[int]]:
    """Return every layer of a row alone, the width of its prompt, its embeddings and its tokens in the view."""
    prompt = batch["input_ids"][number][batch["attention_mask"][number].bool()]
    view = batch["views"][name]
    own = view["input_ids"][number][view["attention_mask"][number].bool()]
    output = model.run(torch.cat([prompt, own])[None], None, output_hidden_states=True)
    return output.hidden_states, len(prompt), output.latents[0], own.tolist()


@pytest.mark.parametrize("view", ["latent", "explicit"])
def test_places(model, view):
    """Every place holds the hidden states of the columns it names, in every layer and for rows of any shape."""
    given = batch()
    with torch.no_grad():
        outputs = run_with(model, EVERYTHING, given)
        for number in range(len(ROWS)):
            layers, width, embeds, own = whole_row(model, given, view, number)
            latents = [column for column, token in enumerate(own) if token == 97]
            states = outputs[view].hidden_states
            start = int(given["views"][view]["answer_start"][number])
            for depth, layer in enumerate(layers):
                assert_close(states["answer"][depth][number], layer[0, width + start - 1])
                assert_close(states["columns"][depth][number, : len(own)], layer[0, width - 1 : width + len(own) - 1])
                if view == "latent":
                    places = torch.tensor(latents, dtype=torch.long)
                    found = {name: states[name][depth][number, : len(latents)] for name in ("latents", "before_latents")}
                    assert_close(found["latents"], layer[0, width + places])
                    assert_close(found["before_latents"], layer[0, width + places - 1])
            if view == "latent":
                mask = outputs[view].latent_mask[number]
                assert mask.tolist() == [True] * len(latents) + [False] * (len(mask) - len(latents))
                assert_close(outputs[view].latents[number, : len(latents)], embeds[width + torch.tensor(latents).long()])
                assert not outputs[view].latents[number, len(latents) :].any()
    if view == "explicit":
        assert set(outputs[view].hidden_states) == {"answer", "columns"} and outputs[view].latents is None


def run_with(model, needs: Needs, given: dict) -> dict:
    return model(**{key: given[key] for key in ("input_ids", "attention_mask", "views")}, needs=needs)


def test_nothing_is_returned_that_nobody_asked_for(model):
    given = batch()
    for output in run_with(model, Needs(("latent", "explicit")), given).values():
        assert (output.hidden_states, output.keys_values, output.latents, output.last_hidden) == (None,) * 4
    assert set(run_with(model, Needs(), given)) == {"latent"}  # the other view is not read


@pytest.mark.parametrize("fast", [False, True], ids=["plain", "fast"])
def test_last_hidden_states(model, fast):
    """They stand at the same places as all layers' do, and no other layer is asked for."""
    places, given = EVERYTHING.hidden_states, batch()
    every = run_with(model, EVERYTHING, given)
    model.fast = fast
    try:
        last = run_with(model, Needs(("latent", "explicit"), last_hidden=places), given)
    finally:
        model.fast = True
    for name, output in last.items():
        assert output.hidden_states is None
        assert set(output.last_hidden) == set(every[name].hidden_states)
        for place, hidden in output.last_hidden.items():
            assert_close(hidden, every[name].hidden_states[place][-1])


def test_rows_without_latents(model):
    """A batch of none has one column that counts nowhere: what reads latents runs on every rank."""
    given = LatentCollator(pad_token_id=0)([ROWS[0], ROWS[4]])
    output = run_with(model, EVERYTHING, given)["latent"]
    assert output.latents.shape[:2] == output.latent_mask.shape == (2, 1)
    assert not output.latent_mask.any() and not output.latents.any()
    assert output.hidden_states["latents"][0].shape[:2] == (2, 1)


def test_learned_latents_have_places():
    """Pause tokens are latents that nobody computes."""
    model = sharpen(make_latent(feedback="learned")).eval()
    output = run_with(model, EVERYTHING, batch())["latent"]
    assert output.latent_mask.sum(1).tolist() == [number % 4 for number in range(6)]
    rows = model.get_input_embeddings().weight[97].expand_as(output.latents[output.latent_mask])
    assert_close(output.latents[output.latent_mask], rows)


@pytest.mark.parametrize(
    ("needs", "says"),
    [
        ({"hidden_states": ("latent",)}, "a place 'latent'; hidden_states are of answer, latents"),
        ({"keys_values": ("answer",)}, "a place 'answer'; hidden_states are of"),
        ({"last_hidden": ("heads",)}, "a place 'heads'; hidden_states are of answer, .*, so are last_hidden"),
        ({"views": ()}, "needs name no view"),
    ],
)
def test_needs_are_checked(needs, says):
    with pytest.raises(ValueError, match=says):
        Needs(**needs)


def test_arguments_that_stand_beside_views(model):
    for name in ("needs", "scored"):
        with pytest.raises(InputError, match=f"{name} need views"):
            model(input_ids=torch.tensor([[1, 2]]), **{name: {}})
    with pytest.raises(InputError, match="say in needs which hidden states"):
        model(**batch(), output_hidden_states=True)


def test_the_plain_objective_asks_for_losses_alone(model):
    assert set(run(model, build_objective("answer"), batch())) == {"latent"}


# ---- keys and values ----

KEPT = Needs(("latent", "explicit"), keys_values=("columns", "latents"))


@pytest.mark.parametrize("view", ["latent", "explicit"])
def test_keys_and_values(model, view):
    """Those of every layer, at the view's own columns and at its latents, as a row alone has them in its cache."""
    given = batch()
    with torch.no_grad():
        kept = run_with(model, KEPT, given)[view].keys_values
        for number in range(len(ROWS)):
            prompt = given["input_ids"][number][given["attention_mask"][number].bool()]
            part = given["views"][view]
            own = part["input_ids"][number][part["attention_mask"][number].bool()][:-1]  # the last column is not read
            alone = model.runner.run(torch.cat([prompt, own])[None], None, use_cache=True).cache
            latents = (own == 97).nonzero().flatten()
            for depth, pair in enumerate(zip(kept["columns"], alone.layers[:2], strict=True)):
                for found, expected in zip(pair[0], (pair[1].keys, pair[1].values), strict=True):
                    assert_close(found[number, :, : len(own)], expected[0, :, len(prompt) :])
                if view == "latent":
                    for found, expected in zip(kept["latents"][depth], (pair[1].keys, pair[1].values), strict=True):
                        assert_close(found[number, :, : len(latents)], expected[0, :, len(prompt) + latents])
    assert ("latents" in kept) == (view == "latent")


def test_gradient_through_keys_and_values(model):
    """It is that of the same sum over the keys and values of rows alone, rollout included."""
    given = batch()
    model.train()

    def total(layers, number=None):
        parts = [states if number is None else states[number] for pair in layers for states in pair]
        return sum(part.square().sum() for part in parts)

    kept = run_with(model, Needs(("latent",), keys_values=("latents",)), given)["latent"].keys_values["latents"]
    mask = torch.tensor([[place < number % 4 for place in range(3)] for number in range(6)])
    ours = sum((states * mask[:, None, :, None]).square().sum() for pair in kept for states in pair)
    found = gradients(model, ours)
    alone = 0.0
    for number in range(len(ROWS)):
        prompt = given["input_ids"][number][given["attention_mask"][number].bool()]
        own = given["views"]["latent"]["input_ids"][number][given["views"]["latent"]["attention_mask"][number].bool()]
        cache = model.runner.run(torch.cat([prompt, own])[None], None, use_cache=True).cache
        where = len(prompt) + (own == 97).nonzero().flatten()
        alone = alone + total([(layer.keys[:, :, where], layer.values[:, :, where]) for layer in cache.layers[:2]])
    model.eval()
    assert_close(found, gradients(model, alone))


def test_losses_do_not_depend_on_what_is_kept(model):
    given = batch()
    with torch.no_grad():
        plain, kept = (run_with(model, needs, given) for needs in (Needs(("latent", "explicit")), KEPT))
    for name, output in plain.items():
        assert_close(kept[name].token_loss, output.token_loss)


def test_a_base_that_keeps_states():
    """A layer of convolutions has no keys and values: refused in one line."""
    config = Lfm2Config(
        vocab_size=100,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        layer_types=["conv", "full_attention"],
    )
    base = AutoModelForCausalLM.from_config(config)
    model = LatentForCausalLM.from_base(base, latent_token_id=97, bot_token_id=98, eot_token_id=99)
    run_with(model, EVERYTHING, batch())
    with pytest.raises(InputError, match="layer 0 of the base model keeps no keys and values of its own") as refused:
        run_with(model, KEPT, batch())
    assert len(str(refused.value).splitlines()) == 1
