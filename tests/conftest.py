"""Tiny models and tokenizers that every test builds on; nothing is downloaded."""

from pathlib import Path

import pytest
import torch
from browser import NoBrowser, opened
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

from latent_trainer import LatentForCausalLM, load_problems
from latent_trainer.data.tokenizer import train_tokenizer
from latent_trainer.registry import REGISTRIES

torch.set_num_threads(1)

SHARED = Path(__file__).resolve().parents[2] / "shared"

SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
ROTARY = {**SMALL, "num_key_value_heads": 2, "head_dim": 8}
ARCHITECTURES = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    "llama": ROTARY,
    "qwen2": ROTARY,
    "qwen3": ROTARY,
    "mistral": {**ROTARY, "sliding_window": 16},
    "gemma": {**ROTARY, "pad_token_id": 0},
    "gemma2": {**ROTARY, "pad_token_id": 0, "sliding_window": 16, "query_pre_attn_scalar": 8},
}


def pytest_addoption(parser):
    """Add the number of problems a family is checked on; ``make verify-data`` asks for more."""
    parser.addoption("--problems", type=int, default=100, help="problems a generated family is checked on")


# What takes longest comes first, so that no process is left with a long test when the others have finished.
LONG = ("distributed/", "test_demo.py", "sweep/test_launch.py", "faults/test_killed.py", "test_two_evaluations.py")


def pytest_collection_modifyitems(items):
    """Put the tests of ``LONG`` first, in its order."""
    places = {item: next((n for n, part in enumerate(LONG) if part in item.nodeid), len(LONG)) for item in items}
    items.sort(key=places.get)


@pytest.fixture(scope="module", autouse=True)
def own_entries():
    """Whatever plug-in a module's tests load, the next module's tests find the registries as they were."""
    before = {kind: one.entries() for kind, one in REGISTRIES.items()}
    yield
    for kind, one in REGISTRIES.items():
        one.restore(before.get(kind))


@pytest.fixture(scope="module")
def browser():
    """A headless browser (`browser.Tab` opens pages in it); skipped with the reason where there is none."""
    try:
        with opened() as found:
            yield found
    except NoBrowser as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def problems():
    """Two hundred training problems of the built-in family."""
    return load_problems("arithmetic", "train", size=200, operations=4)


@pytest.fixture(scope="session")
def validation_problems():
    """Forty validation problems of the built-in family."""
    return load_problems("arithmetic", "validation", size=40, operations=4)


@pytest.fixture
def tokenizer(problems):
    """A word-level tokenizer that can write those problems."""
    texts = [" ".join([row["question"], *row["steps"], "=", row["answer"], "###"]) for row in problems]
    return train_tokenizer(texts)


def take_exact_norms(monkeypatch):
    """Take the norms of Llama and Qwen3 in the model's own precision; the stock ones round float64 to float32."""

    def forward(self, hidden):
        return self.weight * hidden * (hidden.pow(2).mean(-1, keepdim=True) + self.variance_epsilon).rsqrt()

    for norm in (LlamaRMSNorm, Qwen3RMSNorm):
        monkeypatch.setattr(norm, "forward", forward)


@pytest.fixture
def exact_norms(monkeypatch):
    """Norms in the model's own precision for one test."""
    take_exact_norms(monkeypatch)


def sharpen(model):
    """Scale weights up, so that a random model's choices depend on everything before them; norms stay as they are."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(10)
    return model


def make_base(architecture: str = "gpt2", vocab_size: int = 100, dtype=torch.float64, seed: int = 0, **changes):
    """Return a tiny base model from a configuration; its context is 128 tokens."""
    torch.manual_seed(seed)
    length = {"n_positions": 128} if architecture == "gpt2" else {"max_position_embeddings": 128}
    settings = {"bos_token_id": 0, "eos_token_id": 0, **ARCHITECTURES[architecture], **length, **changes}
    config = AutoConfig.for_model(architecture, vocab_size=vocab_size, **settings)
    return AutoModelForCausalLM.from_config(config).to(dtype)


def make_latent(architecture: str = "gpt2", dtype=torch.float64, seed: int = 0, **options) -> LatentForCausalLM:
    """Return a tiny latent model over 100 tokens: latent 97, begin of thought 98, end of thought 99."""
    base = make_base(architecture, dtype=dtype, seed=seed)
    torch.manual_seed(seed)
    return LatentForCausalLM.from_base(base, latent_token_id=97, bot_token_id=98, eot_token_id=99, **options)


def shared_file(name: str) -> Path:
    """Return a file beside the checkout, or skip the test where it is absent."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"shared file {name} is not beside this checkout")
    return path
