"""Batched generation of answers."""

import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from tqdm.auto import tqdm
from transformers import LogitsProcessor, LogitsProcessorList, PreTrainedTokenizerBase

from latent_trainer.data.encoding import Encoder, encode_prompts
from latent_trainer.data.lengths import Room
from latent_trainer.data.problem import Problem
from latent_trainer.data.template import Template, resolve_template
from latent_trainer.evaluation.answers import extract_answer, is_right
from latent_trainer.evaluation.mode import evaluating
from latent_trainer.evaluation.sampling import sampler
from latent_trainer.model.context import context_length
from latent_trainer.model.thinking import thought_processor

NEW_TOKENS = 64  # of a model that does not say how many it was trained to write


def new_tokens(model) -> int:
    """Return how many tokens a model writes at most where nothing else is asked for, its thought apart."""
    thought = model.config.num_latents if getattr(model.config, "open_thought", False) else 0
    most = model.generation_config.max_new_tokens
    return NEW_TOKENS if most is None or most <= thought else most - thought


@dataclass
class Answer:
    """One generated answer.

    Args:
        id: the problem's id.
        sample: number of the answer where a problem is answered several times.
        reference: the right answer.
        text: what the model wrote.
        strict, flexible: the extracted answers, None where there was none.
        correct, correct_flexible: whether they are right, see `is_right`.
        tokens_written: generated tokens, the one that ends the text included; latents and the prompt are not written.
        latents: latents of the prompt, or of the thought that the model ended itself.
        passes: decoder passes until the last token is chosen, those of the prompt and its latents included.
        prefill_seconds: wall time until the first token can be chosen, divided by the batch's rows.
        decode_seconds: the rest, divided by the batch's rows.
        check: the problem's own check, "" where an answer must equal the reference.
    """

    id: str
    sample: int
    reference: str
    text: str
    strict: str | None
    flexible: str | None
    correct: bool
    correct_flexible: bool
    tokens_written: int
    latents: int
    passes: int
    prefill_seconds: float
    decode_seconds: float
    check: str = ""


@torch.no_grad()
def generate_answers(
    model,
    tokenizer: PreTrainedTokenizerBase,
    problems: list[Problem],
    num_latents: int,
    template: str | dict | Template,
    batch_size: int = 32,
    max_new_tokens: int = NEW_TOKENS,
    show_progress: bool = False,
    samples: list[int] | None = None,
    sampling: dict | None = None,
    latents: torch.Tensor | None = None,
    numbers: list[int] | None = None,
    thoughts: dict | None = None,
    on_batch: Callable[[list[Answer]], None] | None = None,
    on_tokens: Callable[[int, list[int]], None] | None = None,
    **generation,
) -> list[Answer]:
    """Answer problems in batches of similar prompt length, in the order given.

    Args:
        model: anything with ``generate``.
        tokenizer: the tokenizer saved with the model.
        problems: N problems; one stands there once per answer wanted of it.
        num_latents: K of every prompt; the most it may think, where the model ends its thought itself.
        template: how prompts are written.
        batch_size: rows per call of ``generate``.
        max_new_tokens: tokens written at most, the thought apart.
        show_progress: draw a progress bar.
        samples: N numbers that tell answers to the same problem apart; zeros by default.
        sampling: ``seed`` and the options of `latent_trainer.evaluation.sampling.sampler`; None is greedy.
        thoughts: ``seed`` and the options of ``generate`` by which every answer draws a thought of its own; None has all
            answers to a problem share one.
        latents: (N, K, H) embeddings that stand in for the thoughts (see `LatentForCausalLM.forward`).
        numbers: N lengths of those thoughts, where the model would end them itself; all K by default.
        on_batch: called with the answers of every batch as soon as they are graded.
        on_tokens: called with the place of every problem and the tokens written for it.
        generation: passed on to ``generate``.

    Raises:
        ValueError: a problem that does not fit the model's context, or no answer to which could be graded right under the
            template; names its place.
    """
    template = resolve_template(template)
    for problem in problems:
        template.check(problem, steps=False)  # another model's steps need not be this one's
    room = Room(Encoder(tokenizer, template), context_length(model.config), num_latents, max_new_tokens)
    samples = [0] * len(problems) if samples is None else samples
    opens = getattr(model.config, "open_thought", False)
    if opens and latents is not None and numbers is None:
        numbers = [num_latents] * len(problems)
    given: list[int | None] = [None] * len(problems) if numbers is None else list(numbers)
    order = sorted(range(len(problems)), key=lambda index: -len(problems[index].question))
    answers: dict[int, Answer] = {}
    starts = tqdm(range(0, len(order), batch_size), desc="generate", unit="batch", disable=not show_progress)
    with evaluating(model):
        for start in starts:
            chosen = order[start : start + batch_size]
            of_prompts: int | list[int | None] = [given[index] for index in chosen] if opens else num_latents
            encoded = encode_prompts([problems[index].question for index in chosen], tokenizer, of_prompts, template)
            names = [problems[index].named for index in chosen]
            still = num_latents if opens and numbers is None else 0  # that the model may think yet
            lengths = [length + still for length in encoded["attention_mask"].sum(1).tolist()]
            room.refuse_long(zip(names, lengths, strict=True))
            batch = dict(encoded.to(model.device))
            if latents is not None:
                batch["latents"] = latents[chosen].to(model.device, model.dtype)  # (B, K, H)
            meter = Meter(model)
            processors = LogitsProcessorList([meter])
            if sampling is not None:
                names = [f"{sampling['seed']}/{problems[index].id}/{samples[index]}" for index in chosen]
                options = {name: value for name, value in sampling.items() if name != "seed"}
                processors += sampler(names, model.device, **options)
            if opens:  # behind the sampler, so that a thought ends where the token that ends it is sampled
                most: int | list[int] = num_latents if numbers is None else [numbers[index] for index in chosen]
                processors.append(thought_processor(model, most))
            drawn = {} if thoughts is None else thoughts_of(thoughts, [(problems[one].id, samples[one]) for one in chosen])
            with meter:
                written = model.generate(
                    **batch,
                    max_new_tokens=max_new_tokens + still,
                    logits_processor=processors,
                    **{"do_sample": False, **drawn, **generation},
                )
            written = written[:, batch["input_ids"].shape[1] :].tolist()  # (B, new)
            for index, tokens in zip(chosen, written, strict=True):
                tokens = until_end(tokens, model.generation_config.eos_token_id, tokenizer.eos_token_id)
                thought, tokens = _apart(tokens, model.config.latent_token_id, max_new_tokens) if opens else ([], tokens)
                grades = graded(problems[index], tokens, tokenizer, template)
                measured: dict[str, Any] = meter.shares(len(thought) + len(tokens), len(chosen))
                number = len(thought) + (given[index] or 0) if opens else num_latents
                answers[index] = Answer(**grades, sample=samples[index], latents=number, **measured)
                if on_tokens is not None:
                    on_tokens(index, tokens)
            if on_batch is not None:
                on_batch([answers[index] for index in chosen])
    return [answers[index] for index in range(len(problems))]


def thoughts_of(thoughts: dict, answers: list[tuple[str, int]]) -> dict:
    """Return the options of ``generate`` that draw thoughts; an answer's depends on its problem, its number and the seed.

    Args:
        thoughts: ``seed`` and options.
        answers: id of the problem and number of the answer, one a row.
    """
    names = [f"{thoughts['seed']}/{problem}/{number}/thought" for problem, number in answers]
    options = {name: value for name, value in thoughts.items() if name != "seed"}
    return {"latent_do_sample": True, **options, "latent_seeds": [zlib.crc32(name.encode()) for name in names]}


class Meter(LogitsProcessor):
    """Measure one call of ``generate``: decoder passes, and the seconds before and after the first token.

    Args:
        model: the model that generates.
    """

    def __init__(self, model: Any):
        self.model = model
        self.passes = 0
        self.first: float | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Note when the first token can be chosen; the scores stay as they are."""
        if self.first is None:
            self.first, self.prefill_passes = self._now(), self.passes
        return scores

    def __enter__(self):
        self._hook = self.model.get_decoder().register_forward_pre_hook(self._count)
        self.began = self._now()
        return self

    def __exit__(self, *error):
        self.ended = self._now()
        self._hook.remove()

    def _count(self, *call) -> None:
        self.passes += 1

    def _now(self) -> float:
        if self.model.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def shares(self, tokens: int, rows: int) -> dict[str, float]:
        """Return the passes up to an answer's last token and the answer's share of the seconds.

        Args:
            tokens: tokens of the answer; others of its batch may be longer.
            rows: answers of the batch.
        """
        return {
            "passes": min(self.passes, self.prefill_passes + tokens - 1),
            "prefill_seconds": (self.first - self.began) / rows,
            "decode_seconds": (self.ended - self.first) / rows,
        }


def _apart(tokens: list[int], latent: int, most: int) -> tuple[list[int], list[int]]:
    """Return the latents of a thought, and up to ``most`` tokens that were written, the one that ends the thought first."""
    thought = [token for token in tokens if token == latent]
    return thought, tokens[len(thought) :][:most]


def until_end(tokens: list[int], ends: int | list[int] | None, end: int) -> list[int]:
    """Return the tokens up to the first that ends a text; what follows it is padding up to the longest row of the batch."""
    known = {end, *(ends if isinstance(ends, list) else [ends])}
    return tokens[: next((place for place, token in enumerate(tokens, 1) if token in known), len(tokens))]


def _text(tokens: list[int], tokenizer, template: Template) -> str:
    """Return what was written, without the special tokens that no text a model writes holds: some hold ``</think>``."""
    own = template.step + template.answer_prefix * template.score_answer_prefix + template.answer
    special = {
        token for token, added in tokenizer.added_tokens_decoder.items() if added.special and added.content not in own
    }
    return tokenizer.decode([token for token in tokens if token not in special])


def graded(problem: Problem, tokens: list[int], tokenizer, template: Template) -> dict:
    """Return what an `Answer` says of the text itself: tokens written for a problem, read and graded under a template."""
    text = _text(tokens, tokenizer, template)
    strict = extract_answer(template.behind_steps(text, problem), template=template)
    flexible = strict or extract_answer(text, "flexible", template=template)
    correct = is_right(strict, problem.answer, problem.check)
    return {
        "id": problem.id,
        "reference": problem.answer,
        "text": text,
        "strict": strict,
        "flexible": flexible,
        "correct": correct,
        "correct_flexible": correct if flexible == strict else is_right(flexible, problem.answer, problem.check),
        "tokens_written": len(tokens),
        "check": problem.check,
    }
