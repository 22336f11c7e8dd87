"""Answers to a set of problems under several conditions, over several processes, resumable."""

from collections import Counter
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from transformers import PreTrainedTokenizerBase

from latent_trainer.data.encoding import Encoder
from latent_trainer.data.lengths import Room
from latent_trainer.data.problem import Problem
from latent_trainer.data.template import resolve_template
from latent_trainer.errors import InputError
from latent_trainer.evaluation.controls import CONTROLS, collect_latents
from latent_trainer.evaluation.generation import Answer, generate_answers
from latent_trainer.evaluation.journal import Journal
from latent_trainer.evaluation.record import data_hash
from latent_trainer.model.context import context_length
from latent_trainer.process_group import leave_at_exit


class Evaluator:
    """Answer problems with a model: as it is, with another number of latents, or with other latents.

    Args:
        model: a latent model, on this process's device.
        tokenizer: the tokenizer saved with it.
        problems: what is answered; those that do not fit the context are left out and counted in ``dropped``. Those whose
            reference takes more than ``max_new_tokens`` are answered and counted in ``unreachable``; ``warning`` is a line
            that says so.
        num_latents: K of every prompt unless a condition says otherwise.
        most_latents: the largest K of any condition, for what fits the context.
        batch_size: problems per call of ``generate``.
        max_new_tokens: tokens written at most.
        samples: answers per problem.
        sampling: see `generate_answers`; None is greedy.
        seed: decides the controls.
        folder: where answers are written as they come; None writes none.
        model_id: what tells this model from another one, for the journals.
        show_progress: draw a progress bar.
        thoughts: see `generate_answers`; None has all answers to a problem share one thought.

    Raises:
        ValueError: no problem fits the context, two problems have the same id, or no answer to one could be graded right.
    """

    def __init__(
        self,
        model,
        tokenizer: PreTrainedTokenizerBase,
        problems: list[Problem],
        num_latents: int,
        most_latents: int,
        batch_size: int,
        max_new_tokens: int,
        samples: int = 1,
        sampling: dict | None = None,
        seed: int = 0,
        folder: Path | None = None,
        model_id: str = "",
        show_progress: bool = False,
        thoughts: dict | None = None,
    ):
        self.state = PartialState()
        leave_at_exit()
        self.model, self.tokenizer = model, tokenizer
        self.template = model.config.template or "coconut"
        for problem in problems:  # all of them in every process, so that none waits for one that has stopped
            resolve_template(self.template).check(problem, steps=False)
        self.num_latents = num_latents
        self.batch_size, self.max_new_tokens = batch_size, max_new_tokens
        self.samples, self.sampling, self.seed = samples, sampling, seed
        self.folder, self.model_id, self.show_progress = folder, model_id, show_progress
        self.thoughts = thoughts
        encoder = Encoder(tokenizer, self.template)
        room = Room(encoder, context_length(model.config), most_latents, max_new_tokens)
        rows, self.dropped = room.answered(encoder.problems(problems))
        self.unreachable, self.warning = room.beyond_reach(rows)
        self.problems = [row.problem for row in rows]
        identical, number = Counter(problem.id for problem in self.problems).most_common(1)[0]
        if number > 1:
            raise InputError(f"{number} problems have the id '{identical}'; give every problem its own")
        self._latents: torch.Tensor | None = None

    def intact(self, num_latents: int | None = None) -> list[Answer]:
        """Return the answers of the model as it is, or with another number of latents."""
        number = self.num_latents if num_latents is None else num_latents
        return self._answers("intact" if num_latents is None else f"latents-{number}", number)

    def control(self, name: str) -> list[Answer]:
        """Return the answers with the latents of one of ``CONTROLS``."""
        return self._answers(name, self.num_latents, name)

    def _answers(self, condition: str, num_latents: int, control: str | None = None) -> list[Answer]:
        rows = [(problem, sample) for problem in self.problems for sample in range(self.samples)]
        journal = self.journal(condition, num_latents)
        known = dict(journal.answers) if journal else {}
        self.state.wait_for_everyone()  # nobody writes a part before everybody has read them
        missing = [number for number, (problem, sample) in enumerate(rows) if (problem.id, sample) not in known]
        mine = missing[self.state.process_index :: self.state.num_processes]
        latents = numbers = None
        if control and missing:
            changed = CONTROLS[control](self._own_latents(), self.problems, self.seed)
            latents = changed[[number // self.samples for number in mine]]
            numbers = (~latents[..., 0].isnan()).sum(1).tolist() if self.model.config.open_thought else None
        answers = generate_answers(
            self.model,
            self.tokenizer,
            [rows[number][0] for number in mine],
            num_latents,
            self.template,
            batch_size=self.batch_size,
            max_new_tokens=self.max_new_tokens,
            show_progress=self.show_progress,
            samples=[rows[number][1] for number in mine],
            sampling=self.sampling,
            latents=latents,
            numbers=numbers,
            thoughts=self.thoughts,
            on_batch=journal and (lambda batch: journal.append(batch, self.state.process_index)),
        )
        known |= {(answer.id, answer.sample): answer for answer in gather_object(answers)}
        ordered = [known[problem.id, sample] for problem, sample in rows]
        if journal:
            journal.close()
            self.state.wait_for_everyone()
            if self.state.is_main_process:
                journal.finish(ordered)
        return ordered

    def _own_latents(self) -> torch.Tensor:
        """Return the latents (N, K, H) of all problems, thought once."""
        if self._latents is None:
            common = (self.num_latents, self.template, self.batch_size)
            self._latents = collect_latents(self.model, self.tokenizer, self.problems, *common)
        return self._latents

    def journal(self, condition: str, num_latents: int, folder: Path | None = None, **changes) -> Journal | None:
        """Return the journal of a condition; None where answers are not written.

        Args:
            condition: what the file is called.
            num_latents: latents of a prompt.
            folder: where it is, by default the evaluator's own.
            changes: settings of this condition that differ from those of all others.
        """
        folder = self.folder if folder is None else folder
        if folder is None:
            return None
        header = {
            "condition": condition,
            "model": self.model_id,
            "template": self.template,
            "feedback": self.model.config.feedback,
            "data_hash": data_hash(self.problems),
            "num_latents": num_latents,
            "max_new_tokens": self.max_new_tokens,
            "samples": self.samples,
            "sampling": self.sampling,
            "seed": self.seed,
            **({} if self.thoughts is None else {"thoughts": self.thoughts}),
            **changes,
        }
        return Journal(folder / f"{condition}.jsonl", header)
