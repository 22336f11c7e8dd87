"""The one encoder: problems to token ids, ids and a plan to the views of a row, questions to prompts."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from transformers import BatchEncoding, PreTrainedTokenizerBase

from latent_trainer.data.problem import Problem
from latent_trainer.data.template import Template, resolve_template
from latent_trainer.data.thought_tokens import control_tokens, thought_token_ids
from latent_trainer.errors import InputError
from latent_trainer.methods.curriculum import Compression, Plan

IGNORED = -100


@dataclass(frozen=True)
class EncodedProblem:
    """Token ids of the parts of a problem; a row at any stage is put together from them.

    Args:
        prompt: question with its template text, begin-of-text token first where the tokenizer has one.
        steps: one list a written step.
        answer_prefix: ids of the template's answer prefix.
        answer: the answer and the end-of-text token.
        problem: what was encoded.
    """

    prompt: list[int]
    steps: list[list[int]]
    answer_prefix: list[int]
    answer: list[int]
    problem: Problem

    @property
    def longest(self) -> int:
        """Tokens of the row with every step written, both thought tokens included."""
        return len(self.prompt) + sum(map(len, self.steps)) + len(self.answer_prefix) + len(self.answer) + 2


@dataclass(frozen=True)
class Group:
    """A column whose input is a sum of token embeddings instead of the embedding of its own token.

    Args:
        column: of the view; it stands before the answer.
        token_ids: the tokens, one at least.
        weight: factor of the sum.
    """

    column: int
    token_ids: tuple[int, ...]
    weight: float = 1.0


@dataclass(frozen=True)
class View:
    """One continuation of a prompt.

    Args:
        input_ids: token ids.
        labels: the ids that count in the loss, -100 elsewhere.
        answer_start: column of the first answer token; the column before it is the end of the answer prefix.
        steps_end: column after the last written step; None where the answer has no prefix.
        groups: columns with another input; a latent among them is given and not thought.
    """

    input_ids: list[int]
    labels: list[int]
    answer_start: int
    steps_end: int | None = None
    groups: tuple[Group, ...] = ()


@dataclass(frozen=True)
class StepTarget:
    """One written step and the latents that stand for it.

    Args:
        input_ids: tokens of the step, end-of-text token last.
        columns: columns of its latents in the latent view.
    """

    input_ids: list[int]
    columns: list[int]


class Encoder:
    """Encode problems with one tokenizer and one template.

    Args:
        tokenizer: must hold the thought tokens.
        template: a `Template`, the name of one, or its saved fields.

    Raises:
        ValueError: the tokenizer lacks a thought token or an end-of-text token.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, template: str | dict | Template):
        self.tokenizer = tokenizer
        self.template = resolve_template(template)
        ids = thought_token_ids(tokenizer, self.template.bot, self.template.eot)
        template = self.template
        texts = template.question + template.speed + template.step + template.answer_prefix + template.answer
        self.control = control_tokens(tokenizer, self.template.bot, self.template.eot, texts)
        longest_first = sorted(self.control, key=len, reverse=True)
        self._control = re.compile("|".join(map(re.escape, longest_first)))
        self.latent, self.bot, self.eot = ids["latent_token_id"], ids["bot_token_id"], ids["eot_token_id"]
        if tokenizer.eos_token_id is None:
            raise InputError("the tokenizer has no end-of-text token; set tokenizer.eos_token")
        self.pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        empty = tokenizer("").input_ids
        self.start = [tokenizer.bos_token_id] if tokenizer.bos_token_id in empty[:1] else []

    def _ids(self, text: str) -> list[int]:
        return self._all_ids([text])[0]

    def _all_ids(self, texts: list[str]) -> list[list[int]]:
        """Return the ids of many texts; each different one is tokenized once, all in one call, which is far quicker."""
        different = list(dict.fromkeys(texts))
        if not different:
            return []
        ids = self.tokenizer(different, add_special_tokens=False, return_attention_mask=False).input_ids
        known = dict(zip(different, ids, strict=True))
        return [known[text] for text in texts]

    def refuse_control(self, text: str, place: str = "") -> None:
        """Raise a one-line `InputError` where a text spells a token that is not for text (see `control_tokens`).

        Args:
            text: a question, a step or an answer.
            place: where it was read, for the message.
        """
        found = self._control.search(text)
        if found is not None:
            shown = text if len(text) <= 200 else f"{text[:200]}..."
            read = f" ({place})" if place else ""
            raise InputError(f"{found[0]} stands for {self.control[found[0]]}, not for text; remove it from {shown!r}{read}")

    def question(self, question: str) -> list[int]:
        """Return the ids of a question as it stands in a prompt.

        Raises:
            ValueError: it spells a token that is not for text.
        """
        self.refuse_control(question)
        return self.start + self._ids(self.template.question.format(question=question))

    def problem(self, problem: Problem) -> EncodedProblem:
        """Return the ids of a problem's parts."""
        return self.problems([problem])[0]

    def problems(self, problems: list[Problem], steps: bool = False) -> list[EncodedProblem]:
        """Return the ids of every problem's parts.

        Args:
            problems: what is encoded.
            steps: whether a model learns to write the steps, which must not hold the answer prefix then.

        Raises:
            ValueError: a text that spells a token that is not for text, or a problem no answer to which could be graded
                right under the template; names its place.
        """
        for problem in problems:
            for text in (problem.question, *problem.steps, problem.answer):
                self.refuse_control(text, problem.place)
        template, end = self.template, self.tokenizer.eos_token_id
        for problem in problems:
            template.check(problem, steps)
        questions = self._all_ids([template.question.format(question=problem.question) for problem in problems])
        answers = self._all_ids([template.answer.format(answer=problem.answer) for problem in problems])
        written = iter(self._all_ids([template.step.format(step=step) for problem in problems for step in problem.steps]))
        prefix = self._ids(template.answer_prefix.format())
        return [
            EncodedProblem(
                prompt=self.start + question,
                steps=[next(written) for _ in problem.steps],
                answer_prefix=prefix,
                answer=[*answer, end],
                problem=problem,
            )
            for problem, question, answer in zip(problems, questions, answers, strict=True)
        ]

    def latent_view(self, row: EncodedProblem, plan: Plan) -> View:
        """Return the continuation with latents: [bot] latent x K [eot] remaining steps, answer."""
        if plan.compression is not None:
            return self._compressed_view(row, plan.latents, plan.compression)
        steps = [token for step in row.steps[plan.skip_steps :] for token in step][plan.skip_tokens :]
        inside = self.template.remaining_steps == "inside"
        thought = self.thought(plan.latents)
        end = [self.eot] if inside and self.template.markers else []
        return self._view(thought, steps + end, row)

    def _compressed_view(self, row: EncodedProblem, latents: int, compression: Compression) -> View:
        """Return [bot] group x K [eot] answer, all of it scored; the input of a group is the step tokens it stands for."""
        tokens = [token for step in row.steps for token in step]
        runs = [tokens[start : start + compression.factor] for start in range(0, len(tokens), compression.factor)]
        view = self._view([], [self.bot, *[self.latent] * latents, self.eot], row)
        labels = [run[place] for run, place in zip(runs, compression.chosen, strict=True)]
        groups = []
        for column, run in enumerate([[self.bot], *runs]):
            divisor = (len(run) ** 0.5 if compression.root else len(run)) + 1e-5  # published, also where n is 1
            groups.append(Group(column, tuple(run), 1.0 if compression.factor == 1 else 1 / divisor))
        return replace(view, labels=[self.bot, *labels, *view.labels[1 + latents :]], groups=tuple(groups))

    def explicit_view(self, row: EncodedProblem, skip_last: bool = False) -> View:
        """Return the continuation with every step written, without thought tokens (without the last step: ``skip_last``)."""
        steps = row.steps[:-1] if skip_last else row.steps
        return self._view([], [token for step in steps for token in step], row)

    def targets(self, tokens: list[int], labels: list[int]) -> View:
        """Return a view for the objective alone, which no model reads: tokens, and what the objective says of each.

        Its first column is empty, so that a row without such tokens has a view, too.

        Args:
            tokens: of written steps, for instance.
            labels: a number for each, -100 for one that is not scored; a row that fills up a batch has no other.
        """
        return View([self.pad, *tokens], [IGNORED, *labels], 0)

    def step_targets(self, row: EncodedProblem, plan: Plan, group: int) -> list[StepTarget]:
        """Return what a step decoder must read from the latents: step k from group k of ``group`` latents.

        Steps beyond the last group merge into it; groups without a step have no target.
        """
        steps = row.steps[: plan.skip_steps]
        groups = min(plan.latents // group, len(steps))
        first = 1 if self.template.markers else 0
        targets = []
        for number in range(groups):
            own = steps[number:] if number == groups - 1 else steps[number : number + 1]
            tokens = [token for step in own for token in step]
            columns = [first + number * group + place for place in range(group)]
            targets.append(StepTarget([*tokens, self.tokenizer.eos_token_id], columns))
        return targets

    def thought(self, latents: int) -> list[int]:
        """Return the part of a thought that stands in a prompt: [bot] latent x K, and [eot] unless the model writes it."""
        thought = [self.latent] * latents
        if not self.template.markers:
            return thought
        return [self.bot, *thought] + ([self.eot] if self.template.remaining_steps == "after" else [])

    def prompt(self, question: str, latents: int | None) -> list[int]:
        """Return the ids generation starts from; with ``latents=None`` they end where a thought begins."""
        if latents is None:
            return self._open_thought(question)
        return self.question(question) + self.prompt_end(latents)

    def asked(self, row: EncodedProblem, plan: Plan) -> list[int]:
        """Return the prompt of a row under a plan: its question, and the compression factor where the template tells it."""
        return row.prompt if plan.compression is None else row.prompt + self.speed(plan.compression.factor)

    def speed(self, factor: int | None) -> list[int]:
        """Return the ids that tell a prompt its compression factor; none where there is no factor, or no text for it."""
        return (
            self._ids(self.template.speed.format(compression=factor)) if factor is not None and self.template.speed else []
        )

    def prompt_end(self, latents: int) -> list[int]:
        """Return what a prompt has after the question: its factor where it is told, the thought, a given answer prefix."""
        thought = self.speed(self.template.compression) + self.thought(latents)
        if self.template.score_answer_prefix:
            return thought
        end = [self.eot] if self.template.markers and self.template.remaining_steps == "inside" else []
        return thought + end + self._ids(self.template.answer_prefix.format())

    def _open_thought(self, question: str) -> list[int]:
        prompt = self.question(question) + self.speed(self.template.compression)
        if self.bot in prompt:  # some templates open the thought themselves
            return prompt
        if not self.template.markers:
            raise InputError("the template has markers=False, so a thought has no end marker; give the number of latents")
        return [*prompt, self.bot]

    def _view(self, given: list[int], written: list[int], row: EncodedProblem) -> View:
        prefix = row.answer_prefix
        scored_prefix = prefix if self.template.score_answer_prefix else [IGNORED] * len(prefix)
        return View(
            input_ids=given + written + prefix + row.answer,
            labels=[IGNORED] * len(given) + written + scored_prefix + row.answer,
            answer_start=len(given) + len(written) + len(prefix),
            steps_end=len(given) + len(written),
        )


def encode_prompts(
    questions: list[str],
    tokenizer: PreTrainedTokenizerBase,
    num_latents: int | Sequence[int | None] | None = 0,
    template: str | dict | Template = "coconut",
) -> BatchEncoding:
    """Encode questions for ``generate``: left-padded prompts that end where the model starts to write.

    Args:
        questions: B texts.
        tokenizer: the tokenizer saved with the model.
        num_latents: K for every prompt, or one number a prompt; None ends prompts at ``<|bot|>``, for a thought whose length
            `latent_trainer.model.thinking.ThinkingProcessor` decides.
        template: name, fields (``model.config.template``) or `Template`.

    Returns:
        ``input_ids`` and ``attention_mask`` (B, T).

    Raises:
        ValueError: no questions, a question that spells a token that is not for text, a negative number of latents, a
            tokenizer without the thought tokens, or an open thought in a template without them.
    """
    if isinstance(questions, str) or not questions:
        raise InputError("encode_prompts takes a non-empty list of questions")
    counts: list[int | None]
    counts = [num_latents] * len(questions) if isinstance(num_latents, int | None) else list(num_latents)
    if len(counts) != len(questions) or any(count is not None and count < 0 for count in counts):
        raise InputError(f"num_latents={num_latents} must be one number >= 0, or one for each of {len(questions)} questions")
    encoder = Encoder(tokenizer, template)
    rows = [encoder.prompt(question, count) for question, count in zip(questions, counts, strict=True)]
    return BatchEncoding(pad_rows(rows, encoder.pad, left=True))


def pad_rows(rows: list[list[int]], pad: int, left: bool) -> dict[str, torch.Tensor]:
    """Return ``input_ids`` and ``attention_mask`` (B, T) of rows padded to the longest, on the left or on the right."""
    width = max(map(len, rows))
    fill = [[pad] * (width - len(row)) for row in rows]
    off = [[0] * (width - len(row)) for row in rows]
    on = [[1] * len(row) for row in rows]
    join = (lambda padding, row: padding + row) if left else (lambda padding, row: row + padding)
    return {
        "input_ids": torch.tensor([join(*pair) for pair in zip(fill, rows, strict=True)]),
        "attention_mask": torch.tensor([join(*pair) for pair in zip(off, on, strict=True)]),
    }
