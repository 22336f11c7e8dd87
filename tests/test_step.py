"""What an objective can ask of a step, compared with a pass over the filled row."""

import pytest
import torch
from conftest import make_latent, sharpen
from reference import assert_close
from scoring import run
from test_objectives import ROWS

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
        assert (output.hidden_states, output.keys_values, output.latents) == (None, None, None)
    assert set(run_with(model, Needs(), given)) == {"latent"}  # the other view is not read


def test_rows_without_latents(model):
    """A batch of none has places of no width."""
    given = LatentCollator(pad_token_id=0)([ROWS[0], ROWS[4]])
    output = run_with(model, EVERYTHING, given)["latent"]
    assert output.latents.shape[:2] == output.latent_mask.shape == (2, 0)
    assert output.hidden_states["latents"][0].shape[:2] == (2, 0)


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
        ({"views": ()}, "needs name no view"),
    ],
)
def test_needs_are_checked(needs, says):
    with pytest.raises(ValueError, match=says):
        Needs(**needs)


def test_arguments_that_stand_beside_views(model):
    for name in ("needs", "scored"):
        with pytest.raises(InputError, match=f"{name} stand beside views"):
            model(input_ids=torch.tensor([[1, 2]]), **{name: {}})
    with pytest.raises(InputError, match="say in needs which hidden states"):
        model(**batch(), output_hidden_states=True)


def test_the_plain_objective_asks_for_losses_alone(model):
    assert set(run(model, build_objective("answer"), batch())) == {"latent"}
