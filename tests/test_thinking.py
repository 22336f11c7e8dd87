"""Thoughts whose length is decided while they grow, through stock `generate()`; soft latents without training."""

import functools

import pytest
import torch
from conftest import make_base, make_latent, sharpen
from reference import assert_close, gradients, latent_columns, naive_greedy, naive_logits, naive_loss
from test_generation import Script
from training import make_tokenizer

from latent_trainer import LatentForCausalLM, encode_prompts
from latent_trainer.cli import main
from latent_trainer.data import resolve_template
from latent_trainer.data.encoding import pad_rows
from latent_trainer.data.thought_tokens import add_thought_tokens
from latent_trainer.errors import InputError
from latent_trainer.model.thinking import ThinkingProcessor

PROMPTS = [[5, 6, 7, 98], [8, 98], [9, 10, 11, 12, 13, 98], [14, 15, 98, 16]]  # in the last, a token stands after <|bot|>
NEW = 6
MOST = 5


def make(architecture="gpt2", feedback="soft", **options) -> LatentForCausalLM:
    return sharpen(make_latent(architecture, feedback=feedback, **options)).eval()


def think(model, prompts, num_latents=MOST, threshold=None, patience=1, before=(), **settings) -> list[list[int]]:
    """Return what is written after the prompts of a left-padded batch: thought and text, cut after the end of text."""
    thought = ThinkingProcessor(model.config, num_latents, threshold, patience)
    return written(model, prompts, num_latents + 1 + NEW, logits_processor=[*before, thought], **settings)


def written(model, prompts, new_tokens, **settings) -> list[list[int]]:
    batch = pad_rows(prompts, 0, left=True)
    settings = {"do_sample": False, "max_new_tokens": new_tokens, **settings}
    rows = model.generate(**batch, **settings)[:, batch["input_ids"].shape[1] :].tolist()
    return [row[: row.index(0) + 1] if 0 in row else row for row in rows]


def split(row: list[int]) -> tuple[int, list[int]]:
    """Return the latents of a thought and the first tokens after it."""
    end = row.index(99)
    assert row[:end] == [97] * end
    return end, row[end + 1 : end + 1 + NEW]


@torch.no_grad()
def naive_entropies(model, prompt, latents) -> list[float]:
    """Return the entropy of the next token before each latent of a thought and at its end."""
    entropies = []
    for number in range(latents + 1):
        logits = naive_logits(model.base, prompt + [97] * number, model._next_embedding)[-1]
        logits[[97, 98]] = -torch.inf
        entropies.append(torch.distributions.Categorical(logits=logits).entropy().item())
    return entropies


def naive_length(entropies, threshold, patience) -> int:
    """Return after how many latents a row is sure for the first time, ``patience`` entropies in a row."""
    below = [entropy < threshold for entropy in entropies]
    ends = (end for end in range(patience - 1, len(below)) if all(below[end - patience + 1 : end + 1]))
    return next(ends, len(entropies) - 1)


# ---- as long as it may be ----


@pytest.mark.parametrize("settings", [{}, {"cache_implementation": "static"}, {"use_cache": False}], ids=str)
@pytest.mark.parametrize("feedback", ["hidden", "projection", "soft"])
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_equals_the_prompt_with_as_many_latents(architecture, feedback, settings):
    model = make(architecture, feedback)
    found = think(model, PROMPTS, **settings)
    given = written(model, [[*prompt, *[97] * MOST, 99] for prompt in PROMPTS], NEW)
    assert [split(row) for row in found] == [(MOST, row) for row in given]
    assert len({tuple(row) for row in given}) > 1


def test_equals_the_naive_loop():
    model = make()
    expected = [naive_greedy(model.base, [*prompt, *[97] * MOST, 99], NEW, model._next_embedding) for prompt in PROMPTS]
    assert [split(row)[1] for row in think(model, PROMPTS)] == expected


@pytest.mark.parametrize("latents", [0, 1, 3])
def test_the_number_of_latents(latents):
    model = make()
    assert {split(row)[0] for row in think(model, PROMPTS, latents)} == {latents}


def test_rows_that_do_not_think_are_left_alone():
    """A prompt without a thought, one whose thought is closed and one that has begun its thought, in one batch."""
    model = make()
    prompts = [[5, 6, 7], [5, 6, 98, 97, 97, 99], [5, 6, 98, 97, 97], PROMPTS[0]]
    plain, closed, begun, fresh = think(model, prompts)
    assert plain[:NEW] == naive_greedy(model.base, prompts[0], NEW, model._next_embedding)
    assert closed[:NEW] == naive_greedy(model.base, prompts[1], NEW, model._next_embedding)
    assert split(begun)[0] == MOST - 2 and split(fresh)[0] == MOST


def test_the_thought_is_all_that_changes():
    """Without the processor the model never writes a latent."""
    model = make()
    assert not any(97 in row for row in written(model, PROMPTS, MOST + NEW))


# ---- when the model is sure ----


@pytest.mark.parametrize(("architecture", "patience"), [("gpt2", 1), ("gpt2", 3), ("llama", 2)])
def test_entropy_ends_a_thought_row_by_row(architecture, patience):
    """Every row of a batch stops where it would stop alone, and then writes what a prompt of that length would."""
    model = make(architecture)
    entropies = [naive_entropies(model, prompt, MOST) for prompt in PROMPTS]
    levels = sorted(entropy for row in entropies for entropy in row)
    lengths_seen = set()
    for place in (len(levels) // 3, 2 * len(levels) // 3, len(levels) - 2):
        threshold = (levels[place] + levels[place + 1]) / 2
        lengths = [naive_length(row, threshold, patience) for row in entropies]
        found = think(model, PROMPTS, threshold=threshold, patience=patience)
        assert [split(row)[0] for row in found] == lengths
        given = [[*prompt, *[97] * length, 99] for prompt, length in zip(PROMPTS, lengths, strict=True)]
        assert [split(row)[1] for row in found] == written(model, given, NEW)
        alone = [think(model, [prompt], threshold=threshold, patience=patience)[0] for prompt in PROMPTS]
        assert [split(row) for row in alone] == [split(row) for row in found]
        lengths_seen.add(tuple(lengths))
    assert any(len(set(lengths)) > 1 for lengths in lengths_seen), "no batch was ragged"


def test_patience():
    """Always sure: a thought ends after as many latents as patience asks for, less the one counted before the first."""
    model = make()
    for patience in (1, 2, 4):
        found = think(model, PROMPTS, threshold=100.0, patience=patience)
        assert {split(row)[0] for row in found} == {patience - 1}


@pytest.mark.parametrize("threshold", [None, 0.0])
def test_no_entropy_is_low_enough(threshold):
    model = make()
    assert {split(row)[0] for row in think(model, PROMPTS, threshold=threshold)} == {MOST}


def test_a_processor_can_be_used_again():
    """What it has counted belongs to a thought, not to the next call."""
    model = make()
    thought = ThinkingProcessor(model.config, MOST, entropy_threshold=100.0, patience=4)
    first, second = (written(model, PROMPTS, MOST + 1 + NEW, logits_processor=[thought]) for _ in range(2))
    assert first == second and {split(row)[0] for row in first} == {3}
    assert split(written(model, PROMPTS[:1], MOST + 1 + NEW, logits_processor=[thought])[0]) == split(first[0])


def test_ends_where_the_model_would_end_it():
    """The end of thought is the likeliest token after two latents."""
    model = make()
    width = max(map(len, PROMPTS))
    found = think(model, PROMPTS, before=[Script(width, {2: 99})])
    for prompt, row in zip(PROMPTS, found, strict=True):
        assert split(row) == (2, naive_greedy(model.base, [*prompt, 97, 97, 99], NEW, model._next_embedding))


def test_ends_where_the_model_itself_prefers_it():
    """As above, from the model's own head: its row for the end of thought points along a state of the thought."""
    model = make("llama")
    prompt = PROMPTS[0]
    with torch.no_grad():
        ids = torch.tensor([prompt + [97] * 3])
        state = model.run(ids, torch.ones_like(ids)).hidden[0, -1]
        model.get_output_embeddings().weight[99] = 100 * state / state.norm()
    length = next(
        number
        for number in range(MOST)
        if naive_logits(model.base, prompt + [97] * number, model._next_embedding)[-1].argmax() == 99
    )
    assert split(think(model, [prompt])[0])[0] == length < MOST


# ---- sampling and beams ----


def test_sampling():
    """The thought is never drawn; at a low temperature the text is the greedy one."""
    model = make()
    greedy = [split(row) for row in think(model, PROMPTS)]
    torch.manual_seed(0)
    cold = think(model, PROMPTS, do_sample=True, temperature=1e-4, num_return_sequences=2)
    assert [split(row) for row in cold] == [row for row in greedy for _ in range(2)]
    hot = think(model, PROMPTS, do_sample=True, temperature=3.0, top_k=20, top_p=0.9, num_return_sequences=4)
    assert {split(row)[0] for row in hot} == {MOST} and len({tuple(row) for row in hot}) > len(PROMPTS)


def test_sampling_does_not_move_the_end_of_a_thought():
    """Entropy is that of the model, before temperature and truncation."""
    model = make()
    entropies = [naive_entropies(model, prompt, MOST) for prompt in PROMPTS]
    threshold = sum(map(sum, entropies)) / (len(PROMPTS) * (MOST + 1))
    lengths = [naive_length(row, threshold, 1) for row in entropies]
    found = think(model, PROMPTS, threshold=threshold, do_sample=True, temperature=4.0, top_k=3)
    assert [split(row)[0] for row in found] == lengths and len(set(lengths)) > 1


@pytest.mark.parametrize("feedback", ["hidden", "soft"])
def test_beams(feedback):
    """All beams of a prompt share its thought and part after it, as they do after a prompt that holds the latents."""
    model = make(feedback=feedback)
    settings = {"num_beams": 3, "num_return_sequences": 3, "length_penalty": 0.0, "eos_token_id": None}
    found = think(model, PROMPTS, **settings)
    given = written(model, [[*prompt, *[97] * MOST, 99] for prompt in PROMPTS], NEW, **settings)
    assert [split(row) for row in found] == [(MOST, row) for row in given]
    assert len({tuple(row) for row in given}) > len(PROMPTS)


def test_beams_of_ragged_thoughts():
    """Rows that end their thoughts at different columns, each as when it is alone."""
    model = make()
    entropies = [naive_entropies(model, prompt, MOST) for prompt in PROMPTS]
    threshold = sum(map(sum, entropies)) / (len(PROMPTS) * (MOST + 1))
    lengths = [naive_length(row, threshold, 1) for row in entropies]
    settings = {"num_beams": 3, "num_return_sequences": 3, "length_penalty": 0.0, "eos_token_id": None}
    found = think(model, PROMPTS, threshold=threshold, **settings)
    assert [split(row)[0] for row in found] == [length for length in lengths for _ in range(3)] and len(set(lengths)) > 1
    for index, prompt in enumerate(PROMPTS):
        assert found[3 * index : 3 * index + 3] == think(model, [prompt], threshold=threshold, **settings)


# ---- soft latents ----

SOFT = [{}, {"temperature": 0.5}, {"temperature": 2.0, "top_k": 4}, {"top_k": 1}]


def naive_soft(base, hidden, temperature=1.0, top_k=100):
    """Return the mean embedding of the likeliest tokens, one row at a time; two tokens are never written."""
    latents = []
    for state in hidden:
        scores = base.get_output_embeddings()(state).tolist()
        order = sorted((token for token in range(100) if token not in (97, 98)), key=lambda token: -scores[token])[:top_k]
        scores = base.get_output_embeddings()(state)[order] / temperature
        weights = torch.exp(scores - scores.max())
        rows = base.get_input_embeddings().weight[order]
        latents.append((weights[:, None] * rows).sum(0) / weights.sum())
    return torch.stack(latents)


@pytest.mark.parametrize("options", SOFT, ids=str)
def test_soft_thinking_without_training(options):
    """A plain base model, wrapped and asked: the text is that of the formula, and options change it."""
    base = sharpen(make_base("llama"))
    ids = {"latent_token_id": 97, "bot_token_id": 98, "eot_token_id": 99}
    model = LatentForCausalLM.from_base(base, **ids, feedback="soft", feedback_options=options).eval()
    feedback = functools.partial(naive_soft, base, **options)
    found = think(model, PROMPTS)
    for prompt, row in zip(PROMPTS, found, strict=True):
        assert split(row) == (MOST, naive_greedy(base, [*prompt, *[97] * MOST, 99], NEW, feedback))


def test_soft_options_change_the_text():
    texts = {str(think(make("llama", feedback_options=options), PROMPTS)) for options in SOFT}
    assert len(texts) == len(SOFT)


@pytest.mark.parametrize("options", SOFT[:3], ids=str)
def test_soft_latents_are_trainable(options):
    """Loss and gradients are those of the formula, through head and embeddings of every latent."""
    model = make(feedback_options=options).train()
    rows = [[*PROMPTS[0], 97, 97, 97, 99, 20, 21], [*PROMPTS[1], 97, 99, 22, 23]]
    labels = [[-100] * (len(row) - 2) + row[-2:] for row in rows]
    batch, label = pad_rows(rows, 0, left=False), pad_rows(labels, -100, left=False)["input_ids"]
    ours = model(**batch, labels=label, num_items_in_batch=1).loss
    naive = naive_loss(model.base, rows, labels, functools.partial(naive_soft, model.base, **options))
    assert_close(ours, naive)
    found = gradients(model, ours)
    assert_close(found, gradients(model, naive))
    constant = naive_loss(model.base, rows, labels, functools.partial(naive_soft, model.base, **options), "none")
    assert (gradients(model, constant)["base.transformer.wte.weight"] - found["base.transformer.wte.weight"]).norm() > 1e-6


# ---- prompts and settings ----


def with_tokens(bot="<|bot|>", eot="<|eot|>"):
    tokenizer = make_tokenizer()
    add_thought_tokens(tokenizer, bot, eot)
    return tokenizer


def test_open_prompts():
    """They end at the begin of thought; a template that opens the thought itself is left as it is."""
    tokenizer = with_tokens()
    batch = encode_prompts(["1 2", "3"], tokenizer, None, "plain")
    ends = [tokenizer.decode(row) for row in batch["input_ids"][:, -2:]]
    assert [end.split()[-1] for end in ends] == ["<|bot|>"] * 2
    mixed = encode_prompts(["1 2", "3"], tokenizer, [None, 2], "plain")
    assert (mixed["input_ids"] == tokenizer.convert_tokens_to_ids("<|latent|>")).sum(1).tolist() == [0, 2]
    tokenizer = with_tokens("<think>", "</think>")
    template = {"question": "{question} <think> ", "markers": False, "bot": "<think>", "eot": "</think>"}
    batch = encode_prompts(["1 2"], tokenizer, None, template)
    assert tokenizer.decode(batch["input_ids"][0]).split() == ["1", "2", "<think>"]


def test_open_prompts_need_the_thought_tokens():
    with pytest.raises(InputError, match=r"markers=False.*give the number of latents"):
        encode_prompts(["1"], with_tokens(), None, {"markers": False})


@pytest.mark.parametrize(("latents", "patience"), [(-1, 1), (3, 0)])
def test_settings_are_checked(latents, patience):
    with pytest.raises(InputError, match=f"num_latents={latents} must be at least 0 and patience={patience}"):
        ThinkingProcessor(make_latent().config, latents, 1.0, patience)


# ---- the command line ----


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return the folder of a base model that was wrapped with soft feedback and never trained."""
    tokenizer = make_tokenizer()
    base = sharpen(make_base("llama", vocab_size=len(tokenizer)))
    model = LatentForCausalLM.from_base(base, tokenizer, feedback="soft")
    model.config.template = resolve_template("plain").to_dict()
    folder = tmp_path_factory.mktemp("soft")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


QUESTIONS = ["1 2 3", "4", "5 + 6"]


def answers(capsys, folder, *words) -> list[str]:
    capsys.readouterr()
    main("generate", ["--model", str(folder), "--question", *QUESTIONS, "--max_new_tokens", "5", *map(str, words)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[::2] == QUESTIONS
    return lines[1::2]


def test_generate_thinks(saved, capsys):
    """A threshold no entropy reaches gives the text of a prompt that holds the latents; one that all reach, patience - 1."""
    given = {number: answers(capsys, saved, "--num_latents", number) for number in (1, 3, 4)}
    assert len({tuple(lines) for lines in given.values()}) == 3
    for number in (1, 3, 4):
        assert answers(capsys, saved, "--num_latents", number, "--entropy_threshold", 0) == given[number]
    sure = ["--num_latents", 4, "--entropy_threshold", 100]
    assert answers(capsys, saved, *sure, "--patience", 2) == given[1]
    assert answers(capsys, saved, *sure, "--patience", 4) == given[3]
    assert answers(capsys, saved, *sure) == answers(capsys, saved, "--num_latents", 0)


def test_generate_thinks_row_by_row(saved, capsys):
    """The answers of the command line are those of the processor on the same prompts."""
    tokenizer = with_tokens()
    model = LatentForCausalLM.from_pretrained(saved).eval()
    batch = encode_prompts(QUESTIONS, tokenizer, None, model.config.template)
    thought = ThinkingProcessor(model.config, 4, entropy_threshold=2.0, patience=2)
    rows = model.generate(**batch, max_new_tokens=10, do_sample=False, logits_processor=[thought])
    rows = rows[:, batch["input_ids"].shape[1] :].tolist()
    ends = [row.index(model.config.eot_token_id) for row in rows]
    expected = [
        tokenizer.decode(row[end + 1 : end + 6], skip_special_tokens=True) for row, end in zip(rows, ends, strict=True)
    ]
    words = ["--num_latents", 4, "--entropy_threshold", 2.0, "--patience", 2]
    assert answers(capsys, saved, *words) == ["  " + text.strip() for text in expected]
    assert len(set(ends)) > 1


OPTIONS = ["--feedback_options", '{"temperature": 9}']


def test_generate_wraps_a_base_model(saved, tmp_path, capsys):
    """A model that knows nothing of latents thinks with soft ones, as the saved model does that was wrapped the same way."""
    tokenizer = make_tokenizer()
    sharpen(make_base("llama", vocab_size=len(tokenizer))).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    think = ["--num_latents", 4, "--entropy_threshold", 2.0]
    soft = ["--feedback", "soft", "--template", "plain"]
    found = answers(capsys, tmp_path, *soft, *think)
    assert found == answers(capsys, saved, *think)
    texts = [answers(capsys, tmp_path, *soft, "--num_latents", 4, *options) for options in ([], OPTIONS)]
    assert texts[0] == answers(capsys, saved, "--num_latents", 4) != texts[1]
    with pytest.raises(SystemExit):
        answers(capsys, tmp_path, *think)
    assert "is a plain base model" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--feedback_options", "{}"], "a saved latent model has its own"),
        (["--feedback", "sotf"], "did you mean 'soft'?"),
        (["--feedback", "soft", "--feedback_options", '{"topk": 1}'], "did you mean 'top_k'?"),
        (["--feedback", "soft", "--feedback_options", "{"], "malformed JSON"),
        (["--feedback", "soft", "--template", "plian"], "did you mean 'plain'?"),
        (["--patience", "2"], "patience=2 counts latents below entropy_threshold"),
        (["--entropy_threshold", "1", "--patience", "0"], "patience=0 must be at least 1"),
        (["--num_latents", "-1"], "num_latents=-1 must be at least 0"),
        (["--entropy_threshold", "low"], "--entropy_threshold"),
    ],
)
def test_generate_refuses(capsys, words, says):
    with pytest.raises(SystemExit) as stop:
        main("generate", ["--model", "nowhere", "--question", "1", *words])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line


def test_latent_columns_of_this_file():
    """What the tests above rely on: a token after the begin of thought does not close it."""
    assert latent_columns([14, 15, 98, 16, 97, 97, 99]) == [4, 5]
