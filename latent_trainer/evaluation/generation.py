"""Batched generation of answers."""

import time
from dataclasses import dataclass

import torch
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase

from latent_trainer.data.encoding import encode_prompts
from latent_trainer.data.template import Template, resolve_template
from latent_trainer.evaluation.answers import extract_answer, is_equivalent
from latent_trainer.problem import Problem


@dataclass
class Answer:
    """One generated answer.

    Args:
        id: the problem's id.
        reference: the right answer.
        text: what the model wrote.
        strict, flexible: the extracted answers, None where there was none.
        correct, correct_flexible: whether they equal the reference.
        tokens_written: generated tokens, the end-of-text token included.
        latents: latents of the prompt.
        seconds: wall time of the batch divided by its rows.
    """

    id: str
    reference: str
    text: str
    strict: str | None
    flexible: str | None
    correct: bool
    correct_flexible: bool
    tokens_written: int
    latents: int
    seconds: float


@torch.no_grad()
def generate_answers(
    model,
    tokenizer: PreTrainedTokenizerBase,
    problems: list[Problem],
    num_latents: int,
    template: str | dict | Template,
    batch_size: int = 32,
    max_new_tokens: int = 64,
    show_progress: bool = False,
    **generation,
) -> list[Answer]:
    """Answer problems in batches of similar prompt length, in the order given.

    Args:
        model: anything with ``generate``.
        tokenizer: the tokenizer saved with the model.
        problems: what to answer.
        num_latents: K of every prompt.
        template: how prompts are written.
        batch_size: rows per call of ``generate``.
        max_new_tokens: tokens written at most.
        show_progress: draw a progress bar.
        generation: passed on to ``generate``; greedy unless it says otherwise.
    """
    template = resolve_template(template)
    prefix = template.answer_prefix.format() if template.score_answer_prefix else ""
    order = sorted(range(len(problems)), key=lambda index: -len(problems[index].question))
    answers: list[Answer | None] = [None] * len(problems)
    was_training = model.training
    model.eval()
    for start in tqdm(range(0, len(order), batch_size), desc="generate", unit="batch", disable=not show_progress):
        chosen = order[start : start + batch_size]
        batch = encode_prompts([problems[index].question for index in chosen], tokenizer, num_latents, template)
        batch = batch.to(model.device)
        began = time.perf_counter()
        written = model.generate(**batch, max_new_tokens=max_new_tokens, **{"do_sample": False, **generation})
        seconds = (time.perf_counter() - began) / len(chosen)
        written = written[:, batch["input_ids"].shape[1] :].tolist()  # (B, new)
        for index, tokens in zip(chosen, written, strict=True):
            answers[index] = _graded(problems[index], tokens, tokenizer, prefix, num_latents, seconds)
    model.train(was_training)
    return answers


def _graded(problem: Problem, tokens: list[int], tokenizer, prefix: str, latents: int, seconds: float) -> Answer:
    if tokenizer.eos_token_id in tokens:
        tokens = tokens[: tokens.index(tokenizer.eos_token_id) + 1]
    text = tokenizer.decode(tokens, skip_special_tokens=True)
    strict = extract_answer(text, "strict", prefix)
    flexible = extract_answer(text, "flexible", prefix)
    return Answer(
        id=problem.id,
        reference=problem.answer,
        text=text,
        strict=strict,
        flexible=flexible,
        correct=is_equivalent(strict, problem.answer),
        correct_flexible=is_equivalent(flexible, problem.answer),
        tokens_written=len(tokens),
        latents=latents,
        seconds=seconds,
    )


def summarise(answers: list[Answer]) -> dict[str, float]:
    """Return accuracy with its standard error, and the means of what it cost.

    The standard error is that of a share: sqrt(p (1 - p) / n).
    """
    number = len(answers)
    accuracy = sum(answer.correct for answer in answers) / number
    return {
        "accuracy": accuracy,
        "accuracy_stderr": (accuracy * (1 - accuracy) / number) ** 0.5,
        "accuracy_flexible": sum(answer.correct_flexible for answer in answers) / number,
        "invalid": sum(answer.strict is None for answer in answers) / number,
        "tokens_written": sum(answer.tokens_written for answer in answers) / number,
        "latents": sum(answer.latents for answer in answers) / number,
        "seconds_per_problem": sum(answer.seconds for answer in answers) / number,
        "problems": number,
    }
