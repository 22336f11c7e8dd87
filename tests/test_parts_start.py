"""What a checkpoint does not have of a latent model's parts starts as it does in a new model; nothing is left undefined."""

import pytest
import torch
from conftest import make_base, make_latent
from test_feedback import CASES
from torch import nn

from latent_trainer import LatentForCausalLM, register_feedback
from latent_trainer.methods.feedback import FEEDBACKS

IDS = {"latent_token_id": 97, "bot_token_id": 98, "eot_token_id": 99}


class StartsAtNothing(nn.Module):
    """A plug-in whose first layer starts at zero, with a parameter and a buffer of its own.

    Args:
        hidden_size: H.

    Source: none.
    """

    sequential = True
    looks_up_tokens = False

    def __init__(self, hidden_size: int):
        super().__init__()
        self.out = nn.Linear(hidden_size, hidden_size)
        nn.init.zeros_(self.out.weight)
        nn.init.ones_(self.out.bias)
        self.scale = nn.Parameter(torch.arange(hidden_size) / 7)
        self.inner = nn.Module()
        self.inner.register_buffer("places", torch.arange(hidden_size), persistent=False)

    def forward(self, hidden, embed, head):
        return self.scale * self.out(hidden) + self.inner.places


@pytest.fixture(scope="module", autouse=True)
def plug_in():
    """It is there for this module's tests alone."""
    register_feedback("starts-at-nothing", StartsAtNothing)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A saved model whose feedback has no weights."""
    folder = tmp_path_factory.mktemp("saved")
    make_latent(dtype=torch.float32).save_pretrained(folder)
    return folder


def values(part) -> dict[str, torch.Tensor]:
    return {**dict(part.named_parameters()), **dict(part.named_buffers())}


@pytest.fixture(autouse=True)
def dirty_memory():
    """Memory that is handed out again holds what cannot be mistaken for a start."""
    for size in (32, 32 * 32, 1, 8 * 32, 32 * 2):
        del [torch.full((size,), float("nan")) for _ in range(50)][:]


@pytest.mark.parametrize("case", CASES)
def test_another_feedback_at_loading(saved, case):
    name = case.split()[0]
    torch.manual_seed(0)
    model = LatentForCausalLM.from_pretrained(saved, feedback=name, feedback_options=CASES[case])
    torch.manual_seed(0)
    expected = values(FEEDBACKS[name](32, **CASES[case]))
    found = values(model.feedback)
    assert found.keys() == expected.keys() and all(torch.equal(found[key], value) for key, value in expected.items())
    assert model(torch.tensor([[3, 98, 97, 97, 99, 5]])).logits.isfinite().all()


@pytest.mark.parametrize("how", ["new", "loaded", "configured"])
def test_a_constructor_is_kept(saved, how):
    """What a plug-in's constructor sets up is what the model starts from, by whatever door the feedback comes."""
    name = "starts-at-nothing"
    if how == "new":
        model = LatentForCausalLM.from_base(make_base(dtype=torch.float32), **IDS, feedback=name)
    elif how == "loaded":
        model = LatentForCausalLM.from_pretrained(saved, feedback=name, feedback_options={})
    else:
        model = LatentForCausalLM.from_pretrained(saved)
        model.configure(name)
    found, expected = values(model.feedback), values(StartsAtNothing(32))
    assert all(torch.equal(found[key], value) for key, value in expected.items())


def test_a_part_that_was_saved_is_loaded(saved, tmp_path):
    model = LatentForCausalLM.from_pretrained(saved, feedback="starts-at-nothing", feedback_options={})
    with torch.no_grad():
        model.feedback.out.weight.fill_(3)
        model.feedback.scale.fill_(4)
    model.save_pretrained(tmp_path)
    again = LatentForCausalLM.from_pretrained(tmp_path)
    assert all(torch.equal(value, values(model.feedback)[key]) for key, value in values(again.feedback).items())


def test_stop_head(saved):
    """A stop head starts at one half."""
    model = LatentForCausalLM.from_pretrained(saved, stop_head=True)
    assert model.stop_head is not None and not any(value.any() for value in values(model.stop_head).values())
