"""The loss of a step: global counts and sums first, then one call of the model, then the objective's terms."""

import torch
from accelerate.utils import gather_object
from torch import nn

from latent_trainer.compat import prepared
from latent_trainer.errors import InputError, TrainingError
from latent_trainer.methods.objectives import Objective
from latent_trainer.methods.objectives.steps import StepObjective
from latent_trainer.methods.step import Needs, Step, Totals, make_step
from latent_trainer.training.batches import columns
from latent_trainer.training.checkpoints import last_good
from latent_trainer.training.objective_checks import check_counts, check_sums, check_terms


class Scoring:
    """How a `Trainer` computes its loss; comes before `Trainer`, whose own loss is one of labels.

    The class it is mixed into has ``train_objective`` and ``step_objective``.
    """

    train_objective: Objective
    step_objective: StepObjective | None
    _term_sums: dict[str, torch.Tensor]
    _count_sums: dict[str, int]
    _steps_summed: int

    @property
    def _what(self) -> str:
        """What messages call the objective."""
        return f"objective '{self.args.objective}'"

    def _forget_terms(self) -> None:
        """Begin to add up the terms and counts that are logged."""
        self._term_sums, self._count_sums, self._steps_summed = {}, {}, 0

    def _add_counts(self, totals: Totals) -> None:
        """Add up what the objective counts of a step and wants logged."""
        for name in self.train_objective.logged_counts:
            self._count_sums[name] = self._count_sums.get(name, 0) + totals.counts[name]

    @property
    def _objectives(self) -> list[Objective]:
        """The objective, and that of the step decoder where there is one."""
        return [self.train_objective] + ([] if self.step_objective is None else [self.step_objective])

    def _totals(self, model: nn.Module, batches: list[dict], one_by_one: bool = False) -> Totals:
        """Return what the batches of a step, or of an evaluation, add up to over all processes.

        Args:
            model: as it is wrapped for training.
            batches: all of them.
            one_by_one: whether a single batch takes its sums of the outputs it has anyway, see `_sums`.
        """
        totals = Totals(self._counts(batches))
        if self.train_objective.sums_needs is not None and not (one_by_one and self._sums_later(batches)):
            totals.sums = self._sums(model, batches, totals.counts)
        return totals

    def _sums_later(self, batches: list[dict]) -> bool:
        return len(batches) == 1 and not self.train_objective.in_model

    def _counts(self, batches: list[dict]) -> dict[str, int]:
        """Count rows, labelled tokens per view and what objectives count, over all processes and accumulation steps."""
        totals: dict[str, int] = {}
        for batch in batches:
            own = {"rows": int(batch["rows"].sum())}
            own |= {f"{name}_tokens": int((view["labels"] != -100).sum()) for name, view in batch["views"].items()}
            for objective in reversed(self._objectives):  # the one that a plug-in may have written counts last
                own |= check_counts(self._what, objective.count(batch), own)
            if totals and own.keys() != totals.keys():
                raise InputError(
                    f"{self._what}: batches count {', '.join(totals)} or {', '.join(own)}; count the same in all"
                )
            totals = {name: totals.get(name, 0) + number for name, number in own.items()}
        total = torch.tensor(list(totals.values()), device=self.args.device)
        total = self.accelerator.reduce(total, "sum").tolist()
        return dict(zip(totals, total, strict=True))

    @torch.no_grad()
    def _sums(self, model: nn.Module, batches: list[dict], counts: dict) -> dict[str, torch.Tensor]:
        """Add up the objective's sums over several batches and all processes, in passes of their own.

        Needed only where the terms of a batch depend on batches that come after it; a single batch takes its sums from the
        outputs it has anyway.
        """
        totals: dict[str, torch.Tensor] = {}
        for batch in batches:
            inputs = prepared(self, {**batch, "steps": None})
            outputs = self._outputs(model, inputs, self.train_objective.sums_needs)
            sums = self.train_objective.sums(self._step(outputs, inputs, Totals(counts)))
            for name, value in check_sums(self._what, sums).items():
                totals[name] = totals.get(name, 0.0) + value
        return self._reduced(totals)

    def _reduced(self, totals: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: self.accelerator.reduce(value, "sum") for name, value in totals.items()}

    def _outputs(self, model: nn.Module, batch: dict, needs: Needs | None = None, totals: Totals | None = None) -> dict:
        """Return the model's outputs per view of a batch on the device.

        Args:
            model: as it is wrapped for training.
            batch: on the device.
            needs: what is read; by default what the objective needs.
            totals: with which an objective that is a part of the model computes its terms there.
        """
        needs = self.train_objective.needs if needs is None else needs
        return model(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            views=batch["views"],
            steps=batch.get("steps"),
            needs=needs,
            scored=None if totals is None else self._scored_with(batch, totals),
            label_smoothing=self.args.label_smoothing_factor,
        )

    @staticmethod
    def _scored_with(batch: dict, totals: Totals) -> dict:
        """Return what an objective that is a part of the model is given beside the model's own inputs."""
        own = {name: batch[name] for name in ("rows", "seeds")}
        return {**own, "counts": totals.counts, "sums": totals.sums or {}}

    def _step(self, outputs: dict, batch: dict, totals: Totals) -> Step:
        """Return what an objective is given of outputs and their batch."""
        return make_step(outputs, batch, totals.counts, totals.sums)

    def _terms(self, outputs: dict, batch: dict, totals: Totals) -> dict[str, torch.Tensor]:
        """Return the objective's terms, and the step decoder's where there is one."""
        outputs = dict(outputs)
        terms = outputs.pop("terms", None)
        step = self._step(outputs, batch, totals)
        terms = self.train_objective(step) if terms is None else terms
        more = {} if self.step_objective is None else self.step_objective(step)
        return check_terms(self._what, terms, more) | more

    def _scored(self, model: nn.Module, batch: dict, totals: Totals) -> tuple[dict, dict[str, torch.Tensor]]:
        """Return outputs and terms of a batch on the device, from one call of the model."""
        objective = self.train_objective
        outputs = self._outputs(model, batch, totals=totals if objective.in_model else None)
        if objective.sums_needs is not None and totals.sums is None:
            sums = check_sums(self._what, objective.sums(self._step(outputs, batch, totals)))
            totals = Totals(totals.counts, self._reduced(sums))
        return outputs, self._terms(outputs, batch, totals)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Return the sum of the objective's terms, scaled so that averaging over processes gives the global loss."""
        outputs, terms = self._scored(model, inputs, num_items_in_batch)
        for name, term in terms.items():
            self._term_sums[name] = self._term_sums.get(name, 0.0) + term.detach()
        loss = sum(terms.values()) * self.accelerator.num_processes
        if model.training and torch.is_grad_enabled() and not loss.requires_grad:
            raise InputError(f"{self._what}: no term has a gradient; compute them from what step.views hold")
        if not torch.isfinite(loss):
            wrong = ", ".join(name for name, term in terms.items() if not torch.isfinite(term)) if len(terms) > 1 else ""
            raise TrainingError(
                f"the loss is {loss.item()} at step {self.state.global_step + 1}{wrong and f' (of {wrong})'}, "
                f"problems {inputs['ids']}; "
                f"start a run with a lower learning_rate or without those problems; {last_good(self.args.output_dir)}"
            )
        return (loss, outputs) if return_outputs else loss

    def _track_num_input_tokens(self, inputs: dict) -> None:
        super()._track_num_input_tokens(columns(inputs, self.train_objective.needs.views))

    def floating_point_ops(self, inputs: dict) -> int:
        """Return the operations of a training step, estimated from all columns it reads."""
        return super().floating_point_ops(columns(inputs, self.train_objective.needs.views))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the stage, the objective's terms where there is more than one, and counts it wants logged, per step."""
        logs["stage"] = self.stages.stage
        if "loss" in logs:
            names = dict.fromkeys(name for own in gather_object([list(self._term_sums)]) for name in own)
            if len(names) > 1:
                zero = torch.zeros_like(next(iter(self._term_sums.values())))
                for name in names:  # a rank without latents in any row may have fewer terms
                    total = self._term_sums.get(name, zero)
                    logs[f"loss_{name}"] = self.accelerator.reduce(total, "sum").item() / self._steps_summed
            steps = self._steps_summed
            logs |= {name: number / steps for name, number in self._count_sums.items()}
            self._forget_terms()
        super().log(logs, start_time)
