"""One conversation at a time: what the thinker reads, and the terminal that shows it."""

import io

import pytest
import torch
from conftest import make_base, sharpen
from training import make_tokenizer

from latent_trainer import LatentForCausalLM, encode_prompts
from latent_trainer.analysis.explain import explain_latents
from latent_trainer.analysis.lens import nearest_tokens
from latent_trainer.app.thinker import TOP, Thinker
from latent_trainer.cli import main
from latent_trainer.data import resolve_template
from latent_trainer.errors import InputError
from latent_trainer.evaluation.generation import generate_answers
from latent_trainer.testing.tiny import uneven_problems

QUESTION = uneven_problems(1)[0].question
OTHER = uneven_problems(2)[1].question
USER = [{"role": "user", "content": QUESTION}]
CHAT = [*USER, {"role": "assistant", "content": "7"}, {"role": "user", "content": OTHER}]


def model_and_tokenizer(template="plain", **options):
    """Return a tiny model that is sure of its answers, and its tokenizer."""
    tokenizer = make_tokenizer()
    base = make_base("gpt2", vocab_size=len(tokenizer), dtype=torch.float32)
    model = sharpen(LatentForCausalLM.from_base(base, tokenizer=tokenizer, **options)).eval()
    model.config.template = resolve_template(template).to_dict()
    model.config.num_latents = 3
    model.generation_config.max_new_tokens = 5
    return model, tokenizer


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with such a model."""
    folder = tmp_path_factory.mktemp("talking")
    model, tokenizer = model_and_tokenizer()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("feedback", ["hidden", "soft"])
@pytest.mark.parametrize("template", ["plain", "coconut"])
@pytest.mark.parametrize("number", [0, 1, 3])
def test_the_answer_is_that_of_an_evaluation(template, feedback, number):
    model, tokenizer = model_and_tokenizer(template, feedback=feedback)
    problem = uneven_problems(1)[0]
    (expected,) = generate_answers(model.eval(), tokenizer, [problem], number, template, max_new_tokens=5)
    reading = Thinker(model, tokenizer).answer(USER, number)
    assert reading.answer == expected.text.strip()
    assert len(reading.latents) == len(reading.nearest) == number
    assert [len(layer) for layer in reading.lens] == [number] * (model.config.num_hidden_layers + 1 if number else 0)


def test_it_reads_what_the_probes_read():
    model, tokenizer = model_and_tokenizer()
    reading = Thinker(model, tokenizer).answer(USER)
    batch = encode_prompts([QUESTION], tokenizer, 3, "plain")
    run = model.run(**batch, output_hidden_states=True)
    places = (batch["input_ids"][0] == model.config.latent_token_id).nonzero().flatten()
    torch.testing.assert_close(reading.latents, run.latents[0, places])
    expected = nearest_tokens(model, **batch, top_k=TOP)[0]
    for own, row in zip(reading.nearest, expected, strict=True):
        assert [word for word, _ in own] == [tokenizer.decode([token]) for token, _ in row]
        assert [cosine for _, cosine in own] == pytest.approx([cosine for _, cosine in row], abs=1e-5)
    first = model.logits_of(run.hidden_states[-1][0, places - 1]).argmax(-1)
    assert [word for word, _ in reading.lens[-1]] == [tokenizer.decode([token]) for token in first.tolist()]


def test_only_the_last_thought_is_read():
    model, tokenizer = model_and_tokenizer()
    thinker = Thinker(model, tokenizer)
    ids = torch.tensor([thinker.prompt(CHAT, 2)])
    places = (ids[0] == model.config.latent_token_id).nonzero().flatten()
    assert len(places) == 4  # the earlier answer has its thought, too
    run = model.run(ids, torch.ones_like(ids))
    torch.testing.assert_close(thinker.answer(CHAT, 2).latents, run.latents[0, places[-2:]])


def test_given_latents_stand_in_for_its_own():
    model, tokenizer = model_and_tokenizer()
    thinker = Thinker(model, tokenizer)
    donor = thinker.answer([{"role": "user", "content": OTHER}])
    swapped = thinker.answer(USER, latents=donor.latents)
    torch.testing.assert_close(swapped.latents, donor.latents)
    assert thinker.answer(USER, latents=thinker.answer(USER).latents).answer == thinker.answer(USER).answer
    with pytest.raises(InputError, match="one message"):
        thinker.answer(CHAT, latents=donor.latents)


def test_a_thought_that_ends_itself():
    model, tokenizer = model_and_tokenizer(feedback="soft")
    model.config.open_thought = True
    thinker = Thinker(model, tokenizer)
    readings = {most: thinker.answer(USER, most) for most in (0, 1, 3)}
    assert all(len(reading.latents) <= most for most, reading in readings.items())
    with pytest.raises(InputError, match="end its thought"):
        thinker.answer(USER, latents=torch.zeros(3, 32))


def test_steps_are_decoded():
    model, tokenizer = model_and_tokenizer()
    model.add_step_decoder("shared", group=1)
    batch = encode_prompts([QUESTION], tokenizer, 3, "plain")
    assert Thinker(model, tokenizer).answer(USER).steps == explain_latents(model, tokenizer, **batch)[0]


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ([{"role": "system", "content": "be brief"}], "user and assistant messages only"),
        ([*USER, *USER], "take turns"),
        ([{"role": "user", "content": "<|latent|>"}], "is no text"),
        ([{"role": "user", "content": f"{QUESTION} " * 200}], "the conversation has"),
    ],
)
def test_refused_messages(messages, why):
    with pytest.raises(InputError, match=why):
        Thinker(*model_and_tokenizer()).answer(messages)


def talk(folder, lines, monkeypatch, capsys, *words) -> str:
    """Return what the terminal shows when these lines are typed."""
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines) + "\n"))
    main("chat", [folder, *words])
    return capsys.readouterr().out


def test_a_chat(saved, monkeypatch, capsys):
    model, tokenizer = model_and_tokenizer()
    reading = Thinker(model, tokenizer).answer(USER)
    lines = [QUESTION, "!thought", "!latents 1", "!clear", QUESTION, "!nonsense", "!help", "!exit", "never read"]
    shown = talk(saved, lines, monkeypatch, capsys)
    assert reading.answer in shown and "3 latents, near" in shown and "1 latent, near" in shown
    assert reading.nearest[0][0][0].strip() in shown and "nearest tokens" in shown
    assert "!nonsense is no command" in shown and "!latents N" in shown and "never read" not in shown


def test_a_message_that_cannot_be_answered_ends_no_chat(saved, monkeypatch, capsys):
    shown = talk(saved, ["!thought", "<|latent|>", QUESTION], monkeypatch, capsys, "--no-latents")
    assert "there is no thought yet" in shown and "is no text" in shown and "no latents" in shown


def test_options_that_contradict_each_other(saved, capsys):
    with pytest.raises(SystemExit):
        main("chat", [saved, "--no-latents", "--num_latents", "2"])
    assert "contradict" in capsys.readouterr().err
