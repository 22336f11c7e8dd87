"""The cache layer with room to spare against the stock layer, which copies everything at every pass."""

import copy
import random

import pytest
import torch
from transformers import DynamicCache, StaticCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from latent_trainer.rollout.cache import RolloutLayer, rollout_cache, with_room

ROWS, HEADS, SIZE = 3, 2, 4


def states(number: int) -> tuple[torch.Tensor, torch.Tensor]:
    return tuple(torch.randn(2, ROWS, HEADS, number, SIZE, dtype=torch.float64, requires_grad=True).unbind(0))


@pytest.mark.parametrize("seed", range(20))
def test_equal_to_the_stock_layer(seed):
    """Whatever is done to both in whatever order, both hold the same."""
    rng = random.Random(seed)
    ours, stock = RolloutLayer(), DynamicLayer()
    with torch.no_grad():
        for layer in (ours, stock):
            torch.manual_seed(seed)
            layer.update(*states(5))
        for step in range(30):
            change, number = rng.choice(["update", "update", "crop", "rows", "reorder", "branch"]), rng.randint(1, 40)
            order = torch.tensor([rng.randrange(ROWS) for _ in range(ROWS)])
            for layer in (ours, stock):
                torch.manual_seed(step)
                if change == "update":
                    found = layer.update(*states(number))
                    assert found[0] is layer.keys and found[1] is layer.values
                elif change == "crop":
                    layer.crop(-min(number, layer.get_seq_length() - 1))
                elif change == "rows":
                    layer.batch_repeat_interleave(2)
                    layer.batch_select_indices(torch.arange(0, 2 * ROWS, 2))
                elif change == "reorder":
                    layer.reorder_cache(order)
            if change == "branch":  # what is written to a branch or a copy is not seen here
                for other in (ours.first(min(number, ours.get_seq_length())), copy.copy(ours), copy.deepcopy(ours)):
                    other.update(*states(3))
            assert ours.get_seq_length() == stock.get_seq_length()
            assert torch.equal(ours.keys, stock.keys) and torch.equal(ours.values, stock.values)
    ours.reset()
    assert ours.get_seq_length() == 0 and not ours.is_initialized


def test_gradients():
    """Every pass reads what was there then; branches and columns that were taken back keep their gradients."""
    pieces = [states(number) for number in (5, 1, 1, 40, 2)]
    flat = [tensor for piece in pieces for tensor in piece]

    def loss(read) -> torch.Tensor:
        return sum((keys.sin() * values.cos()).sum() * (number + 1) for number, (keys, values) in enumerate(read))

    layer, read = RolloutLayer(), []
    for piece in pieces[:3]:
        read.append(layer.update(*piece))
    read.append(layer.first(6).update(*pieces[4]))
    read.append(layer.first(3).update(*pieces[4]))
    layer.crop(-1)
    read.append(layer.update(*pieces[3]))
    found = torch.autograd.grad(loss(read), flat)

    def joined(*parts) -> tuple[torch.Tensor, torch.Tensor]:
        return tuple(torch.cat(tensors, -2) for tensors in zip(*parts, strict=True))

    first, second, third, fourth, fifth = pieces
    start = tuple(tensor[:, :, :3] for tensor in first)
    stock = [first, joined(first, second), joined(first, second, third), joined(first, second, fifth)]
    stock += [joined(start, fifth), joined(first, second, fourth)]
    for (keys, values), (stock_keys, stock_values) in zip(read, stock, strict=True):
        assert torch.equal(keys, stock_keys) and torch.equal(values, stock_values)
    for one, other in zip(found, torch.autograd.grad(loss(stock), flat), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_which_caches_get_room():
    """Empty stock caches that only grow; never one in use, of fixed size, with a window, or none."""
    empty = with_room(DynamicCache())
    empty.update(*states(2), 1)
    assert [type(layer) for layer in empty.layers] == [RolloutLayer] * 2
    used = DynamicCache()
    used.update(*states(2), 0)
    assert type(with_room(used).layers[0]) is DynamicLayer
    window = DynamicCache()
    window.layers = [DynamicSlidingWindowLayer(4), DynamicLayer()]
    assert [type(layer) for layer in with_room(window).layers] == [DynamicSlidingWindowLayer, RolloutLayer]
    assert with_room(None) is None
    fixed = StaticCache.__new__(StaticCache)
    assert with_room(fixed) is fixed
    assert type(rollout_cache()).__name__ == "Cache"
