"""Self-distillation: one model is teacher on the written steps and student on the latents; parts that objectives share."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from latent_trainer.methods.step import Step
from latent_trainer.options import Weight

DISTANCES = {"smooth_l1": nn.functional.smooth_l1_loss, "l2": nn.functional.mse_loss}


@dataclass
class DistillationOptions:
    """Options of self-distillation.

    Args:
        factor: weight of D.
        teacher_weight: weight of the teacher's cross-entropy.
        distance: "smooth_l1" (beta 1) or "l2" (squared difference).
        embedding_layer: whether the embedding output counts as a layer, as CODI has it and PCCoT has not.
        normalise: whether to divide by sigma_l.
        drop_last_step: leave the last written step out of the teacher's view, so that the answer does not merely repeat it.
    """

    factor: Weight = 1.0
    teacher_weight: Weight = 1.0
    distance: Literal["smooth_l1", "l2"] = "smooth_l1"
    embedding_layer: bool = True
    normalise: bool = True
    drop_last_step: bool = False


class Distillation:
    """Views, sums and terms of CE(student) + teacher_weight x CE(teacher) + factor x D.

    D compares student and teacher at the last token of the answer prefix, where the teacher has read every step and the
    student only its latents: the mean over layers l of the mean over rows and units of d(s_l - t_l) / sigma_l. The teacher
    t_l is detached, sigma_l is the standard deviation of the teacher's (rows, H) slice over the whole global batch.

    Reads ``token_loss`` (N,) and ``hidden_states["answer"]``, one (B, H) a layer, of both views.

    Args:
        options: see there.

    Source: Shen et al. 2025 (CODI), equations 2 to 5; Wu et al. 2025 (PCCoT), section 3.3.
    """

    def __init__(self, options: DistillationOptions):
        self.options = options
        self.first_layer = 0 if options.embedding_layer else 1

    def views(self, encoder, row, plan) -> dict:
        """Return the student's view and the teacher's."""
        explicit = encoder.explicit_view(row, self.options.drop_last_step)
        return {"latent": encoder.latent_view(row, plan), "explicit": explicit}

    def sums(self, step: Step) -> dict[str, torch.Tensor]:
        """Return ``teacher_moments`` (layers, 2): sums of the teacher's slice and of its squares."""
        slices = self._slices(step, "explicit").detach().double()  # (layers, B, H)
        return {"teacher_moments": torch.stack([slices.sum((1, 2)), slices.square().sum((1, 2))], 1)}

    def terms(self, step: Step) -> dict[str, torch.Tensor]:
        """Return the terms ``student``, ``teacher`` and ``distill``."""
        student, teacher = self._slices(step, "latent"), self._slices(step, "explicit").detach()  # (layers, B, H)
        counts, views = step.counts, step.views
        elements = counts["rows"] * student.shape[-1]
        distance = DISTANCES[self.options.distance]
        per_layer = distance(student, teacher, reduction="none").sum((1, 2)) / elements  # (layers,)
        if self.options.normalise:
            total, squares = step.sums["teacher_moments"].unbind(1)  # over the global batch
            deviation = ((squares - total.square() / elements) / (elements - 1)).clamp(min=0).sqrt()
            per_layer = per_layer / deviation.to(per_layer.dtype)
        return {
            "student": views["latent"].token_loss.sum() / counts["latent_tokens"],
            "teacher": self.options.teacher_weight * views["explicit"].token_loss.sum() / counts["explicit_tokens"],
            "distill": self.options.factor * per_layer.mean(),
        }

    def _slices(self, step: Step, view: str) -> torch.Tensor:
        """Return the hidden states (layers, B, H) of a view before its answer, without rows that fill up a batch."""
        return torch.stack(step.views[view].hidden_states["answer"][self.first_layer :])[:, step.rows]
