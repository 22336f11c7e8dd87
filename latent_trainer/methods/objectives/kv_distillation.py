"""KV distillation: latents learn the keys and values of the written steps, evicted to the number of latents."""

from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from torch import nn

from latent_trainer.errors import InputError
from latent_trainer.methods.distillation import Distillation, DistillationOptions
from latent_trainer.methods.eviction import best, drawn, pairs, rkv, uniform
from latent_trainer.methods.objectives.contract import Objective
from latent_trainer.methods.step import Needs, Step
from latent_trainer.options import Seed, Share, Weight

DISTANCES = {"smooth_l1": nn.functional.smooth_l1_loss, "mse": nn.functional.mse_loss}
READ_BY = {"importance": "rkv", "eviction_seed": "random"}  # options that one kind of eviction alone reads
NEEDS = Needs(
    views=("latent", "explicit"), hidden_states=("answer",), keys_values=("latents", "columns"), latents=True
)  # as its options ask least


@dataclass
class KVDistillationOptions(DistillationOptions):
    """Options of KV distillation, beside those of self-distillation (``factor`` is the weight of its hidden-state term).

    Args:
        kv_factor: weight of the term of keys and values.
        eviction: "rkv" (the R-KV score), "uniform" (evenly spread) or "random" (drawn by the steps' tokens and a seed).
        importance: lambda of the R-KV score: 1 is attention alone, 0 redundancy alone. Of "rkv" alone.
        kv_distance: "smooth_l1" (beta 1) or "mse" (squared difference).
        layerwise_std: whether to divide by the teacher's standard deviation of each layer, keys and values apart.
        eviction_seed: of "random" alone.
    """

    kv_factor: Weight = 1.0
    eviction: Literal["rkv", "uniform", "random"] = "rkv"
    importance: Share = 0.1
    kv_distance: Literal["smooth_l1", "mse"] = "smooth_l1"
    layerwise_std: bool = True
    eviction_seed: Seed = 0

    def __post_init__(self):
        usual = {one.name: one.default for one in fields(self)}
        for name, kind in READ_BY.items():
            if self.eviction != kind and getattr(self, name) != usual[name]:
                raise InputError(
                    f"objective_options.{name}={getattr(self, name)} has no effect with eviction={self.eviction}; leave it "
                    f"out, or take eviction={kind}"
                )


class KVDistillationObjective(Objective):
    """loss = CE(student) + teacher_weight x CE(teacher) + factor x D + kv_factor x KV.

    To `SelfDistillationObjective` it adds KV: of every layer l and every head of its keys, as many of the teacher's columns
    over the written steps stay as the row has latents (`latent_trainer.methods.eviction`), and in the order of time the
    k-th of them teaches the k-th latent. KV is the mean over layers of (d(keys) + d(values)) / 2, where d is the mean over
    rows of sum of d(student - teacher) / (K x heads x D) / sigma_l, K the row's latents. Where a row has fewer tokens of
    steps than latents, all of them stay, the first latents have a teacher and the others no term. The teacher is detached.
    sigma_l is the standard deviation of the teacher's keys (or values) of the layer over all written steps of the whole
    global batch. Keys are those of the cache, after rotation by their positions.

    Reads ``keys_values["latents"]`` of the view with latents, ``keys_values["columns"]`` and, for R-KV,
    ``attention["answer_to_columns"]`` of the explicit view.

    Source: Kuzina et al. 2025 (KaVa), sections 3.2 and 3.3.
    """

    Options = KVDistillationOptions
    longer_views = False
    has_teacher = True

    def __init__(self, options: KVDistillationOptions | None = None, config=None):
        super().__init__(options, config)
        own = self.options
        self.distillation = Distillation(own)
        self.looks = own.eviction == "rkv" and own.importance > 0
        self.needs = replace(NEEDS, attention=("answer_to_columns",)) if self.looks else NEEDS
        if own.normalise or own.layerwise_std:
            self.sums_needs = Needs(
                views=("explicit",),
                hidden_states=("answer",) if own.normalise else (),
                keys_values=("columns",) if own.layerwise_std else (),
            )

    def make_views(self, encoder, row, plan) -> dict:
        """Return the student's view and the teacher's."""
        return self.distillation.views(encoder, row, plan)

    def sums(self, step: Step) -> dict[str, torch.Tensor]:
        """Return ``teacher_moments`` (layers, 2) and ``kv_moments`` (layers, 2, 3): keys and values, summed and counted."""
        sums = self.distillation.sums(step) if self.options.normalise else {}
        if self.options.layerwise_std:
            steps = _steps(step)[:, None, :, None]  # (B, 1, n, 1)
            layers = step.views["explicit"].keys_values["columns"]
            sums["kv_moments"] = torch.stack([torch.stack([_moments(one, steps) for one in pair]) for pair in layers])
        return sums

    def forward(self, step: Step) -> dict[str, torch.Tensor]:
        """Return the terms ``student``, ``teacher``, ``distill`` and ``keys_values``."""
        steps = _steps(step)
        latents = step.latent_mask & step.rows.unsqueeze(1)  # type: ignore[operator]  # needs ask for latents
        taught = pairs(steps, latents)  # (B, K)
        among = latents.sum(1, keepdim=True).clamp(min=1) * max(step.counts["rows"], 1)  # (B, 1): a row's latents, all rows
        layers = step.views["latent"].keys_values["latents"]
        parts = []
        for number, (students, teachers) in enumerate(
            zip(layers, step.views["explicit"].keys_values["columns"], strict=True)
        ):
            columns = self._columns(step, number, teachers[0].detach(), steps, latents)  # (B, heads, K)
            for which, (student, teacher) in enumerate(zip(students, teachers, strict=True)):
                at = columns.unsqueeze(-1).expand(-1, student.shape[1], -1, teacher.shape[-1])
                own = self._distance(student, teacher.detach().gather(2, at), taught, among)
                parts.append(own / (2 * len(layers) * self._deviation(step, number, which, own)))
        return {**self.distillation.terms(step), "keys_values": self.options.kv_factor * torch.stack(parts).sum()}

    def _columns(self, step: Step, layer: int, keys: torch.Tensor, steps: torch.Tensor, latents: torch.Tensor):
        """Return (B, heads, K) columns of the explicit view that teach; (B, 1, K) where all heads have the same."""
        if self.options.eviction == "uniform":
            return uniform(steps, latents)
        if self.options.eviction == "random":
            ids = step.batch["views"]["explicit"]["input_ids"][:, : steps.shape[1]]
            scores = drawn(ids, steps, keys.shape[1], layer, self.options.eviction_seed)
        else:
            attention = step.views["explicit"].attention["answer_to_columns"][layer] if self.looks else None
            scores = rkv(keys, attention, steps, self.options.importance)
        return best(scores, steps, latents)

    def _distance(self, student, teacher, taught: torch.Tensor, among: torch.Tensor) -> torch.Tensor:
        """Return the distance of keys, or values, (B, heads, K, D): a sum over the latents (B, K) taught, among so many."""
        kind = torch.promote_types(student.dtype, torch.float32)
        apart = DISTANCES[self.options.kv_distance](student.to(kind), teacher.to(kind), reduction="none")
        return (apart.mean((1, 3)) * taught / among).sum()

    def _deviation(self, step: Step, layer: int, which: int, like: torch.Tensor) -> torch.Tensor | float:
        """Return sigma_l of keys (0) or values (1) over the global batch; 1 where there are none, or only equal ones."""
        if not self.options.layerwise_std:
            return 1.0
        total, squares, number = step.sums["kv_moments"][layer, which]
        deviation = ((squares - total.square() / number.clamp(min=1)) / (number - 1).clamp(min=1)).clamp(min=0).sqrt()
        return torch.where(deviation > 0, deviation, 1.0).to(like.dtype)


def _steps(step: Step) -> torch.Tensor:
    """Return (B, n), True at the columns of the explicit view with written steps; a row that fills up a batch has none."""
    view = step.batch["views"]["explicit"]
    width = max(1, view["input_ids"].shape[1] - 1)  # the last column is not read
    columns = torch.arange(width, device=view["input_ids"].device)
    return (columns < view["steps_end"].unsqueeze(1)) & step.rows.unsqueeze(1)


def _moments(states: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """Return (3,): sum, sum of squares and number of keys or values (B, heads, n, D) at columns of steps (B, 1, n, 1)."""
    kept = states.detach().double() * steps
    number = steps.sum() * states.shape[1] * states.shape[3]
    return torch.stack([kept.sum(), kept.square().sum(), number.double()])
