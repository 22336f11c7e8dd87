"""Step supervision: the step decoder's cross-entropy."""

import torch


class StepObjective:
    """loss = weight x sum of the step tokens' cross-entropies / step tokens of the whole global batch.

    An auxiliary objective that adds its term to any other; see `latent_trainer.model.step_decoder.StepDecoder`.

    Inputs: ``outputs["steps"].token_loss`` (N,).

    Args:
        weight: factor of the term.

    Source: Wei et al. 2025 (SIM-CoT), equation 6.
    """

    def __init__(self, weight: float = 1.0):
        self.weight = weight

    def __call__(self, outputs: dict, batch: dict, counts: dict) -> dict[str, torch.Tensor]:
        """Return the term ``steps``; nothing where no row of the whole global batch has a step to decode."""
        return {"steps": self.weight * outputs["steps"].token_loss.sum() / max(counts["steps_tokens"], 1)}
