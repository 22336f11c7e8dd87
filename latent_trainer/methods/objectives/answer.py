"""Cross-entropy of everything the model writes after its latents."""

import torch

from latent_trainer.methods.objectives.contract import Objective
from latent_trainer.methods.step import Step


class AnswerObjective(Objective):
    """loss = sum of the labelled tokens' cross-entropies / labelled tokens of the whole global batch.

    Reads ``step.views["latent"].token_loss`` (N,). The plainest objective: self-distillation adds a teacher's view to it.

    Source: Hao et al. 2024 (Coconut), section 3.
    """

    def forward(self, step: Step) -> dict[str, torch.Tensor]:
        """Return the term ``answer``."""
        return {"answer": step.views["latent"].token_loss.sum() / step.counts["latent_tokens"]}
