"""`torch.compile` and static caches: one compiled single-token step serves latents and written tokens alike."""

import pytest
import torch
from conftest import make_latent
from torch._dynamo.testing import CompileCounter

PROMPTS = [[98, 97, 97, 97, 97, 97, 97, 99], [98, 97, 97, 97, 99]]


def batch() -> dict[str, torch.Tensor]:
    """Return left-padded prompts with different numbers of latents."""
    torch.manual_seed(0)
    rows = [torch.randint(1, 90, (5,)).tolist() + prompt for prompt in PROMPTS]
    width = max(map(len, rows))
    return {
        "input_ids": torch.tensor([[0] * (width - len(row)) + row for row in rows]),
        "attention_mask": torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows]),
    }


@pytest.fixture(autouse=True)
def fresh():
    """Forget what other tests have compiled."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen3"])
def test_one_compiled_step(architecture):
    """Six latents and eight written tokens use the graphs of a prompt and of one column, however many there are."""
    model = make_latent(architecture).eval()
    settings = {"do_sample": False, "cache_implementation": "static"}
    expected = model.generate(**batch(), **settings, max_new_tokens=8, min_new_tokens=8)
    counter = CompileCounter()
    model.get_decoder().compile(backend=counter, dynamic=False)
    assert torch.equal(model.generate(**batch(), **settings, max_new_tokens=8, min_new_tokens=8), expected)
    first = counter.frame_count
    assert 2 <= first <= 4  # the passes before and after the cache has its memory are graphs of their own
    assert torch.equal(model.generate(**batch(), **settings, max_new_tokens=8, min_new_tokens=8), expected)
    assert counter.frame_count == first
