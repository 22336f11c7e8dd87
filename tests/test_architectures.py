"""What holds for every architecture: logits, training, saving, adapters and new tokens."""

import pytest
import torch
from conftest import ARCHITECTURES, make_base, make_latent, sharpen
from peft import LoraConfig, PeftModel
from reference import assert_close, naive_loss, taught_by_labels
from transformers import AutoConfig, AutoModelForCausalLM

from latent_trainer import LatentConfig, LatentForCausalLM, encode_prompts
from latent_trainer.data.encoding import pad_rows
from latent_trainer.data.template import Template
from latent_trainer.methods.feedback import FEEDBACKS
from latent_trainer.model.adapters import add_adapters, latent_model

ROWS = [[5, 6, 98, 97, 97, 99, 7, 8], [9, 98, 97, 99, 10]]
LABELS = [[-100] * 6 + [7, 8], [-100] * 4 + [10]]
THOUGHT_TOKENS = {97, 98, 99}


def train(model, steps=2):
    """Take a few optimizer steps."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01, weight_decay=0.0)
    labels = pad_rows(LABELS, -100, left=False)["input_ids"]
    for _ in range(steps):
        optimizer.zero_grad()
        model(**pad_rows(ROWS, 0, left=False), labels=labels).loss.backward()
        optimizer.step()


def logits(model):
    return model.eval()(**pad_rows(ROWS, 0, left=False)).logits


def snapshot(model):
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def assert_identical(found, expected):
    assert found.keys() == expected.keys() and expected
    for name, value in expected.items():
        assert found[name].dtype == value.dtype and torch.equal(found[name], value), name


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_loss_equals_full_recomputation(architecture):
    """Right-padded, so that no column of padding attends to nothing."""
    model = sharpen(make_latent(architecture)).train()
    loss = model(**pad_rows(ROWS, 0, left=False), labels=pad_rows(LABELS, -100, left=False)["input_ids"]).loss
    assert loss.isfinite()
    tolerance = 1e-5 if architecture == "gemma2" else 1e-10  # Gemma 2 attends in float32
    assert_close(loss, naive_loss(model.base, ROWS, LABELS) / 3, tolerance)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_rows_without_latents_have_the_base_models_logits(architecture):
    """Weights a hundred times larger make the logits large enough for Gemma 2's cap to show."""
    model = sharpen(sharpen(make_latent(architecture))).eval()
    row = torch.tensor([[5, 6, 7, 8, 9, 10]])
    expected = model.base(input_ids=row).logits
    assert_close(model(input_ids=row).logits, expected)
    assert_close(model(input_ids=row, logits_to_keep=2).logits, expected[:, -2:])
    assert_close(model(input_ids=row, logits_to_keep=torch.tensor([1, 3])).logits, expected[:, [1, 3]])
    embeds = model.get_input_embeddings()(row)
    assert_close(model(inputs_embeds=embeds).logits, expected)
    uncapped = model.get_output_embeddings()(model.base.base_model(input_ids=row).last_hidden_state)
    assert torch.allclose(uncapped, expected) == (architecture != "gemma2")


@pytest.mark.parametrize(
    ("architecture", "changes"), [("granite", {"logits_scaling": 4.0}), ("cohere", {"logit_scale": 0.25})]
)
def test_scalings_around_the_head(architecture, changes):
    settings = {
        **ARCHITECTURES["llama"],
        "vocab_size": 100,
        "pad_token_id": 0,
        "bos_token_id": 0,
        "eos_token_id": 0,
        **changes,
    }
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **settings)).double()
    model = LatentForCausalLM.from_base(base, latent_token_id=97, bot_token_id=98, eot_token_id=99).eval()
    row = torch.tensor([[5, 6, 7, 8]])
    hidden = base.base_model(input_ids=row).last_hidden_state
    assert_close(model(input_ids=row).logits, base(input_ids=row).logits)
    assert_close(model(input_ids=row).logits, base.get_output_embeddings()(hidden) / 4)


@pytest.mark.parametrize("feedback", FEEDBACKS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_exactly_the_trainable_parameters_move(architecture, feedback):
    model = make_latent(architecture, feedback=feedback).train()
    frozen = {name for name, _ in model.named_parameters() if "layers.0." in name or "h.0." in name}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in frozen)
    before = snapshot(model)
    train(model)
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert frozen and moved == {name for name, _ in model.named_parameters() if taught_by_labels(name)} - frozen


@pytest.mark.parametrize("loader", [LatentForCausalLM, AutoModelForCausalLM])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_save_and_load(architecture, loader, tmp_path):
    """A trained model comes back with every tensor, its settings and its generation settings."""
    options = {"feedback": "projection", "feedback_options": {"size": 16}, "backprop": "last"}
    # Gemma rounds a factor of its embeddings to the precision it is built in, float32 in `make_base`
    dtype = torch.float32 if architecture.startswith("gemma") else torch.float64
    model = make_latent(architecture, dtype=dtype, **options).train()
    train(model)
    model.config.template = Template(question="{question} ").to_dict()
    model.config.num_latents = 3
    model.generation_config.repetition_penalty = 1.5
    model.save_pretrained(tmp_path)
    loaded = loader.from_pretrained(tmp_path)
    assert type(loaded) is LatentForCausalLM and not loaded.training
    assert_identical(snapshot(loaded), snapshot(model))
    assert torch.equal(logits(loaded), logits(model))
    assert loaded.generation_config.to_dict() == model.generation_config.to_dict()
    assert loaded.generation_config.suppress_tokens == [97, 98] and loaded.generation_config.repetition_penalty == 1.5
    config = loaded.config
    assert (config.feedback, config.feedback_options, config.backprop) == ("projection", {"size": 16}, "last")
    assert (config.latent_token_id, config.bot_token_id, config.eot_token_id, config.num_latents) == (97, 98, 99, 3)
    assert Template(**config.template) == Template(question="{question} ")
    assert {**config.base_config.to_dict(), "dtype": None} == {**model.base.config.to_dict(), "dtype": None}
    assert AutoConfig.from_pretrained(tmp_path).hidden_size == 32
    assert loaded.base.config._attn_implementation == model.base.config._attn_implementation
    assert loaded.config._attn_implementation == loaded.base.config._attn_implementation
    tied = model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert (loaded.get_input_embeddings().weight is loaded.get_output_embeddings().weight) == tied


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_attention_can_be_chosen(attention, tmp_path):
    model = make_latent("llama")
    model.save_pretrained(tmp_path)
    loaded = LatentForCausalLM.from_pretrained(tmp_path, attn_implementation=attention)
    assert loaded.config._attn_implementation == loaded.base.config._attn_implementation == attention
    assert loaded.base.model.layers[0].self_attn.config._attn_implementation == attention
    base = AutoModelForCausalLM.from_config(model.base.config, attn_implementation=attention).double()
    wrapped = LatentForCausalLM.from_base(base, latent_token_id=97, bot_token_id=98, eot_token_id=99)
    assert wrapped.config._attn_implementation == wrapped.base.config._attn_implementation == attention


def has_weights(feedback: str) -> bool:
    return any(True for _ in FEEDBACKS[feedback](32).parameters())


@pytest.mark.parametrize("feedback", FEEDBACKS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_adapters(architecture, feedback, tmp_path):
    """Adapters, the thought tokens' rows and the feedback move; saved, they turn a fresh base into the same model."""

    def fresh():
        return make_latent(architecture, feedback=feedback)

    model = add_adapters(fresh(), LoraConfig(r=4, lora_alpha=8))
    before = snapshot(model)
    train(model.train())
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    expected = {name for name, parameter in model.named_parameters() if parameter.requires_grad and taught_by_labels(name)}
    kinds = {"lora_", "trainable_tokens_delta"} | ({"feedback.modules_to_save"} if has_weights(feedback) else set())
    assert {kind for kind in kinds if any(kind in name for name in expected)} == kinds
    assert all(any(kind in name for kind in kinds) for name in expected)
    assert moved >= expected and {name for name in moved if "base_layer" in name or "original" in name} == set()
    inner, untouched = latent_model(model), fresh()
    embedding = inner.get_input_embeddings()
    ids = torch.arange(100)
    changed = (embedding(ids) != untouched.get_input_embeddings()(ids)).any(1).nonzero().flatten().tolist()
    seen = THOUGHT_TOKENS - ({97} if FEEDBACKS[feedback].sequential else set())
    tied = untouched.get_input_embeddings().weight is untouched.get_output_embeddings().weight
    assert set(changed) == (THOUGHT_TOKENS if tied else seen)
    expected_logits = logits(model)
    assert not torch.allclose(expected_logits, logits(untouched))
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(untouched, str(tmp_path))
    assert_close(logits(loaded), expected_logits, 1e-12)
    prompt = {name: value[:, :6] for name, value in pad_rows(ROWS[:1], 0, left=True).items()}
    settings = {"do_sample": False, "max_new_tokens": 4}
    assert torch.equal(loaded.generate(**prompt, **settings), model.generate(**prompt, **settings))


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gemma"])
@pytest.mark.parametrize("padded", [0, 1, 3, 40])
def test_new_tokens_start_at_the_mean(architecture, padded, tokenizer):
    """The embedding grows only where it must: rows beyond the tokenizer's vocabulary are used up first."""
    known = len(tokenizer)
    base = make_base(architecture, vocab_size=known + padded)
    rows = base.get_input_embeddings().weight.detach().clone()
    head = base.get_output_embeddings().weight.detach().clone()
    model = LatentForCausalLM.from_base(base, tokenizer=tokenizer)
    ids = [model.config.latent_token_id, model.config.bot_token_id, model.config.eot_token_id]
    assert sorted(ids) == [known, known + 1, known + 2] and len(tokenizer) == known + 3
    assert tokenizer.convert_tokens_to_ids(["<|latent|>", "<|bot|>", "<|eot|>"]) == ids
    size = max(known + 3, known + padded)
    for table, old in ((model.get_input_embeddings().weight, rows), (model.get_output_embeddings().weight, head)):
        assert table.shape[0] == size == model.config.vocab_size
        assert torch.equal(table[:known], old[:known]) and torch.equal(table[known + 3 :], old[known + 3 :])
        assert_close(table[known : known + 3].double(), old[:known].mean(0).expand(3, -1), 1e-7)
    assert model.generation_config.suppress_tokens == sorted(ids[:2])
    question = "1 + 1"
    batch = encode_prompts([question], tokenizer, num_latents=2)
    assert batch["input_ids"][0, -4:].tolist() == [ids[1], ids[0], ids[0], ids[2]]
    assert model(**batch).logits.isfinite().all()


def test_known_tokens_change_nothing(tokenizer):
    """A second model over the same tokenizer finds the tokens in place, and the same base gets the same rows."""
    known = len(tokenizer)
    first = LatentForCausalLM.from_base(make_base(vocab_size=known), tokenizer=tokenizer)
    base = make_base(vocab_size=known + 3)
    before = snapshot(base)
    second = LatentForCausalLM.from_base(base, tokenizer=tokenizer)
    assert len(tokenizer) == known + 3
    assert_identical(snapshot(second.base), before)
    assert first.config.latent_token_id == second.config.latent_token_id


def test_existing_tokens_as_markers(tokenizer):
    tokenizer.add_tokens(["<think>", "</think>"], special_tokens=True)
    known = len(tokenizer)
    base = make_base("llama", vocab_size=known)
    before = base.get_input_embeddings().weight.detach().clone()
    model = LatentForCausalLM.from_base(base, tokenizer=tokenizer, bot_token="<think>", eot_token="</think>")
    config = model.config
    assert [config.bot_token_id, config.eot_token_id, config.latent_token_id] == [known - 2, known - 1, known]
    assert "<|bot|>" not in tokenizer.get_vocab() and config.vocab_size == known + 1
    assert torch.equal(model.get_input_embeddings().weight[:known], before)
    ids = tokenizer("1 <think><|latent|><|latent|></think> 2", return_tensors="pt").input_ids
    assert ids[0, 1:5].tolist() == [known - 2, known, known, known - 1]
    hidden = model.run(ids, None)
    assert_close(hidden.latents[0, 2:4], hidden.hidden[0, 1:3])


def test_from_base_by_name_equals_from_base_by_model(tmp_path, tokenizer):
    base = make_base("llama", vocab_size=len(tokenizer))
    base.generation_config.max_new_tokens = 7
    base.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    by_name = LatentForCausalLM.from_base(str(tmp_path), tokenizer=tokenizer, dtype=torch.float64)
    by_model = LatentForCausalLM.from_base(AutoModelForCausalLM.from_pretrained(tmp_path), tokenizer=tokenizer)
    assert by_name.config.base_name_or_path == str(tmp_path)
    assert by_name.generation_config.max_new_tokens == 7
    names = {name for name, _ in by_name.named_parameters()}
    rows = {name for name in names if "embed_tokens" in name or "lm_head" in name}
    one, other = snapshot(by_name), snapshot(by_model)
    assert_identical({name: one[name] for name in names - rows}, {name: other[name] for name in names - rows})


def test_weights_of_the_base_are_taken_over_bit_for_bit():
    """Those of a layer that was put in by hand included, which no loader has marked as initialised."""
    base = make_base("llama")
    base.model.layers[0].mlp.gate_proj = torch.nn.Linear(32, 64, bias=False, dtype=torch.float64)
    before = snapshot(base)
    model = LatentForCausalLM.from_base(base, latent_token_id=97, bot_token_id=98, eot_token_id=99, feedback="projection")
    assert_identical(snapshot(model.base), before)
    assert {p.dtype for p in model.parameters()} == {torch.float64} and model.dtype == torch.float64


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latent_token_id": None}, "either a tokenizer or all of"),
        ({"eot_token_id": 100}, "eot_token_id=100 is outside the vocabulary of 100 rows"),
        ({"latent_token_id": -1}, "latent_token_id=-1 is outside"),
        ({"feedback": "hiden"}, "did you mean 'hidden'"),
        ({"rollout": "parallel"}, "rollout='parallel' is not one of"),
        ({"backprop": -1}, "backprop=-1 is negative"),
        ({"backprop": "all"}, "backprop='all' is not one of full, last, none"),
    ],
)
def test_settings_that_cannot_work(changes, message):
    settings = {"latent_token_id": 97, "bot_token_id": 98, "eot_token_id": 99, **changes}
    with pytest.raises(ValueError, match=message):
        LatentForCausalLM.from_base(make_base(), **settings)


def test_a_latent_model_is_no_base():
    with pytest.raises(ValueError, match=r"model\.base"):
        LatentForCausalLM.from_base(make_latent(), latent_token_id=97, bot_token_id=98, eot_token_id=99)


def test_configuration_speaks_for_its_base():
    config = make_latent("gemma2").config
    assert (config.hidden_size, config.vocab_size, config.num_hidden_layers) == (32, 100, 2)
    assert config.max_position_embeddings == 128 and config.get_text_config().sliding_window == 16
    again = LatentConfig.from_dict(config.to_dict())
    assert again.to_dict() == config.to_dict()
    with pytest.raises(ValueError, match="negative"):
        LatentConfig(backprop=-2)
