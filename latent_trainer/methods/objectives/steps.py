"""Step supervision: the step decoder's cross-entropy."""

from dataclasses import dataclass

import torch

from latent_trainer.methods.objectives.contract import Objective
from latent_trainer.methods.step import Step
from latent_trainer.options import Weight


@dataclass
class StepOptions:
    """Options of step supervision.

    Args:
        weight: factor of the term.
    """

    weight: Weight = 1.0


class StepObjective(Objective):
    """loss = weight x sum of the step tokens' cross-entropies / step tokens of the whole global batch.

    An auxiliary objective that adds its term to any other; see `latent_trainer.model.step_decoder.StepDecoder`.

    Reads ``step.views["steps"].token_loss`` (N,).

    Source: Wei et al. 2025 (SIM-CoT), equation 6.
    """

    Options = StepOptions

    def count(self, batch: dict) -> dict[str, int]:
        """Return the step tokens of a batch."""
        return {"steps_tokens": int((batch["steps"]["labels"] != -100).sum())}

    def forward(self, step: Step) -> dict[str, torch.Tensor]:
        """Return the term ``steps``; zero where no row of the whole global batch has a step to decode."""
        return {"steps": self.options.weight * step.views["steps"].token_loss.sum() / max(step.counts["steps_tokens"], 1)}
