"""Text that spells a control token is refused in one line wherever a question, a step or an answer is read."""

import re

import pytest
from conftest import make_base
from tokenizers import AddedToken
from training import make_tokenizer, make_trainer

from latent_trainer import LatentForCausalLM, encode_prompts
from latent_trainer.analysis.traces import collect
from latent_trainer.cli import main
from latent_trainer.data import TEMPLATES, Encoder, as_problems
from latent_trainer.data.problem import Problem
from latent_trainer.data.thought_tokens import add_thought_tokens
from latent_trainer.data.tokenizer import train_tokenizer
from latent_trainer.errors import InputError
from latent_trainer.evaluation.evaluator import Evaluator

THOUGHT = {"<|latent|>": "a latent", "<|bot|>": "the start of a thought", "<|eot|>": "the end of a thought"}
EVERYWHERE = {**THOUGHT, "<|endoftext|>": "the end of a text", "<|im_start|>": "a special token", "<s>": "a special token"}
USER, ASSISTANT, OPEN = re.findall("<[^<>{}]+>", TEMPLATES["r1"].question)
R1 = {
    "<|latent|>": "a latent",
    OPEN: "the start of a thought",
    "</think>": "the end of a thought",
    USER: "a special token",
    ASSISTANT: "a special token",
    "<|endoftext|>": "the end of a text",
}


def tokenizer_of(template: str):
    """Return a byte-level tokenizer with the kinds of added tokens that published ones have."""
    tokenizer = train_tokenizer(["1 + 2 = 3"], 300)
    ordinary = [USER, ASSISTANT, OPEN, "</think>", "<|box|>"]
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in ordinary])
    tokenizer.add_tokens([AddedToken("<|im_start|>", special=True, normalized=False)], special_tokens=True)
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    add_thought_tokens(tokenizer, TEMPLATES[template].bot, TEMPLATES[template].eot)
    return tokenizer


@pytest.mark.parametrize(
    ("template", "token", "meaning"),
    [("coconut", *pair) for pair in EVERYWHERE.items()] + [("r1", *pair) for pair in R1.items()],
)
def test_questions_steps_and_answers(template, token, meaning):
    tokenizer = tokenizer_of(template)
    encoder = Encoder(tokenizer, template)
    good = {"question": "1 + 2", "steps": ("1 + 2 = 3",), "answer": "3"}
    line = rf"^{{0}} stands for {meaning}, not for text; remove it from '.*{{0}}.*'".replace(
        "{0}", token.replace("|", r"\|")
    )
    for text in (token, f"1 {token} 2", f"1{token}\n2"):
        for problem in ({**good, "question": text}, {**good, "steps": ("3", text)}, {**good, "answer": text}):
            with pytest.raises(InputError, match=rf"{line} \(data.jsonl:7\)$"):
                encoder.problem(Problem(**problem, place="data.jsonl:7"))
        for latents in (2, None) if template == "coconut" else (2,):
            with pytest.raises(InputError, match=f"{line}$"):
                encode_prompts(["1 + 2", text], tokenizer, latents, template)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("coconut", "<think> 1 + 2 </think>"),  # an ordinary added token, and not one of this template
        ("coconut", "<|box|>3<|box|>"),
        ("coconut", "<| latent |> <|latent| > |latent|"),
        ("coconut", f"{USER} a < b | c > d"),
        ("r1", "<|bot|> <|eot|> <|box|> < think >"),
    ],
)
def test_text_that_only_looks_like_one(template, text):
    encoder = Encoder(tokenizer_of(template), template)
    assert encoder.problem(Problem(text, (text,), "5")).problem.question == text
    assert encoder.prompt(text, 1)


def test_the_word_for_unknown_words_is_text():
    """Every unknown word is read as it, so a text that spells it is no different."""
    tokenizer = make_tokenizer()
    add_thought_tokens(tokenizer, "<|bot|>", "<|eot|>")
    encoder = Encoder(tokenizer, "plain")
    assert encoder.question("<|unknown|> 1") == encoder.question("unheard 1")


@pytest.mark.parametrize("token", THOUGHT)
def test_models(tmp_path, token):
    """Training, evaluation in training and after it, probing: no row with such a question gets in."""
    bad = [Problem("1 + 2", (), "3"), Problem(f"1 {token} 2", (), "3", place="data.jsonl:2")]
    says = rf"\{token[:2]}.* stands for .*data.jsonl:2"
    with pytest.raises(InputError, match=says):
        make_trainer(tmp_path, train_dataset=bad)
    trainer = make_trainer(tmp_path, number=4)
    with pytest.raises(InputError, match=says):
        trainer.evaluate(bad)
    model, tokenizer = trainer.model, trainer.processing_class
    with pytest.raises(InputError, match=token.replace("|", r"\|")):
        Evaluator(model, tokenizer, as_problems(bad), 1, 1, 2, 4)
    with pytest.raises(InputError, match=says):
        collect(model, tokenizer, bad, 1, "plain", tmp_path / "traces")


def test_generate(tmp_path, capsys):
    tokenizer = make_tokenizer()
    LatentForCausalLM.from_base(make_base(vocab_size=len(tokenizer)), tokenizer).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    for token in (*THOUGHT, "<|endoftext|>"):
        with pytest.raises(SystemExit):
            main("generate", ["--model", str(tmp_path), "--question", "1 + 2", f"1 {token}"])
        captured = capsys.readouterr()
        assert captured.out == "" and captured.err.splitlines()[-1].startswith(f"latent-trainer: {token} stands for")
