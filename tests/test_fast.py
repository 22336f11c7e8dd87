"""What makes a rollout fast changes nothing: the plain path gives the same loss, gradients and texts, for every method."""

import sys
from pathlib import Path

import pytest
import torch
from conftest import make_base, make_latent, sharpen, take_exact_norms
from peft import LoraConfig
from test_checkpointing import CHECKPOINTING
from training import make_tokenizer, quick, uneven_problems
from transformers.models.gemma import modeling_gemma
from transformers.models.llama import modeling_llama
from transformers.models.qwen3 import modeling_qwen3

from latent_trainer import LatentForCausalLM, LatentTrainer, LatentTrainingArguments, encode_prompts
from latent_trainer.model.adapters import latent_model
from latent_trainer.rollout import fast

METHODS = ("coconut", "codi", "pccot", "lotus", "mux", "kava", "pause", "answer_only", "sim_cot", "soft_thinking", "cot")
STAGED = {"first_stage": 2, "last_stage": 2, "latents_per_step": 2}
QUICKER = {"coconut": STAGED, "sim_cot": STAGED, "lotus": STAGED, "cot": {}}  # four latents, as the others are given
BASES = [(name, attention) for name in ("gpt2", "llama", "qwen3", "gemma") for attention in ("sdpa", "eager")]
VARIANTS = {
    "checkpointing": {CHECKPOINTING: True},
    "last": {"backprop": "last"},
    "two": {"backprop": 2},
    "lora": {"peft_config": LoraConfig(r=2, init_lora_weights=False)},
    "checkpointing, lora": {CHECKPOINTING: True, "peft_config": LoraConfig(r=2, init_lora_weights=False)},
}
TOLERANCE = 1e-12


def attend(module, query, key, value, attention_mask, scaling, **kwargs):
    """Attention of the rotary models in the model's own precision; theirs rounds float64 to float32."""
    key, value = (states.repeat_interleave(module.num_key_value_groups, 1) for states in (key, value))
    scores = query @ key.transpose(2, 3) * scaling
    weights = (scores if attention_mask is None else scores + attention_mask).softmax(-1)
    return (weights @ value).transpose(1, 2).contiguous(), weights


def norm_of_gemma(self, hidden):
    """Gemma's norm in the model's own precision."""
    return self._norm(hidden) * (1 + self.weight)


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """Everything in float64."""
    take_exact_norms(monkeypatch)
    monkeypatch.setattr(modeling_gemma.GemmaRMSNorm, "forward", norm_of_gemma)
    for module in (modeling_gemma, modeling_llama, modeling_qwen3):
        monkeypatch.setattr(module, "eager_attention_forward", attend)


class Both(LatentTrainer):
    """Take every step twice, fast and plainly, and keep the loss and gradients of both."""

    def training_step(self, model, *args, **kwargs):
        """Return the loss of the plain path."""
        self.found = {}
        for way in (True, False):
            latent_model(self.model).fast = way
            model.zero_grad()
            self.found[way] = {"loss": super().training_step(model, *args, **kwargs).clone()}
            learnt = ((name, one.grad) for name, one in model.named_parameters() if one.grad is not None)
            self.found[way] |= {name: gradient.clone() for name, gradient in learnt}
        return self.found[False]["loss"]


def make_base_with(architecture: str, attention: str, **changes):
    """Return a tiny base model in float64 with this attention."""
    base = make_base(architecture, **changes)
    base.set_attn_implementation(attention)
    return base


def step(folder: Path, method: str, architecture: str, attention: str, **changes) -> dict:
    """Return loss and gradients of a step over ragged rows, by whether it was fast."""
    tokenizer = make_tokenizer()
    peft_config = changes.pop("peft_config", None)
    changes = {"method": method, "max_steps": 1, **QUICKER.get(method, {"num_latents": 4}), **changes}
    model = LatentForCausalLM.from_base(make_base_with(architecture, attention, vocab_size=len(tokenizer)), tokenizer)
    args = LatentTrainingArguments(str(folder), **quick(**changes))
    named = {"train_dataset": uneven_problems(20), "processing_class": tokenizer, "peft_config": peft_config}
    torch.manual_seed(0)
    trainer = Both(model, args, **named)
    trainer.train()
    return trainer.found


def assert_equal(found: dict) -> None:
    """Assert that both ways give the same values, relative to the largest entry of each."""
    ours, plain = found[True], found[False]
    assert ours.keys() == plain.keys() and len(plain) > 5
    for name, value in plain.items():
        assert value.isfinite().all() and value.dtype == torch.float64
        assert (ours[name] - value).abs().max() <= TOLERANCE * value.abs().max(), name


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("architecture", "attention"), BASES)
def test_methods(tmp_path, method, architecture, attention):
    assert_equal(step(tmp_path, method, architecture, attention))


@pytest.mark.parametrize("method", ["coconut", "codi", "pccot", "kava", "sim_cot"])
@pytest.mark.parametrize(("architecture", "attention"), [("gpt2", "sdpa"), ("llama", "eager")])
@pytest.mark.parametrize("variant", VARIANTS)
def test_variants(tmp_path, method, architecture, attention, variant):
    changes = dict(VARIANTS[variant])
    if method in ("pccot", "kava") and "backprop" in changes:
        changes["backprop"] = "none"  # a parallel rollout has no last latents
    assert_equal(step(tmp_path, method, architecture, attention, **changes))


@pytest.mark.parametrize("feedback", ["hidden", "soft"])
@pytest.mark.parametrize(("architecture", "attention"), BASES)
def test_generation(architecture, attention, feedback):
    """Prompts of different lengths with a thought each: the same tokens and logits."""
    tokenizer = make_tokenizer()
    base = make_base_with(architecture, attention, vocab_size=30)
    model = sharpen(LatentForCausalLM.from_base(base, tokenizer, feedback=feedback)).eval()
    batch = encode_prompts(["1 + 2 + 3 =", "4 ="], tokenizer, num_latents=3)
    found = []
    for model.fast in (True, False):
        output = model.generate(**batch, max_new_tokens=6, do_sample=False, output_logits=True, return_dict_in_generate=True)
        found.append((output.sequences, torch.stack(output.logits)))
    (ours, logits), (plain, expected) = found
    assert torch.equal(ours, plain)
    assert (logits - expected).abs().max() <= TOLERANCE * expected.abs().max()


def files_of(call) -> set[str]:
    """Return the names of the files in ``rollout/fast`` whose functions a call runs."""
    folder, seen = Path(fast.__file__).parent, set()
    sys.setprofile(lambda frame, event, argument: seen.add(frame.f_code.co_filename))
    try:
        call()
    finally:
        sys.setprofile(None)
    return {Path(name).stem for name in seen if Path(name).parent == folder}


@pytest.mark.parametrize("options", [{}, {"rollout": "jacobi", "rollout_options": {"iterations": 2}}], ids=["one", "jacobi"])
def test_the_plain_path_is_plain(options):
    """It runs nothing of ``rollout/fast``; a fast step runs all of it."""
    model, ids = make_latent(**options).train(), torch.tensor([[5, 98, 97, 97, 99, 7], [5, 98, 97, 99, 7, 8]])
    views = {"latent": ids, "explicit": ids[:, -2:]}
    views = {
        name: {"input_ids": view, "labels": view, "attention_mask": torch.ones_like(view)} for name, view in views.items()
    }
    prompts = {"input_ids": torch.tensor([[4, 5], [0, 5]]), "attention_mask": torch.tensor([[1, 1], [0, 1]])}

    def train():
        model(**prompts, views=views)["latent"].token_loss.sum().backward()

    assert files_of(train) == {path.stem for path in Path(fast.__file__).parent.glob("*.py")} - {"__init__"}
    model.fast = False
    assert files_of(train) == set()


def test_it_is_no_setting():
    """A model that is saved says nothing of it."""
    model = make_latent()
    model.fast = False
    assert "fast" not in model.config.to_dict() and make_latent().fast
