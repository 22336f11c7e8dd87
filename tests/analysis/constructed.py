"""Tiny models whose latents are known to do something, or nothing; trained in a few seconds each."""

import functools

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from latent_trainer import LatentForCausalLM
from latent_trainer.data.encoding import encode_prompts
from latent_trainer.data.problem import Problem
from latent_trainer.data.template import resolve_template
from latent_trainer.data.tokenizer import train_tokenizer
from latent_trainer.data.variants import of_numbers
from latent_trainer.evaluation.evaluator import Evaluator

TEMPLATE = resolve_template("plain")
KINDS = ("ignores", "pause", "carries", "writes")
STEPS = {"ignores": 80, "pause": 80, "carries": 120, "writes": 120}


def digits() -> list[Problem]:
    """Return questions of two digits, whose answer is the first of them; its step says the same."""
    pairs = [(first, second) for first in range(10) for second in range(9)]
    return [Problem(f"{one} {other}", (str(one),), str(one), f"{one} {other}") for one, other in pairs]


@functools.cache
def constructed(kind: str, latents: int = 2):
    """Return a trained model and its tokenizer.

    - ignores: its latents were drawn at random at every step, so that it answers from the question alone;
    - pause: its latents are learned embeddings, the same for every question;
    - carries: it was taught the answer of the problem whose last latent it got, so that it answers from that latent alone;
    - writes: the same, and without latents it writes the step first; where it must answer at once it was taught any digit.
    """
    torch.manual_seed(0)
    tokenizer = train_tokenizer([f"{one.question} = {one.answer}" for one in digits()])
    size = {"n_embd": 48, "n_layer": 2, "n_head": 4, "n_positions": 32}
    no_dropout = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    base = GPT2LMHeadModel(
        GPT2Config(vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=0, **size, **no_dropout, initializer_range=0.1)
    )
    model = LatentForCausalLM.from_base(base, tokenizer, feedback="learned" if kind == "pause" else "hidden")
    model.config.template, model.config.num_latents = TEMPLATE.to_dict(), latents
    model.generation_config.max_new_tokens = 6
    problems = digits()
    answers = torch.tensor([[tokenizer(one.answer, add_special_tokens=False).input_ids[0]] for one in problems])
    prefix = tokenizer("= ", add_special_tokens=False).input_ids
    asked = {
        number: encode_prompts([one.question for one in problems], tokenizer, number, TEMPLATE) for number in (0, latents)
    }
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, STEPS[kind])
    rows = len(problems)

    def loss(number: int, written: torch.Tensor, scored: int, given: torch.Tensor | None = None) -> torch.Tensor:
        """Return the mean loss of the last ``scored`` of the columns ``written`` after the prompts."""
        ids = torch.cat([asked[number]["input_ids"], written], 1)
        mask = torch.cat([asked[number]["attention_mask"], torch.ones_like(written)], 1)
        labels = torch.cat([torch.full_like(ids[:, :-scored], -100), ids[:, -scored:]], 1)
        return model(ids, mask, labels=labels, latents=given).loss

    start, end = torch.tensor(prefix).expand(rows, -1), torch.full((rows, 1), tokenizer.eos_token_id)
    model.train()
    for _ in range(STEPS[kind]):
        given, order = None, torch.arange(rows)
        if kind == "ignores":
            given = 2 * torch.randn(rows, latents, 48)
        elif kind != "pause":
            filled = model.run(**asked[latents]).latents
            own = filled[asked[latents]["input_ids"] == model.config.latent_token_id].view(rows, latents, -1)
            order = torch.randperm(rows)
            given = torch.cat([own[torch.randperm(rows), :-1], own[order, -1:]], 1)
        total = loss(latents, torch.cat([start, answers[order], end], 1), len(prefix) + 2, given)
        if kind == "writes":
            total = total + loss(0, torch.cat([answers, start, answers, end], 1), len(prefix) + 3)
            drawn = answers[torch.randint(rows, (rows,))]
            total = total + loss(0, torch.cat([start, drawn, end], 1), 2)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        scheduler.step()
    return model.eval(), tokenizer


def evaluator(model, tokenizer, problems=None, num_latents: int | None = None, **options) -> Evaluator:
    """Return the evaluator of a constructed model over its problems."""
    number = model.config.num_latents if num_latents is None else num_latents
    settings = {"batch_size": 45, "max_new_tokens": 6, **options}
    return Evaluator(model, tokenizer, digits() if problems is None else problems, number, number, **settings)


def with_digit(problem: Problem, place: int, value: int) -> Problem:
    """Return a question of `digits` with another digit, answered."""
    words = problem.question.split()
    words[place] = str(value)
    return Problem(" ".join(words), (words[0],), words[0], " ".join(words))


other_digits = of_numbers(with_digit)
