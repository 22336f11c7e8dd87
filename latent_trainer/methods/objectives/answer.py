"""Cross-entropy of everything the model writes after its latents."""

import torch


class AnswerObjective:
    """loss = sum of the labelled tokens' cross-entropies / labelled tokens of the whole global batch.

    Inputs: ``outputs["latent"].token_loss`` (N,). The plainest objective: self-distillation adds a teacher's view to it.

    Source: Hao et al. 2024 (Coconut), section 3.
    """

    views = ("latent",)
    needs_hidden_states = False
    skip_last_step = False
    statistics_view = None

    def __call__(self, outputs: dict, batch: dict, counts: dict) -> dict[str, torch.Tensor]:
        """Return the term ``answer``."""
        return {"answer": outputs["latent"].token_loss.sum() / counts["latent_tokens"]}
