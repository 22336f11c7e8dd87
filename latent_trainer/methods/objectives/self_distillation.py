"""Self-distillation: one model is teacher on the written steps and student on the latents."""

from dataclasses import dataclass

import torch

from latent_trainer.methods.distillation import Distillation, DistillationOptions
from latent_trainer.methods.objectives.contract import Objective
from latent_trainer.methods.step import Needs, Step

TEACHER = Needs(views=("explicit",), hidden_states=("answer",))


@dataclass
class SelfDistillationOptions(DistillationOptions):
    """Options of self-distillation: those of `latent_trainer.methods.distillation.DistillationOptions`."""


class SelfDistillationObjective(Objective):
    """loss = CE(student) + teacher_weight x CE(teacher) + factor x D.

    `latent_trainer.methods.distillation.Distillation` says what these are, and what they read. To the `AnswerObjective` it
    adds the teacher; both views share one encoding of the prompt.

    Source: Shen et al. 2025 (CODI), equations 2 to 5; Wu et al. 2025 (PCCoT), section 3.3.
    """

    Options = SelfDistillationOptions
    needs = Needs(views=("latent", "explicit"), hidden_states=("answer",))
    longer_views = False
    has_teacher = True

    def __init__(self, options: SelfDistillationOptions | None = None, config=None):
        super().__init__(options, config)
        self.distillation = Distillation(self.options)
        self.sums_needs = TEACHER if self.options.normalise else None

    def make_views(self, encoder, row, plan) -> dict:
        """Return the student's view and the teacher's."""
        return self.distillation.views(encoder, row, plan)

    def sums(self, step: Step) -> dict[str, torch.Tensor]:
        """Return ``teacher_moments`` (layers, 2)."""
        return self.distillation.sums(step)

    def forward(self, step: Step) -> dict[str, torch.Tensor]:
        """Return the terms ``student``, ``teacher`` and ``distill``."""
        return self.distillation.terms(step)
