"""Ranks with different rows run the same layers in the same order, and compute what each computes alone."""

import pytest
import torch
from conftest import make_latent, sharpen
from reference import assert_close, gradients
from test_rollout import batch_of

from latent_trainer.data.collator import LatentCollator
from latent_trainer.data.encoding import View
from latent_trainer.model.runner import Runner
from latent_trainer.rollout import ranks
from latent_trainer.rollout.ranks import count_passes
from latent_trainer.sharding import gathered, is_sharded, whole_shape

RANKS = {
    "many": [[5, 98, 97, 97, 97, 99, 7, 8], [11, 12, 98, 97, 99, 13]],
    "one": [[5, 6, 98, 97, 99, 7]],
    "none": [[21, 22, 23]],
    "anywhere": [[5, 97, 6, 97, 97, 7], [5, 6, 97, 7, 8, 97]],
    "a short row": [[5, 6]],
}
SETTINGS = {
    "full": {"feedback": "projection"},
    "last": {"feedback": "projection", "backprop": 1},
    "none": {"feedback": "soft", "backprop": "none"},
    "norm": {"feedback": "hidden", "feedback_options": {"norm": "embedding"}, "backprop": 2},
    "jacobi": {"feedback": "soft", "rollout": "jacobi", "rollout_options": {"iterations": 3}},
    "looped": {"feedback": "soft", "rollout": "looped", "rollout_options": {"iterations": 3}},
    "looped, constant latents": {"backprop": "none", "rollout": "looped", "rollout_options": {"iterations": 2}},
    "jacobi until nothing changes": {
        "feedback": "projection",
        "rollout": "jacobi",
        "rollout_options": {"iterations": 3, "tolerance": 1e9},
    },
    "jacobi, constant latents": {
        "feedback": "hidden",
        "backprop": "none",
        "rollout": "jacobi",
        "rollout_options": {"iterations": 2},
    },
}
BY_STAGE = {  # ranks agree on an upper bound of their iterations
    "looped by stage": {
        "feedback": "projection",
        "rollout": "looped",
        "rollout_options": {"iterations": "stage", "latents_per_step": 2},
    },
}


def watched(model) -> list[tuple]:
    """Return a list that fills with every use of a module with parameters of its own, forwards and backwards."""
    events = []

    def watch(name):
        def used(module, args, output):
            output = output[0] if isinstance(output, tuple) else output
            events.append((name, "forwards", torch.is_grad_enabled()))
            if output.requires_grad:
                output.register_hook(lambda gradient: events.append((name, "backwards")))

        return used

    for name, module in model.named_modules():
        if list(module.parameters(recurse=False)):
            module.register_forward_hook(watch(name))
    return events


@pytest.fixture
def agree_with(monkeypatch):
    """Return a function that makes the ranks of a model agree with a rank that has other rows, or with nobody."""

    def agree_with(others):
        def agree(runner, parts, cache=None, given=None):
            if others is None:
                return [None] * len(parts)
            numbers = []
            for own, other in zip(parts, others, strict=True):
                masks = [runner.thought_columns(ids)[0] for ids in (own, other)]
                both = [count_passes(mask, runner.config.backprop, False) for mask in masks]
                numbers.append(tuple(map(max, zip(*both, strict=True))))
            return numbers

        monkeypatch.setattr(Runner, "agree", agree)

    return agree_with


@pytest.mark.parametrize("first", RANKS)
@pytest.mark.parametrize("second", RANKS)
@pytest.mark.parametrize("settings", [*SETTINGS.values(), *BY_STAGE.values()], ids=[*SETTINGS, *BY_STAGE])
def test_same_layers_in_the_same_order(agree_with, settings, first, second):
    """Two ranks with different rows; each loss and gradient is that of a rank alone."""
    model = sharpen(make_latent(**settings))
    batches = [batch_of(RANKS[name]) for name in (first, second)]
    events = watched(model)
    seen = []
    for (batch, labels), (other, _) in (batches, batches[::-1]):
        agree_with(None)
        alone = model.train()(**batch, labels=labels)  # the mode is set before every step
        expected = gradients(model, alone.loss)
        agree_with([other["input_ids"]])
        events.clear()
        together = model.train()(**batch, labels=labels)
        found = gradients(model, together.loss)
        seen.append(list(events))
        assert_close(together.logits, alone.logits)
        assert_close(together.loss, alone.loss)
        for name, gradient in expected.items():
            assert_close(found[name], gradient)
    assert seen[0] == seen[1]
    assert any(event[1:] == ("backwards",) for event in seen[0])


def rows_of(*thoughts: int) -> list:
    """Return prompts with a latent and an explicit view, for rows with so many latents."""
    return [
        (
            list(range(5, 8 + row)),
            {
                "latent": View([98, *[97] * latents, 99, 20, 0], [-100] * (latents + 2) + [20, 0], latents + 2),
                "explicit": View([30 + row, 20], [30 + row, 20], 1),
            },
        )
        for row, latents in enumerate(thoughts)
    ]


@pytest.mark.parametrize("settings", [*SETTINGS.values(), *BY_STAGE.values()], ids=[*SETTINGS, *BY_STAGE])
def test_views(agree_with, settings):
    """All views of a batch agree at once; ranks may have no latents, no scored row and other widths."""
    model = sharpen(make_latent(**settings))
    batches = [LatentCollator(0)(rows_of(3, 1)), LatentCollator(0)(rows_of(0))]
    for view in batches[1]["views"].values():
        view["labels"].fill_(-100)
    events = watched(model)
    seen = []
    for batch, other in (batches, batches[::-1]):
        parts = [torch.cat([other["input_ids"], other["views"]["latent"]["input_ids"]], 1)]
        agree_with([*parts, other["views"]["explicit"]["input_ids"]])
        events.clear()
        outputs = model.train()(**batch)
        sum(output.token_loss.sum() for output in outputs.values()).backward()
        seen.append(list(events))
    assert seen[0] == seen[1]


def test_a_thought_that_goes_on(agree_with):
    """In generation a row that thinks and one that writes run the feedback, and the cache is that of a rank alone."""
    model = sharpen(make_latent(feedback="projection")).eval()
    events = watched(model)
    seen = []
    with torch.no_grad():
        for token in (97, 99):
            agree_with(None)
            before = [model(input_ids=torch.tensor([[5, 6, 98]]), use_cache=True).past_key_values for _ in range(2)]
            alone = model(input_ids=torch.tensor([[token]]), past_key_values=before[0], use_cache=True)
            agree_with([torch.tensor([[97]])])
            events.clear()
            together = model(input_ids=torch.tensor([[token]]), past_key_values=before[1], use_cache=True)
            seen.append(list(events))
            assert_close(together.logits, alone.logits)
            assert together.past_key_values.get_seq_length() == 4
    assert seen[0] == seen[1]


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_the_count_is_what_the_rollout_runs(agree_with, settings):
    """A rank whose own count is the largest adds nothing to it."""
    model = make_latent(**settings)
    events = watched(model)
    for rows in RANKS.values():
        batch, labels = batch_of(rows)
        runs = []
        for others in (None, [batch["input_ids"]]):
            agree_with(others)
            events.clear()
            model.train()(**batch, labels=labels)
            runs.append(list(events))
        if "tolerance" not in settings.get("rollout_options", {}):
            assert runs[0] == runs[1]


def test_a_single_process_agrees_on_nothing():
    model = make_latent()
    assert not is_sharded(model)
    assert model.runner.agree([torch.tensor([[5, 98, 97, 99]])]) == [None]


def test_whole_parameters_are_left_as_they_are():
    model = make_latent()
    table = model.get_input_embeddings().weight
    assert whole_shape(table) == table.shape == (100, 32)
    with gathered([table]):
        assert model.get_input_embeddings().weight is table


def test_a_table_that_changes_without_a_version_is_measured_anew():
    """Sharded optimizers write below autograd's version counter; the trainer sets the mode before every step."""
    model = make_latent(feedback="hidden", feedback_options={"norm": "embedding"})
    hidden = torch.randn(1, 32, dtype=torch.float64)
    before = model._next_embedding(hidden).norm()
    model.get_input_embeddings().weight.data.mul_(3)
    assert_close(model.train()._next_embedding(hidden).norm(), 3 * before)


@pytest.mark.parametrize("rows", ["none", "many"])
def test_every_weight_has_a_gradient_under_deepspeed(monkeypatch, rows):
    """Where DeepSpeed reduces gradients, rows without latents give the feedback's weights zeros and change nothing else."""
    model = sharpen(make_latent(feedback="projection")).train()
    batch, labels = batch_of(RANKS[rows])
    found = []
    for config in (None, {}):
        monkeypatch.setattr(ranks, "deepspeed_config", lambda config=config: config)
        model.zero_grad()
        output = model(**batch, labels=labels)
        output.loss.backward()
        found.append((output.logits, {name: parameter.grad for name, parameter in model.named_parameters()}))
    (logits, without), (same, with_zeros) = found
    assert torch.equal(logits, same)
    for name, gradient in with_zeros.items():
        expected = without[name]
        assert name.startswith("feedback.") or expected is not None
        assert_close(gradient, torch.zeros_like(gradient) if expected is None else expected)
    assert (without["feedback.projection.1.weight"] is None) == (rows == "none")
