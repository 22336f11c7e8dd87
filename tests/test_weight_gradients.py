"""Weight gradients of many passes as one product: equal to autograd's own, and as few products as there are weights."""

import contextlib

import pytest
import torch
from conftest import make_latent
from peft import LoraConfig
from torch import nn

from latent_trainer.model import view_passes
from latent_trainer.model.adapters import add_adapters
from latent_trainer.rollout.fast import passes as fast_passes
from latent_trainer.rollout.fast import weight_gradients
from latent_trainer.rollout.fast.weight_gradients import WeightGradients

ROWS = torch.tensor([[5, 6, 98, 97, 97, 97, 99, 7, 8], [9, 8, 98, 97, 99, 7, 6, 5, 4], [3, 4, 5, 6, 7, 8, 9, 10, 11]])


def gradients(model, times: int = 1) -> dict[str, torch.Tensor]:
    """Return every gradient of a loss over rows with three, one and no latents."""
    model.zero_grad()
    loss = model(input_ids=ROWS, labels=ROWS).loss
    for number in range(times):
        loss.backward(retain_graph=number + 1 < times)
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("adapters", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("backprop", ["full", "last", 2])
@pytest.mark.parametrize("feedback", ["hidden", "projection", "soft"])
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_equal_to_autograd(monkeypatch, architecture, feedback, backprop, adapters):
    """With and without the shared product every gradient is the same, also when a graph is walked twice."""
    model = make_latent(architecture, feedback=feedback, backprop=backprop)
    if adapters:
        model = add_adapters(model, LoraConfig(r=4, init_lora_weights=False))
    model.train()
    shared = gradients(model)
    twice = gradients(model, times=2)
    monkeypatch.setattr(fast_passes, "WeightGradients", contextlib.nullcontext)
    plain = gradients(model)
    assert shared.keys() == plain.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(shared[name], gradient, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(twice[name], 2 * gradient, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("worth", [1, 2, 6, 10_000])
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_nothing_is_left_aside(monkeypatch, architecture, worth):
    """What passes put aside is used up by one backward pass, in as few products as the rows ask for."""
    model = make_latent(architecture).train()  # which runs it, to see what form it has
    made, products = [], []

    class Kept(weight_gradients.WeightGradients):
        def __init__(self, decoder):
            super().__init__(decoder)
            made.append(self)

    multiply = weight_gradients._Gradient._multiply
    monkeypatch.setattr(
        weight_gradients._Gradient, "_multiply", lambda self, *parts: products.append(self) or multiply(self, *parts)
    )
    monkeypatch.setattr(weight_gradients, "WORTH", worth)
    monkeypatch.setattr(fast_passes, "WeightGradients", Kept)
    model(input_ids=ROWS, labels=ROWS).loss.backward()
    (kept,) = made
    assert len(kept.shared) >= 8
    assert all(not gradient.aside and gradient.sum is None for _, gradient in kept.shared.values())
    # passes of 3 rows and 3, 1, 1 and 4 columns, backwards
    assert len(products) == {1: 4, 2: 4, 6: 3, 10_000: 1}[worth] * len(kept.shared)
    shared = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
    monkeypatch.setattr(fast_passes, "WeightGradients", contextlib.nullcontext)
    for name, gradient in gradients(model).items():  # several products add up
        torch.testing.assert_close(shared[name], gradient, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("scored", [("latent", "explicit"), ("latent",), ("explicit",)], ids="-".join)
@pytest.mark.parametrize(
    "kind", [{}, {"rollout": "jacobi", "rollout_options": {"iterations": 2}}], ids=["one by one", "jacobi"]
)
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_views_share(monkeypatch, architecture, kind, scored):
    """The views of a step share one product a weight, whichever of them the loss comes from."""
    view = {"latent": torch.tensor([[98, 97, 97, 97, 99, 7]]), "explicit": torch.tensor([[11, 12, 13]])}
    views = {
        name: {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.where(ids < 97, ids, -100)}
        for name, ids in view.items()
    }
    model = make_latent(architecture, **kind).train()

    def gradients_of_views() -> dict[str, torch.Tensor]:
        model.zero_grad()
        outputs = model(input_ids=torch.tensor([[5, 6]]), attention_mask=torch.ones(1, 2).long(), views=views)
        sum(outputs[name].token_loss.sum() for name in scored).backward()
        return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}

    shared = gradients_of_views()
    for module in (fast_passes, view_passes):
        monkeypatch.setattr(module, "WeightGradients", contextlib.nullcontext)
    plain = gradients_of_views()
    assert shared.keys() == plain.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(shared[name], gradient, rtol=1e-10, atol=1e-12)


def test_outputs_changed_in_place():
    """Some models add to a linear layer's output in place."""
    layer, inputs = nn.Linear(3, 4), torch.randn(2, 5, 3)
    (layer(inputs) + 1).square().sum().backward()
    expected, layer.weight.grad = layer.weight.grad, None
    with WeightGradients(layer):
        outputs = layer(inputs)
        outputs += 1
    outputs.square().sum().backward()
    torch.testing.assert_close(layer.weight.grad, expected)


def test_a_model_that_begins_without_gradient():
    """Its later passes over the same weight learn all the same."""
    layer, inputs = nn.Linear(3, 4), torch.randn(2, 3)
    with WeightGradients(layer):
        with torch.no_grad():
            layer(inputs)
        layer(inputs).sum().backward()
    torch.testing.assert_close(layer.weight.grad, inputs.sum(0).expand(4, 3))


@pytest.mark.filterwarnings("ignore")  # of what the compiler looks at
def test_a_compiled_layer_learns():
    """It forms its own gradient."""
    layer, inputs = nn.Linear(3, 4), torch.randn(2, 3)
    layer.compile(backend="eager")
    with WeightGradients(layer) as shared:
        layer(inputs).sum().backward()
    torch._dynamo.reset()
    assert not shared.shared
    torch.testing.assert_close(layer.weight.grad, inputs.sum(0).expand(4, 3))


def test_a_forward_that_somebody_replaced():
    """It runs as it is, and is still there afterwards."""
    layer, inputs = nn.Linear(3, 4), torch.randn(2, 3)
    layer.forward = lambda given: 2 * nn.Linear.forward(layer, given)
    with WeightGradients(layer):
        doubled = layer(inputs)
    torch.testing.assert_close(doubled, 2 * nn.functional.linear(inputs, layer.weight, layer.bias))
    assert "forward" in vars(layer)


def test_forwards_are_put_back():
    """Also where a pass fails."""
    layer = nn.Linear(3, 4)
    with pytest.raises(RuntimeError), WeightGradients(layer):
        layer(torch.randn(2, 5))
    assert "forward" not in vars(layer)
