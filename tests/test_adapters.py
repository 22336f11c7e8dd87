"""Adapters by PEFT's own hands: saved, loaded, merged, swapped and mixed, on tied heads and on others."""

from copy import deepcopy

import pytest
import torch
from conftest import make_base, sharpen
from peft import (
    AutoPeftModel,
    AutoPeftModelForCausalLM,
    IA3Config,
    LoraConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    get_peft_model,
)
from training import make_tokenizer, make_trainer, uneven_problems
from transformers import AutoModelForCausalLM

from latent_trainer import LatentForCausalLM, encode_prompts
from latent_trainer.compat import CACHE
from latent_trainer.errors import InputError
from latent_trainer.model.adapters import add_adapters, latent_model

IDS = {"latent_token_id": 97, "bot_token_id": 98, "eot_token_id": 99}
BATCH = {"input_ids": torch.tensor([[3, 98, 97, 97, 99, 5], [4, 98, 97, 97, 99, 6]])}
SETTINGS = {"feedback_options": {"norm": "embedding"}, "rollout": "jacobi", "rollout_options": {"iterations": 1}}


def make(architecture: str = "llama", tied: bool = False, seed: int = 0, **options) -> LatentForCausalLM:
    base = make_base(architecture, dtype=torch.float32, seed=seed, tie_word_embeddings=tied)
    return LatentForCausalLM.from_base(sharpen(base), **IDS, **options).eval()


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return model(**BATCH).logits


@torch.no_grad()
def stir(model, seed: int = 1):
    """Move every trainable weight, as training would."""
    torch.manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A saved latent model with settings of its own."""
    folder = tmp_path_factory.mktemp("latent") / "model"
    model = make(**SETTINGS)
    model.config.num_latents, model.config.template = 2, {"bot": "<|bot|>"}
    model.save_pretrained(folder)
    return folder


PLAIN = {
    "lora": LoraConfig(r=4, target_modules=["q_proj", "up_proj"], init_lora_weights=False),
    "dora": LoraConfig(r=4, target_modules=["q_proj", "up_proj"], use_dora=True),
    "rslora": LoraConfig(r=4, target_modules=["q_proj"], use_rslora=True, init_lora_weights=False),
    "ia3": IA3Config(target_modules=["k_proj", "v_proj"], feedforward_modules=[], init_ia3_weights=False),
    "rows": LoraConfig(r=4, target_modules=["q_proj"], trainable_token_indices={"embed_tokens": [97, 99], "lm_head": [99]}),
    "whole": LoraConfig(r=4, target_modules=["q_proj"], modules_to_save=["lm_head"]),
}


@pytest.mark.parametrize("kind", PLAIN)
def test_plain_peft_on_a_saved_latent_model(saved, tmp_path, kind):
    """No settings lie beside such an adapter, so the base's own hold, merged or not."""
    model = stir(get_peft_model(LatentForCausalLM.from_pretrained(saved), deepcopy(PLAIN[kind])))
    expected = logits(model)
    model.save_pretrained(tmp_path)
    assert not (tmp_path / "config.json").exists()
    merged = LatentForCausalLM.from_pretrained(str(tmp_path))
    torch.testing.assert_close(logits(merged.eval()), expected, rtol=1e-4, atol=1e-4)
    base = LatentForCausalLM.from_pretrained(saved)
    assert (logits(base) - expected).abs().max() > 1e-2  # the adapter does something
    for name in ("feedback", "feedback_options", "rollout", "rollout_options", "num_latents", "template", "backprop"):
        assert getattr(merged.config, name) == getattr(base.config, name), name
    torch.testing.assert_close(logits(PeftModel.from_pretrained(base, tmp_path).eval()), expected, rtol=1e-4, atol=1e-4)


def test_a_configuration_of_another_model_beside_the_adapter(saved, tmp_path):
    """Only a latent model's settings replace those of the base."""
    model = stir(get_peft_model(LatentForCausalLM.from_pretrained(saved), deepcopy(PLAIN["lora"])))
    model.save_pretrained(tmp_path)
    model.get_base_model().base.config.save_pretrained(tmp_path)
    torch.testing.assert_close(logits(LatentForCausalLM.from_pretrained(str(tmp_path))), logits(model), rtol=1e-4, atol=1e-4)


def test_an_adapter_of_a_plain_model_is_refused(tmp_path):
    make_base("llama", dtype=torch.float32).save_pretrained(tmp_path / "base")
    base = type(make_base("llama")).from_pretrained(tmp_path / "base")
    get_peft_model(base, deepcopy(PLAIN["lora"])).save_pretrained(tmp_path / "adapter")
    with pytest.raises(InputError, match=r"trained on .*base, which is not a latent model"):
        LatentForCausalLM.from_pretrained(str(tmp_path / "adapter"))


@pytest.mark.parametrize("task_type", [None, "CAUSAL_LM"])
def test_auto_peft(saved, tmp_path, task_type):
    """PEFT's own front door: it wants a task type, or the package named that it is to import."""
    config = LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False, task_type=task_type)
    model = stir(get_peft_model(LatentForCausalLM.from_pretrained(saved), config))
    model.save_pretrained(tmp_path)
    allowed = {} if task_type else {"import_allowlist": ["latent_trainer"]}
    for front_door in (AutoPeftModelForCausalLM, *(() if task_type else (AutoPeftModel,))):
        loaded = front_door.from_pretrained(tmp_path, **allowed)
        torch.testing.assert_close(logits(loaded.eval()), logits(model), rtol=1e-4, atol=1e-4)


def test_auto_peft_takes_what_the_library_saved(saved, tmp_path):
    model = stir(add_adapters(LatentForCausalLM.from_pretrained(saved), LoraConfig(r=4)))
    model.save_pretrained(tmp_path)
    torch.testing.assert_close(logits(AutoPeftModelForCausalLM.from_pretrained(tmp_path).eval()), logits(model))


def test_auto_model_takes_an_adapter_of_a_base(tmp_path):
    """Beside it lie the settings of the latent model: the stock class, and pipelines with it, ask this library."""
    make_base("llama", dtype=torch.float32).save_pretrained(tmp_path / "base")
    model = LatentForCausalLM.from_base(AutoModelForCausalLM.from_pretrained(tmp_path / "base"), **IDS)
    wrapped = stir(add_adapters(model, LoraConfig(r=4)))
    wrapped.save_pretrained(tmp_path / "adapter")
    model.config.save_pretrained(tmp_path / "adapter")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "adapter")
    torch.testing.assert_close(logits(loaded.eval()), logits(wrapped), rtol=1e-4, atol=1e-4)


PROMPTS = {"num_virtual_tokens": 2, "num_layers": 2, "token_dim": 32, "num_attention_heads": 4, "task_type": "CAUSAL_LM"}


@pytest.mark.parametrize("kind", [PromptTuningConfig, PrefixTuningConfig, PromptEncoderConfig])
def test_prompt_learning_is_refused(kind):
    with pytest.raises(InputError, match=r"learned columns before the prompt.*; use LoRA"):
        add_adapters(make(), kind(**PROMPTS))


@torch.no_grad()
def test_prefix_tuning_thinks(tmp_path):
    """PEFT's own forward hands the prefix over as a cache; every latent sees it. Nothing of it can be merged."""
    model = make()
    prefixed = stir(get_peft_model(model, PrefixTuningConfig(**PROMPTS | {"token_dim": 16, "num_attention_heads": 2})))
    ids = BATCH["input_ids"]
    embeds = model.get_input_embeddings()(ids).clone()
    for column in (2, 3):
        cache = {CACHE: prefixed.get_prompt(2), "attention_mask": torch.ones(2, 2 + column)}
        embeds[:, column] = model.base.model(inputs_embeds=embeds[:, :column], **cache).last_hidden_state[:, -1]
    cache = {CACHE: prefixed.get_prompt(2), "attention_mask": torch.ones(2, 8)}
    expected = model.base(inputs_embeds=embeds, **cache).logits
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    torch.testing.assert_close(prefixed(**given).logits, expected, rtol=1e-4, atol=1e-4)
    assert (expected - logits(model)).abs().max() > 1e-2
    prefixed.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"PREFIX_TUNING.*cannot be merged.*PeftModel.from_pretrained"):
        LatentForCausalLM.from_pretrained(str(tmp_path))


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "qwen2"])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_rows_of_the_thought_tokens(architecture, tied, tmp_path):
    """One set of rows for a tied head and two for another; saved with the adapter, and merged without a change."""
    model = make(architecture, tied)
    before = logits(model)
    wrapped = add_adapters(model, LoraConfig(r=4))
    rows = next(iter(wrapped.peft_config.values())).trainable_token_indices
    assert len(rows) == (1 if tied else 2) and all(ids == [97, 98, 99] for ids in rows.values())
    deltas = [one for name, one in wrapped.named_parameters() if "trainable_tokens_delta" in name and one.requires_grad]
    assert len(deltas) == len(rows)
    torch.testing.assert_close(logits(wrapped), before)
    expected = logits(stir(wrapped))
    wrapped.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(make(architecture, tied), tmp_path).eval()
    torch.testing.assert_close(logits(loaded), expected, rtol=1e-4, atol=1e-4)
    merged = wrapped.merge_and_unload()
    torch.testing.assert_close(logits(merged), expected, rtol=1e-4, atol=1e-4)
    embedding, head = merged.get_input_embeddings().weight, merged.get_output_embeddings().weight
    assert (head is embedding) == tied and merged.config.tie_word_embeddings == tied
    merged.save_pretrained(tmp_path / "merged")
    again = LatentForCausalLM.from_pretrained(tmp_path / "merged").eval()
    torch.testing.assert_close(logits(again), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("config", "rows"),
    [
        (LoraConfig(r=2, modules_to_save=["lm_head"]), ["base.model.embed_tokens"]),
        (LoraConfig(r=2, modules_to_save=["embed_tokens", "lm_head"]), None),
        (LoraConfig(r=2, target_modules=["q_proj", "lm_head"]), ["base.model.embed_tokens"]),
        (LoraConfig(r=2, target_modules=r".*(q_proj|lm_head)"), ["base.model.embed_tokens"]),
        (LoraConfig(r=2, target_modules="all-linear"), ["base.lm_head", "base.model.embed_tokens"]),
        (LoraConfig(r=2, trainable_token_indices={"embed_tokens": [99]}), ["embed_tokens"]),
        (LoraConfig(r=2, trainable_token_indices={}), []),
    ],
)
def test_rows_that_are_trained_otherwise(config, rows):
    """What a configuration trains whole or adapts is left to it."""
    wrapped = add_adapters(make(), config)
    found = next(iter(wrapped.peft_config.values())).trainable_token_indices
    assert found is None if rows is None else sorted(found) == rows
    expected = logits(stir(wrapped))
    torch.testing.assert_close(logits(wrapped.merge_and_unload()), expected, rtol=1e-4, atol=1e-4)


def test_a_head_with_a_bias_trains_whole():
    """PEFT would leave its bias out of the logits."""
    model = make()
    head = model.get_output_embeddings()
    head.bias = torch.nn.Parameter(torch.randn(100))
    before = logits(model)
    wrapped = add_adapters(model, LoraConfig(r=2))
    torch.testing.assert_close(logits(wrapped), before)
    config = next(iter(wrapped.peft_config.values()))
    assert config.modules_to_save == ["base.lm_head"] and list(config.trainable_token_indices) == ["base.model.embed_tokens"]


def test_several_adapters(saved, tmp_path):
    """Load two, swap them while the model stays, mix them, take one away; each thinks as it did alone."""
    alone = {}
    for seed, name in enumerate(("first", "second")):
        model = stir(get_peft_model(LatentForCausalLM.from_pretrained(saved), deepcopy(PLAIN["lora"])), seed)
        model.save_pretrained(tmp_path / name)
        alone[name] = logits(model)
    base = LatentForCausalLM.from_pretrained(saved)
    plain = logits(base)
    model = PeftModel.from_pretrained(base, tmp_path / "first", adapter_name="first").eval()
    model.load_adapter(tmp_path / "second", adapter_name="second")
    for name in ("second", "first", "second"):
        model.set_adapter(name)
        torch.testing.assert_close(logits(model), alone[name])
    with model.disable_adapter():
        torch.testing.assert_close(logits(model), plain)
    model.add_weighted_adapter(["first", "second"], [1.0, 0.0], adapter_name="mixed", combination_type="linear")
    model.set_adapter("mixed")
    torch.testing.assert_close(logits(model), alone["first"], rtol=1e-4, atol=1e-4)
    model.set_adapter("first")
    model.delete_adapter("mixed")
    torch.testing.assert_close(logits(model), alone["first"])


def test_a_swap_in_place(saved, tmp_path):
    """PEFT's hot swap puts another adapter's weights where those of the first are."""
    from peft.utils.hotswap import hotswap_adapter

    expected = {}
    for seed, name in enumerate(("first", "second")):
        model = stir(get_peft_model(LatentForCausalLM.from_pretrained(saved), deepcopy(PLAIN["lora"])), seed)
        model.save_pretrained(tmp_path / name)
        expected[name] = logits(model)
    model = PeftModel.from_pretrained(LatentForCausalLM.from_pretrained(saved), tmp_path / "first").eval()
    hotswap_adapter(model, tmp_path / "second", adapter_name="default")
    torch.testing.assert_close(logits(model), expected["second"])


@pytest.mark.parametrize("head", [True, False], ids=["head rows", "embedding rows only"])
def test_adapters_learn_to_end_a_thought(tmp_path, head):
    """With an untied head the model writes ``<|eot|>`` itself; where its row stays the mean of all rows it never does."""
    tokenizer = make_tokenizer()
    settings = {"method": "coconut", "remaining_steps": "inside", "max_stage": 1, "max_steps": 30, "learning_rate": 3e-2}
    base = make_base("llama", vocab_size=len(tokenizer), dtype=torch.float32)
    config = LoraConfig(r=8) if head else LoraConfig(r=8, trainable_token_indices={"embed_tokens": [len(tokenizer)]})
    trainer = make_trainer(tmp_path, base=base, number=32, peft_config=config, **settings)
    trainer.train()
    trainer.save_model()
    model = latent_model(trainer.model).eval()
    rows = uneven_problems(32)
    prompts = [row.question for row in rows]
    batch = encode_prompts(prompts, trainer.processing_class, model.config.num_latents, model.config.template)
    written = model.generate(**batch, max_new_tokens=12)[:, batch["input_ids"].shape[1] :]
    assert (written == model.config.eot_token_id).any(1).float().mean() == head
