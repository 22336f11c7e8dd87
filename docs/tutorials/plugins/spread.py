"""Coconut with latents that are pushed apart: neighbouring latents that point the same way cost something."""

from dataclasses import dataclass

import torch

from latent_trainer import register_method, register_objective
from latent_trainer.methods.objectives.contract import Objective
from latent_trainer.methods.presets import Method
from latent_trainer.methods.step import Needs, Step
from latent_trainer.options import Weight


@dataclass
class SpreadOptions:
    """Options of the objective.

    Args:
        weight: factor of the penalty, at least 0.
    """

    weight: Weight = 0.1


@register_objective("spread")
class SpreadObjective(Objective):
    """The answer's cross-entropy, plus weight x the mean cosine similarity of neighbouring latents, averaged over rows."""

    Options = SpreadOptions
    needs = Needs(latents=True)  # nothing else is computed for it

    def forward(self, step: Step) -> dict[str, torch.Tensor]:
        """Return the terms ``answer`` and ``spread``, each a sum over a count of the whole global batch."""
        answer = step.views["latent"].token_loss.sum() / step.counts["latent_tokens"]
        alike = torch.cosine_similarity(step.latents[:, :-1], step.latents[:, 1:], dim=-1)  # (B, K - 1)
        pairs = step.latent_mask[:, 1:] & step.rows[:, None]  # (B, K - 1): padding and filler rows do not count
        of_row = (alike * pairs).sum(1) / pairs.sum(1).clamp(min=1)  # (B,)
        return {"answer": answer, "spread": self.options.weight * of_row.sum() / step.counts["rows"]}


register_method(
    "spread_coconut",
    Method(
        "ours: Coconut (Hao et al. 2024) with latents that are pushed apart",
        {
            "objective": "spread",
            "feedback": "hidden",
            "feedback_options": {"norm": "embedding"},
            "curriculum": "staged",
            "latents_per_step": 1,
            "max_stage": 3,
        },
    ),
)
