"""Self-distillation: one model is teacher on the written steps and student on the latents."""

from typing import Literal

import torch
from torch import nn

from latent_trainer.options import Weight, checked


class SelfDistillationObjective:
    """loss = CE(student) + teacher_weight x CE(teacher) + factor x D.

    D compares student and teacher at the last token of the answer prefix, where the teacher has read every step and the
    student only its latents: the mean over layers l of the mean over rows and units of d(s_l - t_l) / sigma_l. The teacher
    t_l is detached, sigma_l is the standard deviation of the teacher's (rows, H) slice over the whole global batch.

    Inputs: ``outputs[view].token_loss`` (N,) and ``outputs[view].hidden_states``, one (B, H) a layer, for both views. To the
    `AnswerObjective` it adds the teacher; both views share one encoding of the prompt.

    Args:
        factor: weight of D.
        teacher_weight: weight of the teacher's cross-entropy.
        distance: "smooth_l1" (beta 1) or "l2" (squared difference).
        embedding_layer: whether the embedding output counts as a layer, as CODI has it and PCCoT has not.
        normalise: whether to divide by sigma_l.
        drop_last_step: leave the last written step out of the teacher's view, so that the answer does not merely repeat it.

    Source: Shen et al. 2025 (CODI), equations 2 to 5; Wu et al. 2025 (PCCoT), section 3.3.
    """

    views = ("latent", "explicit")
    needs_hidden_states = True

    @checked
    def __init__(
        self,
        factor: Weight = 1.0,
        teacher_weight: Weight = 1.0,
        distance: Literal["smooth_l1", "l2"] = "smooth_l1",
        embedding_layer: bool = True,
        normalise: bool = True,
        drop_last_step: bool = False,
    ):
        self.factor = factor
        self.teacher_weight = teacher_weight
        self.distance = nn.functional.smooth_l1_loss if distance == "smooth_l1" else nn.functional.mse_loss
        self.first_layer = 0 if embedding_layer else 1
        self.normalise = normalise
        self.skip_last_step = drop_last_step
        self.statistics_view = "explicit" if normalise else None

    def statistics(self, outputs: dict, batch: dict) -> torch.Tensor:
        """Return sums (layers, 2) of the teacher's slice, first and second power, to be added up over the global batch."""
        slices = torch.stack(outputs["explicit"].hidden_states[self.first_layer :]).detach().double()  # (layers, B, H)
        slices = slices[:, batch["rows"]]
        return torch.stack([slices.sum((1, 2)), slices.square().sum((1, 2))], 1)  # (layers, 2)

    def __call__(self, outputs: dict, batch: dict, counts: dict) -> dict[str, torch.Tensor]:
        """Return the terms ``student``, ``teacher`` and ``distill``."""
        rows = batch["rows"]
        student = torch.stack(outputs["latent"].hidden_states[self.first_layer :])[:, rows]  # (layers, B, H)
        teacher = torch.stack(outputs["explicit"].hidden_states[self.first_layer :])[:, rows].detach()
        elements = counts["rows"] * student.shape[-1]
        per_layer = self.distance(student, teacher, reduction="none").sum((1, 2)) / elements  # (layers,)
        if self.normalise:
            total, squares = counts["statistics"].unbind(1)  # over the global batch
            deviation = ((squares - total.square() / elements) / (elements - 1)).clamp(min=0).sqrt()
            per_layer = per_layer / deviation.to(per_layer.dtype)
        return {
            "student": outputs["latent"].token_loss.sum() / counts["latent_tokens"],
            "teacher": self.teacher_weight * outputs["explicit"].token_loss.sum() / counts["explicit_tokens"],
            "distill": self.factor * per_layer.mean(),
        }
