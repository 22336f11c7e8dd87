"""Problems to batches: what every row looks like at a stage, in which views, and which rows can be read at all."""

from dataclasses import replace

import torch
from transformers import PreTrainedTokenizerBase
from transformers.utils import logging

from latent_trainer.data import EncodedProblem, Encoder, LatentCollator, View, as_problems
from latent_trainer.data.encoding import IGNORED
from latent_trainer.data.lengths import Room
from latent_trainer.errors import InputError
from latent_trainer.methods.curriculum import Blank, Plan, of_step, row_rng, row_seed, writes_steps
from latent_trainer.methods.feedback import FEEDBACKS
from latent_trainer.methods.objectives import Objective
from latent_trainer.training.objective_checks import check_views
from latent_trainer.training.training_args import LatentTrainingArguments

logger = logging.get_logger(__name__)


class Batches:
    """Put batches together from problems.

    Args:
        args: say which template, curriculum and seed.
        tokenizer: holds the thought tokens.
        objective: says which views a row has.
        context: tokens a model has room for; None where nothing limits it.
        step_group: latents a step decoder reads a step from; None where there is no step decoder.
    """

    def __init__(
        self,
        args: LatentTrainingArguments,
        tokenizer: PreTrainedTokenizerBase,
        objective: Objective,
        context: int | None,
        step_group: int | None,
    ):
        self.curriculum = args.make_curriculum()
        self.encoder = Encoder(tokenizer, args.make_template())
        self.collator = LatentCollator(self.encoder.pad)
        self.args, self.objective, self.step_group = args, objective, step_group
        self.what = f"objective '{args.objective}'"
        fault = objective.fault(FEEDBACKS[args.feedback], self.curriculum)  # type: ignore[index]
        if fault is not None:
            raise InputError(
                f"objective={args.objective} with feedback={args.feedback} and curriculum={args.curriculum}: {fault}"
            )
        most_latents = self.curriculum.latents(self.curriculum.num_stages - 1)
        self.room = Room(self.encoder, context, most_latents, args.max_new_tokens)
        self._say_untold_factors()

    def _say_untold_factors(self) -> None:
        """Warn where the tokenizer writes the same for different compression factors, so that prompts cannot tell them."""
        plans = self.curriculum.plans(Blank(1)) if self.encoder.template.speed else []
        factors = {plan.compression.factor for plan in plans if plan.compression is not None}
        if len({tuple(self.encoder.speed(factor)) for factor in factors}) < len(factors):
            logger.warning_once(
                f"the tokenizer writes speed={self.encoder.template.speed!r} alike for several of the compression factors "
                f"{sorted(factors)}, which prompts then cannot tell; give a speed that it has words for"
            )

    def encoded(self, problems, split: str) -> list[EncodedProblem]:
        """Return the token ids of problems.

        Args:
            problems: a data set, or a list.
            split: what a message calls them.

        Raises:
            InputError: there are none, or one whose answer could not be graded.
        """
        problems = as_problems(problems)
        if not problems:
            raise InputError(f"the {split} dataset is empty; give it at least one problem")
        return self.encoder.problems(problems, writes_steps(self.curriculum))

    def that_can_be_read(self, rows: list[EncodedProblem]) -> tuple[list[EncodedProblem], int]:
        """Return the problems that fit the context at every stage and in every view, and the number of the others."""

        def read(row: EncodedProblem, plan: Plan) -> list[View]:
            views = self._made(row, plan)
            return [views[name] for name in self.objective.needs.views]

        return self.room.read(rows, self.curriculum.plans, read, self.objective.has_longer_views, self.step_group)

    def plan(self, row: EncodedProblem, stage: int, drawn: tuple[int, int] | None = None, step: int | None = None) -> Plan:
        """Return what a row looks like at a stage.

        Args:
            row: the row.
            stage: of the curriculum.
            drawn: (epoch, number of the row) as training draws it; None as the stage schedules it.
            step: optimizer step whose rows share what the curriculum draws; None where it draws nothing.
        """
        curriculum = self.curriculum if step is None else of_step(self.curriculum, self.args.seed, step)
        return curriculum.plan(stage, row, None if drawn is None else row_rng(self.args.seed, *drawn))

    def views(self, row: EncodedProblem, plan: Plan, scored: bool = True) -> dict[str, View]:
        """Return the views of a row; without labels where it only fills up a batch."""
        views = self._made(row, plan)
        if scored:
            return views
        return {name: replace(view, labels=[IGNORED] * len(view.labels)) for name, view in views.items()}

    def _made(self, row: EncodedProblem, plan: Plan) -> dict[str, View]:
        made = self.objective.make_views(self.encoder, row, plan)
        return check_views(self.what, made, self.objective, self.encoder.latent)

    def batch(
        self,
        indices: list[int],
        rows: list[EncodedProblem],
        stage: int,
        epoch: int | None,
        step: int | None = None,
    ) -> dict:
        """Put a batch together; an index past the end stands for a filler (see `EpochSampler`).

        Args:
            indices: numbers of rows.
            rows: all there are.
            stage: of the curriculum.
            epoch: in which the curriculum may draw at random, as in training; None where it may not.
            step: optimizer step, as `plan` takes it.
        """
        chosen = [(rows[index % len(rows)], index < len(rows)) for index in indices]
        draws = [None if epoch is None else (epoch, index % len(rows)) for index in indices]
        plans = [self.plan(row, stage, draw, step) for draw, (row, _) in zip(draws, chosen, strict=True)]
        views = [self.views(row, plan, scored) for (row, scored), plan in zip(chosen, plans, strict=True)]
        if any(one.keys() != views[0].keys() for one in views):
            named = "; ".join(sorted({", ".join(one) for one in views}))
            raise InputError(
                f"{self.what}: make_views returns several sets of views ({named}); return the same for every row"
            )
        prompts = [self.encoder.asked(row, plan) for (row, _), plan in zip(chosen, plans, strict=True)]
        batch = self.collator(list(zip(prompts, views, strict=True)))
        batch["seeds"] = None if epoch is None else torch.tensor([row_seed(self.args.seed, *draw) for draw in draws])
        batch["rows"] = torch.tensor([scored for _, scored in chosen])
        batch["ids"] = [row.problem.id for row, scored in chosen if scored]
        if self.step_group is not None:
            targets = [
                self.encoder.step_targets(row, plan, self.step_group) if scored else []
                for (row, scored), plan in zip(chosen, plans, strict=True)
            ]
            batch["steps"] = self.collator.steps(targets, self.step_group)
        return batch


def columns(batch: dict, views: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """Return token ids and mask of all columns a model reads of a batch: prompts and ``views``; fillers count as padding."""
    parts = [batch, *(batch["views"][name] for name in views)]
    masks = [part["attention_mask"] * batch["rows"].unsqueeze(1) for part in parts]
    ids = [part["input_ids"].flatten() for part in parts]
    return {"input_ids": torch.cat(ids), "attention_mask": torch.cat([mask.flatten() for mask in masks])}
