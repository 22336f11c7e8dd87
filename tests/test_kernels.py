"""Liger's kernels: refused in one line where they cannot work, and the fused loss against the plain one."""

import importlib.util
import os
import subprocess
import sys

import pytest
import torch
from conftest import make_latent
from training import make_trainer

from latent_trainer.errors import InputError
from latent_trainer.model import heads
from latent_trainer.training.kernels import use_kernels

COMPARE = """
import torch
from torch import nn
from latent_trainer.training.kernels import fused_losses

torch.manual_seed(0)
head, hidden = nn.Linear(16, 50), torch.randn(7, 16, requires_grad=True)
labels, weights = torch.randint(0, 50, (7,)), torch.rand(7)
found = []
for losses in (
    fused_losses(head, None, hidden, labels),
    nn.functional.cross_entropy(head(hidden), labels, reduction="none"),
):
    gradients = torch.autograd.grad((losses * weights).sum(), (hidden, head.weight, head.bias))
    found.append((losses, *gradients))
for fused, plain in zip(*found, strict=True):
    torch.testing.assert_close(fused, plain, rtol=1e-4, atol=1e-6)
"""


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu(tmp_path):
    trainer = make_trainer(tmp_path, use_liger_kernel=True)
    with pytest.raises(InputError, match=r"use_liger_kernel=True needs a GPU, and there is none; leave it out"):
        trainer.train()


def test_heads_that_cannot_be_fused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    base = make_latent("llama").base
    base.config.logit_scale = 2.0
    with pytest.raises(InputError, match="cannot fuse the loss with logit_scale"):
        use_kernels(base)
    base.config.logit_scale = None
    base.lm_head = torch.nn.Sequential(base.lm_head)
    with pytest.raises(InputError, match="cannot fuse the loss with a head of type Sequential"):
        use_kernels(base)


@pytest.mark.skipif(importlib.util.find_spec("liger_kernel") is not None, reason="the extra 'kernels' is installed")
def test_without_the_extra(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(InputError, match=r"needs liger-kernel; pip install 'latent_trainer\[kernels\]'"):
        use_kernels(make_latent("llama").base)


def test_losses_go_through_the_kernel():
    """A base model that fuses its losses never computes logits in training."""
    model = make_latent("llama").train()
    hidden, labels = torch.randn(5, 32, dtype=torch.float64), torch.arange(5)
    expected = heads.token_losses(model.base, hidden, labels)
    model.base.fused_losses = lambda hidden, labels: -labels
    assert heads.token_losses(model.base, hidden, labels).tolist() == [0, -1, -2, -3, -4]
    del model.base.fused_losses
    assert torch.equal(heads.token_losses(model.base, hidden, labels), expected)


@pytest.mark.skipif(importlib.util.find_spec("liger_kernel") is None, reason="the extra 'kernels' is not installed")
def test_fused_losses():
    """Losses and gradients, each token weighted differently; where there is no GPU, in Triton's interpreter."""
    environment = {**os.environ} | ({} if torch.cuda.is_available() else {"TRITON_INTERPRET": "1"})
    script = COMPARE if not torch.cuda.is_available() else f"import torch\ntorch.set_default_device('cuda')\n{COMPARE}"
    subprocess.run([sys.executable, "-c", script], check=True, env=environment, timeout=300)


@pytest.mark.parametrize("entries", [1, 250, 10**9])
def test_chunks(monkeypatch, entries):
    """Losses and gradients do not depend on how many logits may exist at a time."""
    base = make_latent("gpt2").base
    hidden, labels = torch.randn(7, 32, dtype=torch.float64, requires_grad=True), torch.arange(7)

    def found(limit: int) -> list[torch.Tensor]:
        monkeypatch.setattr(heads, "LOGITS", limit)
        losses = heads.token_losses(base, hidden, labels)
        return [losses, *torch.autograd.grad((losses * (1 + labels)).sum(), (hidden, base.get_output_embeddings().weight))]

    for one, whole in zip(found(entries), found(10**9), strict=True):
        torch.testing.assert_close(one, whole, rtol=1e-12, atol=1e-12)
