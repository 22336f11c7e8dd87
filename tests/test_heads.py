"""Losses of logits in half precision are those of the same logits in float32."""

import pytest
import torch
from conftest import make_base

from latent_trainer import heads
from latent_trainer.heads import causal_lm_loss, cross_entropy, token_losses

HALF = (torch.bfloat16, torch.float16)


def draw(dtype, rows: int = 40, vocabulary: int = 300):
    """Return logits (N, V) in a type, and labels (N,)."""
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(rows, vocabulary, generator=generator)
    return logits.to(dtype), torch.randint(vocabulary, (rows,), generator=generator)


@pytest.mark.parametrize("dtype", [*HALF, torch.float32, torch.float64])
def test_cross_entropy(dtype):
    """The loss is exact for the logits there are; bfloat16 alone would be off by a hundredth."""
    logits, labels = draw(dtype)
    losses = cross_entropy(logits, labels)
    exact = logits.double().logsumexp(1) - logits.double().gather(1, labels[:, None])[:, 0]
    assert losses.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(losses.double(), exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", HALF)
def test_loss_of_forward(dtype):
    logits, labels = draw(dtype)
    loss = causal_lm_loss(logits[None], None, shift_labels=labels[None])
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, cross_entropy(logits.float(), labels).mean(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("entries", [heads.LOGITS, 1000], ids=["at once", "in chunks"])
def test_losses_of_training(entries, monkeypatch):
    """The losses a training step adds up, of a model in bfloat16."""
    monkeypatch.setattr(heads, "LOGITS", entries)
    base = make_base(dtype=torch.bfloat16)
    hidden = 4 * torch.randn(30, 32, generator=torch.Generator().manual_seed(0)).bfloat16()
    labels = torch.arange(30)
    losses = token_losses(base, hidden, labels)
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses, cross_entropy(heads.logits_of(base, hidden).float(), labels), rtol=1e-5, atol=1e-5)
