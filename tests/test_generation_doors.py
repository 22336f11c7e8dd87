"""The doors of stock generation: exact against a naive loop, or refused in one line."""

import pytest
import torch
from conftest import make_base, make_latent, sharpen
from reference import latent_columns, naive_embeds, naive_greedy, naive_logits
from transformers import AutoTokenizer, GenerationConfig

from latent_trainer import LatentForCausalLM
from latent_trainer.data.encoding import pad_rows
from latent_trainer.data.tokenizer import train_tokenizer
from latent_trainer.errors import InputError

PROMPTS = [[5, 6, 7, 98, 97, 97, 97, 99], [8, 98, 97, 99], [9, 10, 11, 12]]
NEW = 8


def make(architecture="gpt2", **options):
    return sharpen(make_latent(architecture, **options)).eval()


def written(model, prompts, **settings) -> list[list[int]]:
    """Return the new tokens of a left-padded batch, each row cut after its end-of-text token."""
    batch = pad_rows(prompts, 0, left=True)
    rows = model.generate(**batch, do_sample=False, max_new_tokens=NEW, **settings)[
        :, batch["input_ids"].shape[1] :
    ].tolist()
    return [row[: row.index(0) + 1] if 0 in row else row for row in rows]


@torch.no_grad()
def naive_guided(model, prompt, other, scale) -> list[int]:
    """Return the greedy continuation away from that of another prompt, everything computed anew for every token."""
    new = []
    while len(new) < NEW and 0 not in new:
        towards, away = (naive_logits(model.base, start + new)[-1].log_softmax(-1) for start in (prompt, other))
        scores = scale * (towards - away) + away
        scores[[97, 98]] = -torch.inf
        new.append(scores.argmax().item())
    return new


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_guidance(architecture, use_cache, exact_norms):
    model = make(architecture)
    settings = {"guidance_scale": 1.7, "use_cache": use_cache}
    expected = [naive_guided(model, prompt, prompt[-1:], 1.7) for prompt in PROMPTS]
    assert written(model, PROMPTS, **settings) == expected != written(model, PROMPTS)
    others = [[30, 98, 97, 97, 99], [31, 98, 97, 97, 99], [32, 98, 97, 97, 99]]
    expected = [naive_guided(model, prompt, other, 1.7) for prompt, other in zip(PROMPTS, others, strict=True)]
    assert written(model, PROMPTS, negative_prompt_ids=torch.tensor(others), **settings) == expected


@pytest.mark.parametrize("as_config", [False, True])
def test_guidance_away_from_a_latent_alone(as_config):
    model = make()
    ids = torch.tensor([[5, 98, 97, 97]])
    settings = {"guidance_scale": 1.5, "max_new_tokens": 2}
    settings = {"generation_config": GenerationConfig(**settings)} if as_config else settings
    with pytest.raises(InputError, match="guidance_scale starts its other text at the prompt's last token"):
        model.generate(ids, **settings)


@pytest.mark.filterwarnings("ignore:Passing `generation_config` together")
@pytest.mark.parametrize("main", ["latent", "base"])
@pytest.mark.parametrize("assistant", ["another latent model", "its base", "itself"])
def test_assisted_decoding(main, assistant, exact_norms):
    """Drafts change nothing in what is written, whoever thinks: the model, its assistant or both."""
    model, other = make("llama"), make("llama", seed=1)
    model = model if main == "latent" else model.base
    assistant = {"another latent model": other, "its base": other.base, "itself": model}[assistant]
    for prompt in PROMPTS:
        ids = torch.tensor([prompt])
        settings = {"do_sample": False, "max_new_tokens": NEW, "suppress_tokens": [97, 98]}
        expected = model.generate(ids, **settings)
        assert torch.equal(model.generate(ids, assistant_model=assistant, **settings), expected)
        if main == "latent":
            new = expected[0, len(prompt) :].tolist()
            assert new == naive_greedy(model.base, prompt, NEW)


@pytest.mark.parametrize(
    "settings", [{"prompt_lookup_num_tokens": 3}, {"prefill_chunk_size": 3}, {"cache_implementation": "static"}]
)
def test_other_ways_to_the_same_text(settings):
    model = make()
    for prompt in PROMPTS:
        assert written(model, [prompt], **settings) == [naive_greedy(model.base, prompt, NEW)]


def test_a_prompt_of_embeddings():
    """Its latents are in their places already."""
    model = make()
    embeds = naive_embeds(model.base, PROMPTS[0], latent_columns(PROMPTS[0]))
    settings = {"do_sample": False, "max_new_tokens": NEW}
    new = model.generate(inputs_embeds=embeds, attention_mask=torch.ones(1, 8), **settings)[0].tolist()
    assert new == naive_greedy(model.base, PROMPTS[0], NEW)
    with pytest.raises(InputError, match="inputs_embeds hold the embedding of"):
        model.generate(inputs_embeds=model.get_input_embeddings()(torch.tensor(PROMPTS[:1])), **settings)


def test_penalties_and_several_sequences():
    """They work on tokens alone, so a model that is given its latents as embeddings writes the same."""
    model = make()
    settings = {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2, "num_beams": 4, "num_return_sequences": 3}
    found = written(model, PROMPTS[:1], length_penalty=1.2, **settings)
    assert found == written(model, PROMPTS[:1], length_penalty=1.2, use_cache=False, **settings)
    assert len(found) == 3 and found != written(model, PROMPTS[:1], num_beams=4, num_return_sequences=3)


@pytest.mark.parametrize("num_beams", [1, 2])
def test_stop_strings(num_beams):
    """A tokenizer, which stop strings and ``transformers serve`` need, is for generation and never reaches the model."""
    tokenizer = train_tokenizer(["7 +3"], 260)
    model = sharpen(LatentForCausalLM.from_base(make_base("gpt2", vocab_size=len(tokenizer)), tokenizer=tokenizer)).eval()
    prompt = tokenizer("7 +3<|bot|><|latent|><|latent|><|eot|>", return_tensors="pt")
    settings = {"max_new_tokens": NEW, "do_sample": False, "num_beams": num_beams, "pad_token_id": 0}
    given = {"tokenizer": tokenizer, "assistant_tokenizer": tokenizer}
    expected = model.generate(**prompt, **settings)
    assert torch.equal(model.generate(**prompt, **settings, **given), expected)
    if num_beams == 1:
        new = expected[0, prompt["input_ids"].shape[1] :].tolist()
        stops = [tokenizer.decode(one) for one in new]
        place = next(place for place, stop in enumerate(stops) if stop.isascii() and place)
        found = model.generate(**prompt, **settings, **given, stop_strings=[stops[place]])
        assert found[0, prompt["input_ids"].shape[1] :].tolist() == new[: stops.index(stops[place]) + 1]


@pytest.mark.parametrize("door", ["generate_batch", "init_continuous_batching", "continuous_batching_context_manager"])
def test_continuous_batching(door):
    with pytest.raises(InputError, match="cannot compute a latent between two tokens") as refusal:
        getattr(make(), door)([[5, 6, 98, 97, 99]])
    assert "\n" not in str(refusal.value)


def test_drafts_by_the_first_layers():
    with pytest.raises(InputError, match="assistant_early_exit"):
        make().generate(torch.tensor([[5, 6]]), assistant_early_exit=1, max_new_tokens=2)


def test_export():
    with pytest.raises(InputError, match=r"torch\.export cannot trace a latent model"):
        torch.export.export(make(), (), {"input_ids": torch.tensor([[5, 6, 7]]), "use_cache": False}, strict=False)


@pytest.mark.parametrize("given", [True, False])
def test_prompts_padded_on_the_right(given):
    """A mask that is left out is made of the padding in the prompt."""
    model = make()
    model.generation_config.pad_token_id, model.generation_config.eos_token_id = 1, 0
    batch = {"input_ids": torch.tensor([[5, 98, 97, 99, 7], [6, 98, 97, 99, 1]])}
    if given:
        batch["attention_mask"] = torch.tensor([[1] * 5, [1] * 4 + [0]])
    with pytest.raises(InputError, match="a prompt ends in padding"):
        model.generate(**batch, max_new_tokens=2)


def test_a_saved_tokenizer_pads_on_the_left(tokenizer, problems, tmp_path):
    """A batch of uneven prompts writes what each writes alone, with the tokenizer as it is loaded."""
    base = sharpen(make_latent("gpt2", dtype=torch.float64)).base
    model = LatentForCausalLM.from_base(base, tokenizer=tokenizer).eval()
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again.padding_side == "left"
    texts = [f"{row['question']} <|bot|><|latent|><|eot|>" for row in problems.select(range(2))] + [
        "7 <|bot|><|latent|><|eot|>"
    ]
    batch = again(texts, return_tensors="pt", padding=True)
    assert batch["attention_mask"][:, 0].min() == 0
    rows = model.generate(**batch, do_sample=False, max_new_tokens=NEW, min_new_tokens=NEW)[:, -NEW:]
    for text, row in zip(texts, rows, strict=True):
        one = model.generate(**again(text, return_tensors="pt"), do_sample=False, max_new_tokens=NEW, min_new_tokens=NEW)
        assert torch.equal(one[0, -NEW:], row)
