"""Counted work, which no noisy machine changes: decoder calls, positions, rows of the head, arithmetic and copies."""

import sys
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM

from latent_trainer import LatentForCausalLM
from latent_trainer.rollout.cache import RolloutLayer

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))
from steps import ANSWER, QUESTION, STEPS, Bench, make_batch, ragged

BATCH = 3
BOTH = ("latent", "explicit")
TAUGHT = ("latent", "targets")


@pytest.fixture(scope="module")
def bench() -> Bench:
    """A small model whose layers and vocabulary have the proportions of GPT-2 small."""
    torch.manual_seed(0)
    config = AutoConfig.for_model("gpt2", vocab_size=3_000, n_embd=96, n_layer=6, n_head=4, bos_token_id=0, eos_token_id=0)
    base = AutoModelForCausalLM.from_config(config)
    return Bench(LatentForCausalLM.from_base(base, latent_token_id=2_997, bot_token_id=2_998, eot_token_id=2_999))


class Work:
    """Counts what a model does within the block: columns of every decoder call, rows of the head, rows looked up."""

    def __init__(self, model):
        self.calls, self.head, self.lookups = [], [], []
        counted = {
            model.get_decoder(): lambda args, kwargs: self.calls.append(tuple(kwargs["inputs_embeds"].shape[:2])),
            model.get_output_embeddings(): lambda args, kwargs: self.head.append(args[0].shape[:-1].numel()),
            model.get_input_embeddings(): lambda args, kwargs: self.lookups.append(args[0].numel()),
        }
        self.hooks = [
            module.register_forward_pre_hook(lambda module, args, kwargs, note=note: note(args, kwargs), with_kwargs=True)
            for module, note in counted.items()
        ]

    def __enter__(self) -> "Work":
        return self

    def __exit__(self, *error):
        for hook in self.hooks:
            hook.remove()

    @property
    def positions(self) -> int:
        return sum(rows * columns for rows, columns in self.calls)


@pytest.mark.parametrize("latents", [0, 1, 2, 4, 8, 16, 32])
def test_coconut(bench, latents):
    """Every position but the last once, in one call more than there are latents; one call of the head, on labelled ones."""
    step = bench.latent(make_batch(bench.model, BATCH, latents))
    with Work(bench.model) as work:
        step()
    assert len(work.calls) == latents + 1
    assert work.positions == BATCH * (QUESTION + 2 + latents + ANSWER - 1)
    assert work.head == [BATCH * ANSWER]
    assert len(work.lookups) == 1


def test_ragged_rows(bench):
    """A batch of ragged rows costs the calls of its longest thought, and no position twice."""
    sizes = ragged(BATCH)
    step = bench.latent(make_batch(bench.model, BATCH, **sizes))
    with Work(bench.model) as work:
        step()
    assert len(work.calls) == max(sizes["latents"]) + 1
    assert work.positions == BATCH * (max(sizes["prompt"]) + 2 + max(sizes["latents"]) + ANSWER - 1)


@pytest.mark.parametrize(
    ("latents", "rollout", "calls", "latent_positions"),
    [(6, {}, 7, 6), (24, {"rollout": "jacobi", "iterations": 3}, 4, 24 * 4 - 6)],
    ids=["codi", "pccot"],
)
def test_self_distillation(bench, latents, rollout, calls, latent_positions):
    """The question is encoded once for both views, in the call that reads the written steps; the head runs once for both."""
    step = bench.latent(make_batch(bench.model, BATCH, latents, views=BOTH), "self_distillation", **rollout)
    with Work(bench.model) as work:
        step()
    assert len(work.calls) == calls
    assert work.positions == BATCH * (QUESTION + 2 + latent_positions + ANSWER - 1 + STEPS + ANSWER - 1)
    assert work.head == [BATCH * (ANSWER + STEPS + ANSWER)]
    assert len(work.lookups) == 1


@pytest.mark.parametrize("iterations", [1, 3])
def test_lotus(bench, iterations):
    """The question is read once, the latents once more than there are iterations; the head on written tokens and targets."""
    step = bench.latent(make_batch(bench.model, BATCH, 24, views=TAUGHT), "latent_tokens", "looped", iterations=iterations)
    with Work(bench.model) as work:
        step()
    assert len(work.calls) == iterations + 1
    assert work.positions == BATCH * (QUESTION + 2 + 24 * (iterations + 1) + ANSWER - 1)
    assert work.head == [BATCH * ANSWER, BATCH * 24]
    assert len(work.lookups) == 1


def test_backprop_last(bench):
    """The latents before the last are found without gradient; then everything is read once more, with it."""
    step = bench.latent(make_batch(bench.model, BATCH, 30), backprop="last")
    with Work(bench.model) as work:
        step()
    assert len(work.calls) == 29 + 2
    assert work.positions == BATCH * (2 * (QUESTION + 1 + 29) - 1 + 1 + 1 + ANSWER - 1)


def operations(step) -> int:
    """Return the floating-point operations of a step's matrix products, forwards and backwards."""
    in_place = {
        torch.ops.aten.addmm_: lambda total, left, right, **_: 2 * left[0] * left[1] * right[1]
    }  # it knows the others
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        step()
    return counter.get_total_flops()


@pytest.mark.parametrize(
    ("latents", "views", "options", "most"),
    [
        (6, ("latent",), {}, 0.7),
        (6, BOTH, {"objective": "self_distillation"}, 0.95),
        (24, BOTH, {"objective": "self_distillation", "rollout": "jacobi", "iterations": 3}, 1.55),
        (24, TAUGHT, {"objective": "latent_tokens", "rollout": "looped", "iterations": 3}, 1.55),
        (24, BOTH, {"objective": "kv_distillation", "rollout": "jacobi", "iterations": 3}, 1.55),
    ],
    ids=["coconut", "codi", "pccot", "lotus", "kava"],
)
def test_arithmetic(bench, latents, views, options, most):
    """Not more than plain fine-tuning of the same rows: of the latents' positions, or of the written steps."""
    plain = bench.plain(make_batch(bench.model, BATCH, latents)) if views == ("latent",) else None
    plain = plain or bench.plain(make_batch(bench.model, BATCH, views=("explicit",)), "explicit")
    step = bench.latent(make_batch(bench.model, BATCH, latents, views=views), **options)
    assert operations(step) <= most * operations(plain)


class Products(TorchDispatchMode):
    """Counts the matrix products within the block whose result has the shape of a weight: weight gradients."""

    def __init__(self, weights: set[tuple[int, ...]]):
        super().__init__()
        self.weights, self.number = weights, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default):
            self.number += tuple(result.shape) in self.weights
        return result


@pytest.mark.parametrize("latents", [1, 2, 12])
def test_weight_gradients(bench, latents):
    """A weight's gradient takes no product a latent: only one for as many rows as make it worth it."""
    weights = [weight for weight in bench.model.get_decoder().h.parameters() if weight.dim() == 2]
    with Products({tuple(weight.shape) for weight in weights}) as products:
        bench.latent(make_batch(bench.model, BATCH, latents))()
    assert products.number == len(weights)


class Waits(TorchDispatchMode):
    """Counts what a GPU would have to wait for within the block: values and shapes that depend on a tensor's entries."""

    def __init__(self):
        super().__init__()
        self.number = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        values = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
        chosen = args[1] if func is torch.ops.aten.index.Tensor else ()
        self.number += func in values or any(one is not None and one.dtype == torch.bool for one in chosen)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("views", "options", "expected"),
    [(("latent",), {}, 3), (BOTH, {"objective": "self_distillation"}, 6)],
    ids=["coconut", "codi"],
)
def test_device_synchronisations(bench, views, options, expected):
    """Their number does not grow with the latents: latent columns, padding, labels of each view, and rows of statistics."""
    numbers = set()
    for latents in (1, 2, 12):
        for prompt in (QUESTION, [QUESTION, 8, 8]):
            step = bench.latent(make_batch(bench.model, BATCH, latents, prompt, views), **options)
            with Waits() as waits:
                step()
            numbers.add(waits.number)
    assert numbers == {expected}


def test_generation(bench):
    """A latent is a pass over one column without the head, which runs where a token is chosen; the prompt is read once."""
    batch, new, latents = make_batch(bench.model, BATCH, 6), 5, 6
    prompt = torch.cat([batch["input_ids"], batch["views"]["latent"]["input_ids"][:, : latents + 2]], 1)
    model = bench.model.eval()
    with Work(model) as work:
        model.generate(input_ids=prompt, max_new_tokens=new, min_new_tokens=new, do_sample=False, pad_token_id=0)
    bench.model.train()
    assert work.calls == [(BATCH, QUESTION + 1), *[(BATCH, 1)] * (latents - 1), (BATCH, 2), *[(BATCH, 1)] * (new - 1)]
    assert work.head == [BATCH] * new


@pytest.mark.parametrize("learns", [False, True])
def test_columns_are_not_copied(learns):
    """A pass writes its own columns; those before stay where they are until the room is used up."""
    layer, moved, place = RolloutLayer(), 0, None
    with torch.set_grad_enabled(learns):
        layer.update(*torch.randn(2, BATCH, 2, QUESTION, 8, requires_grad=True))
        for _ in range(30):
            keys, _ = layer.update(*torch.randn(2, BATCH, 2, 1, 8, requires_grad=True))
            moved, place = moved + (keys.data_ptr() != place), keys.data_ptr()
    assert moved == 1 and layer.get_seq_length() == QUESTION + 30
