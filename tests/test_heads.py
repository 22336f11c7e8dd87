"""Scaled logits without the base model's own forward; losses of half precision logits are those in float32."""

import pytest
import torch
from conftest import ROTARY, make_base
from transformers import AutoConfig, AutoModelForCausalLM

from latent_trainer.model import heads
from latent_trainer.model.heads import causal_lm_loss, cross_entropy, linear_logits, own_logits, token_losses

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


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        ("granite", {"logits_scaling": 4.0}),
        ("cohere", {"logit_scale": 0.25}),
        ("gemma2", {"final_logit_softcapping": 0.5, "query_pre_attn_scalar": 8}),
    ],
)
def test_scaled_logits(architecture, changes):
    """Both ways to logits are right by themselves: where one is wrong, a model would quietly be given the slower other."""
    settings = {**ROTARY, "vocab_size": 100, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0, **changes}
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **settings)).double().eval()
    row = torch.tensor([[5, 6, 7, 8]])
    hidden, expected = base.base_model(input_ids=row).last_hidden_state, base(input_ids=row).logits
    torch.testing.assert_close(linear_logits(base, hidden), expected)
    torch.testing.assert_close(own_logits(base, hidden), expected)
    assert not torch.allclose(base.get_output_embeddings()(hidden), expected)
