"""Stock `generate()` and pipelines over prompts with latents, against a greedy loop without cache, padding or batch."""

import pytest
import torch
from conftest import make_base, make_latent, sharpen
from reference import assert_close, latent_columns, naive_greedy, naive_logits
from transformers import CompileConfig, LogitsProcessor, StoppingCriteria, pipeline
from transformers.generation.streamers import BaseStreamer

from latent_trainer import LatentForCausalLM, encode_prompts
from latent_trainer.data.encoding import pad_rows
from latent_trainer.rollout.cache import ThoughtLayer, read_thought

PROMPTS = [
    [5, 6, 7, 98, 97, 97, 97, 99],
    [8, 98, 97, 99],
    [9, 10, 11, 12],
    [13, 14, 98, 97, 97, 99, 15, 16],
]
LONG = [  # longer than the window of 16 tokens that Mistral and Gemma 2 have here, latents on both sides of it
    [*range(20, 40), 98, 97, 97, 97, 99],
    [8, 98, 97, 97, 99, *range(40, 58)],
    [98, 97, 99, 30, 31],
]
NEW = 8
FLOAT32 = 2e-5  # generate keeps logits and scores in float32


def make(architecture="gpt2", **options) -> LatentForCausalLM:
    return sharpen(make_latent(architecture, **options)).eval()


def make_windowed(architecture) -> LatentForCausalLM:
    """Return a model with a sliding window.

    Gemma 2 attends in float32 in any model, where a mask made for float64 is minus infinity and padding turns into NaN.
    """
    dtype = torch.float32 if architecture == "gemma2" else torch.float64
    base = sharpen(make_base(architecture, dtype=dtype, tie_word_embeddings=False))
    return LatentForCausalLM.from_base(base, latent_token_id=97, bot_token_id=98, eot_token_id=99).eval()


def written(model, prompts, **settings) -> list[list[int]]:
    """Return the new tokens of a left-padded batch, each row cut after its end-of-text token."""
    batch = pad_rows(prompts, 0, left=True)
    settings = {"do_sample": False, "max_new_tokens": NEW, **settings}
    rows = model.generate(**batch, **settings)[:, batch["input_ids"].shape[1] :].tolist()
    return [row[: row.index(0) + 1] if 0 in row else row for row in rows]


class Script(LogitsProcessor):
    """Write given tokens at given places, whatever the model prefers."""

    def __init__(self, prompt_width, tokens):
        self.prompt_width, self.tokens = prompt_width, tokens

    def __call__(self, input_ids, scores):
        token = self.tokens.get(input_ids.shape[1] - self.prompt_width)
        return scores if token is None else scores.index_fill(1, torch.tensor([token]), 1e4)


@pytest.mark.parametrize(
    "settings",
    [{}, {"cache_implementation": "static"}, {"use_cache": False}],
    ids=["dynamic", "static", "no cache"],
)
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_greedy_equals_the_naive_loop(architecture, settings):
    model = make(architecture)
    assert written(model, PROMPTS, **settings) == [naive_greedy(model.base, prompt, NEW) for prompt in PROMPTS]


@pytest.mark.parametrize("settings", [{}, {"cache_implementation": "static"}, {"use_cache": False}])
@pytest.mark.parametrize("architecture", ["mistral", "gemma2"])
def test_prompts_longer_than_a_sliding_window(architecture, settings):
    model = make_windowed(architecture)
    expected = [naive_greedy(model.base, prompt, NEW) for prompt in LONG]
    assert written(model, LONG, **settings) == expected
    unthought = [naive_greedy(model.base, prompt, NEW, columns=[]) for prompt in LONG]
    assert all(row != other for row, other in zip(expected, unthought, strict=True))


def test_a_static_cache_compiles_nothing():
    """The number of passes depends on the tokens, so a compiled forward would be compiled over and over."""
    graphs = []
    settings = CompileConfig(backend=lambda graph, inputs: graphs.append(graph) or graph, mode=None)
    settings._compile_all_devices = True  # as an accelerator would
    model = make()
    found = written(model, PROMPTS, cache_implementation="static", compile_config=settings)
    assert not graphs and found == [naive_greedy(model.base, prompt, NEW) for prompt in PROMPTS]


@pytest.mark.parametrize("feedback", ["projection", "soft", "learned"])
def test_greedy_with_every_feedback(feedback):
    model = make(feedback=feedback)
    columns = [] if feedback == "learned" else None
    expected = [naive_greedy(model.base, prompt, NEW, model._next_embedding, columns=columns) for prompt in PROMPTS]
    assert written(model, PROMPTS) == expected


def test_logits_of_every_step_equal_the_naive_loop():
    model = make("llama")
    batch = pad_rows(PROMPTS, 0, left=True)
    output = model.generate(
        **batch, do_sample=False, max_new_tokens=4, min_new_tokens=4, return_dict_in_generate=True, output_logits=True
    )
    for row, prompt in enumerate(PROMPTS):
        new = output.sequences[row, batch["input_ids"].shape[1] :].tolist()
        for step, logits in enumerate(output.logits):
            assert_close(logits[row].double(), naive_logits(model.base, prompt + new[:step])[-1], FLOAT32)


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_the_number_of_latents_changes_what_is_written(architecture):
    model = make(architecture)
    prompts = [[5, 6, 7, 98, *[97] * latents, 99] for latents in range(5)]
    assert len({tuple(row) for row in written(model, prompts)}) == 5


def test_sampling_is_reproducible():
    model = make()
    settings = {"do_sample": True, "temperature": 1.5, "num_return_sequences": 3, "max_new_tokens": 6}
    torch.manual_seed(3)
    first = written(model, PROMPTS, **settings)
    second = written(model, PROMPTS, **settings)
    torch.manual_seed(3)
    assert written(model, PROMPTS, **settings) == first != second
    assert len(first) == 3 * len(PROMPTS) and len({tuple(row) for row in first}) > len(PROMPTS)


def test_sampling_draws_from_the_naive_distribution():
    """With one token likely at each step, sampling at a low temperature is greedy decoding."""
    model = make()
    torch.manual_seed(0)
    found = written(model, PROMPTS, do_sample=True, temperature=1e-4, num_return_sequences=2)
    assert found == [row for prompt in PROMPTS for row in [naive_greedy(model.base, prompt, NEW)] * 2]


@torch.no_grad()
def naive_beams(model, prompt, steps, width) -> list[tuple[float, list[int]]]:
    """Return the ``width`` best continuations of ``steps`` tokens that a beam of that width finds, and their scores."""
    beams = [(0.0, [])]
    for _ in range(steps):
        candidates = []
        for score, beam in beams:
            log_probs = naive_logits(model.base, prompt + beam)[-1].log_softmax(-1)
            log_probs[[97, 98]] = -torch.inf
            candidates += [(score + value, [*beam, token]) for token, value in enumerate(log_probs.tolist())]
        beams = sorted(candidates, reverse=True)[:width]
    return beams


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_beams_equal_the_naive_search(architecture):
    model = make(architecture)
    output = model.generate(
        **pad_rows(PROMPTS, 0, left=True),
        **{"do_sample": False, "max_new_tokens": 4, "eos_token_id": None, "length_penalty": 0.0},
        **{"num_beams": 3, "num_return_sequences": 3, "return_dict_in_generate": True, "output_scores": True},
    )
    new = output.sequences[:, max(map(len, PROMPTS)) :].tolist()
    expected = [beam for prompt in PROMPTS for beam in naive_beams(model, prompt, 4, 3)]
    assert new == [tokens for _, tokens in expected]
    assert output.sequences_scores.tolist() == pytest.approx([score for score, _ in expected], abs=FLOAT32)


def test_beams_reorder_the_thought(monkeypatch):
    """Beams that differ in what was written before a latent each keep the thought that belongs to them."""
    model = make()
    prompt = [5, 6, 7, 98]
    settings = {"do_sample": False, "max_new_tokens": 6, "num_beams": 4, "num_return_sequences": 4, "length_penalty": 0.0}

    def beams():
        output = model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, 4, dtype=torch.long),
            suppress_tokens=[98],
            logits_processor=[Script(4, {2: 97, 4: 97})],  # a free token, a latent, a free token, a latent, a free token
            return_dict_in_generate=True,
            output_scores=True,
            output_logits=True,
            **settings,
        )
        return output

    output = beams()
    found = output.sequences[:, 4:].tolist()
    assert all(row[2] == row[4] == 97 for row in found) and len({row[1] for row in found}) > 1
    for row, beam in enumerate(found):
        ids, path = prompt + beam, output.beam_indices[row]
        for step, logits in enumerate(output.logits):
            if path[step] >= 0:
                assert_close(logits[path[step]].double(), naive_logits(model.base, ids[: 4 + step])[-1], FLOAT32)
    moved = [list(path[: len(found[0])]) for path in output.beam_indices.tolist()]
    assert any(path[step] != path[step + 1] for path in moved for step in range(len(path) - 1) if path[step + 1] >= 0)


def test_a_streamer_gets_every_token():
    class Collect(BaseStreamer):
        def __init__(self):
            self.tokens, self.ended = [], False

        def put(self, value):
            self.tokens += value.flatten().tolist()

        def end(self):
            self.ended = True

    model, streamer = make(), Collect()
    found = model.generate(**pad_rows(PROMPTS[:1], 0, left=True), do_sample=False, max_new_tokens=NEW, streamer=streamer)
    assert streamer.tokens == found[0].tolist() and streamer.ended


def test_stopping_criteria_see_every_token():
    model = make()
    expected = naive_greedy(model.base, PROMPTS[0], NEW)

    class StopAt(StoppingCriteria):
        def __call__(self, input_ids, scores, **kwargs):
            return input_ids[:, -1] == expected[2]

    found = written(model, PROMPTS[:1], stopping_criteria=[StopAt()])
    assert found == [expected[: expected.index(expected[2]) + 1]]


def test_candidates_from_the_prompt_change_nothing():
    """Speculative decoding takes rejected tokens back out of the cache."""
    model = make("llama")
    for prompt in PROMPTS:
        settings = {"prompt_lookup_num_tokens": 3, "max_new_tokens": 20}
        assert written(model, [prompt], **settings) == [naive_greedy(model.base, prompt, 20)]


@pytest.mark.parametrize("settings", [{}, {"prompt_lookup_num_tokens": 4}])
def test_taking_tokens_back_restores_the_thought(settings):
    """The prompt suggests an end of thought that the model does not write; the latents it writes after that are thoughts."""
    model = make()
    model.generation_config.suppress_tokens = None
    prompt = [98, 5, 6, 99, 7, 98, 97, 5, 6]
    script = {0: 8, 1: 97, 2: 97, 3: 5, 4: 6, 5: 97}
    (found,) = written(model, [prompt], logits_processor=[Script(len(prompt), script)], max_new_tokens=10, **settings)
    assert [found[step] for step in script] == list(script.values()) and 99 not in found
    assert latent_columns(prompt + found)[:4] == [6, 10, 11, 14]
    for step in sorted(set(range(10)) - script.keys()):
        logits = naive_logits(model.base, prompt + found[:step])[-1]
        assert found[step] == logits.argmax(), step


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}, {"do_sample": True, "temperature": 5.0}])
def test_thought_tokens_are_never_written(settings):
    """Even a model whose head prefers them; without suppression the same model writes them."""
    model = make("llama")
    head = model.get_output_embeddings().weight
    with torch.no_grad():
        head[97:99] *= 4

    def tokens():
        torch.manual_seed(0)
        return {token for row in written(model, PROMPTS, max_new_tokens=24, **settings) for token in row}

    assert not {97, 98} & tokens()
    model.generation_config.suppress_tokens = None
    assert {97, 98} & tokens()


@pytest.mark.parametrize("settings", [{}, {"cache_implementation": "static"}, {"use_cache": False}])
@pytest.mark.parametrize("architecture", ["gpt2", "llama", "mistral", "gemma2"])
def test_a_model_decides_how_long_it_thinks(architecture, settings):
    """Latents that the model writes itself are thoughts until it writes the end of thought, and ordinary tokens after it."""
    model = make_windowed(architecture) if architecture in ("mistral", "gemma2") else make(architecture)
    model.generation_config.suppress_tokens = None
    prompts = [[5, 6, 7, 98], [8, 9, 10, 11, 12, 13, 98, 97], [14, 98, 97, 99]]
    batch = pad_rows(prompts, 0, left=True)
    width = batch["input_ids"].shape[1]
    script = {0: 97, 1: 97, 3: 97, 4: 99, 6: 97, 8: 98, 9: 97}  # the rest is the model's own choice
    output = model.generate(
        **batch,
        do_sample=False,
        max_new_tokens=12,
        eos_token_id=None,
        logits_processor=[Script(width, script)],
        return_dict_in_generate=True,
        output_logits=True,
        **settings,
    )
    for row, prompt in enumerate(prompts):
        ids = prompt + output.sequences[row, width:].tolist()
        thoughts = [column - len(prompt) for column in latent_columns(ids) if column >= len(prompt)]
        assert thoughts == ([9] if row == 2 else [0, 1, 3, 9])
        for step, logits in enumerate(output.logits):
            assert_close(logits[row].double(), naive_logits(model.base, ids[: len(prompt) + step])[-1].double(), FLOAT32)


def test_written_latents_equal_given_ones():
    model = make()
    model.generation_config.suppress_tokens = None
    settings = {"logits_processor": [Script(4, {0: 97, 1: 97, 2: 97, 3: 99})], "max_new_tokens": 4 + NEW}
    (thought,) = written(model, [[5, 6, 7, 98]], **settings)
    assert thought[:4] == [97, 97, 97, 99]
    assert thought[4:] == naive_greedy(model.base, PROMPTS[0], NEW, never=())


def test_the_thought_follows_the_rows_and_columns_of_the_cache():
    model = make()
    batch = pad_rows(PROMPTS, 0, left=True)
    with torch.no_grad():
        output = model(**batch, use_cache=True, output_hidden_states=True)
    cache, hidden = output.past_key_values, output.hidden_states[-1][:, -1]
    assert isinstance(cache.layers[-1], ThoughtLayer)
    thought, closed = read_thought(cache)
    assert_close(thought, hidden)
    assert closed.tolist() == [True, True, False, True]
    cache.reorder_cache(torch.tensor([2, 0, 0, 3]))
    thought, closed = read_thought(cache)
    assert_close(thought, hidden[[2, 0, 0, 3]])
    assert closed.tolist() == [False, True, True, True]
    cache.batch_select_indices(torch.tensor([0, 3]))
    cache.batch_repeat_interleave(2)
    thought, closed = read_thought(cache)
    assert_close(thought, hidden[[2, 2, 3, 3]])
    assert closed.tolist() == [False, False, True, True]
    cache.crop(-3)
    thought, closed = read_thought(cache)
    assert_close(thought, output.hidden_states[-1][[2, 2, 3, 3], -4])
    assert not closed.any() and cache.get_seq_length() == batch["input_ids"].shape[1] - 3
    cache.reset()
    assert read_thought(cache) == (None, None)


def test_pipeline(tokenizer, problems):
    """A text-generation pipeline over text that holds the thought tokens writes what `generate` writes."""
    base = make_base("llama", vocab_size=len(tokenizer), dtype=torch.float64)
    model = sharpen(LatentForCausalLM.from_base(base, tokenizer=tokenizer)).eval()
    questions = [problems[0]["question"], "1 + " + problems[1]["question"]]
    texts = [f"{question}\n<|bot|><|latent|><|latent|><|eot|>" for question in questions]
    batch = encode_prompts(questions, tokenizer, num_latents=2)
    assert [tokenizer(text).input_ids for text in texts] == [
        ids[mask.bool()].tolist() for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    ]
    tokenizer.pad_token, tokenizer.padding_side = tokenizer.eos_token, "left"
    generate = pipeline("text-generation", model=model, tokenizer=tokenizer, return_full_text=False)
    settings = {"max_new_tokens": 6, "do_sample": False}
    found = [result[0]["generated_text"] for result in generate(texts, batch_size=2, **settings)]
    ids = {"latent": model.config.latent_token_id, "bot": model.config.bot_token_id, "eot": model.config.eot_token_id}
    for text, (row, question) in zip(found, enumerate(questions), strict=True):
        prompt = batch["input_ids"][row][batch["attention_mask"][row].bool()].tolist()
        columns = latent_columns(prompt, **ids)
        assert len(columns) == 2
        expected = naive_greedy(model.base, prompt, 6, never=(ids["latent"], ids["bot"]), columns=columns)
        assert text.split() == tokenizer.decode(expected, skip_special_tokens=True).split(), question
    assert found[0] != found[1]
