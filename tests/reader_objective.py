"""An objective with weights of its own, as a user would add one: a head foretells every latent from the column before."""

from dataclasses import dataclass

import torch
from torch import nn

from latent_trainer.methods.objectives import Objective
from latent_trainer.methods.step import Needs, Step
from latent_trainer.options import Weight


@dataclass
class ReaderOptions:
    """Options of the reader.

    Args:
        factor: weight of its term.
    """

    factor: Weight = 0.5


class ReaderObjective(Objective):
    """loss = answer + factor x mean over latents and units of (W h + b - z)^2, h the hidden state that z grows from."""

    Options = ReaderOptions
    needs = Needs(hidden_states=("before_latents",), latents=True)

    def __init__(self, options=None, config=None):
        super().__init__(options, config)
        self.latent = config.latent_token_id
        self.head = nn.Linear(config.hidden_size, config.hidden_size)

    def count(self, batch: dict) -> dict[str, int]:
        """Return the latents of the rows that count."""
        return {"latents": int((batch["views"]["latent"]["input_ids"][batch["rows"]] == self.latent).sum())}

    def forward(self, step: Step) -> dict[str, torch.Tensor]:
        """Return the terms ``answer`` and ``reader``."""
        (before,) = step.views["latent"].hidden_states["before_latents"][-1:]  # (B, K, H)
        error = (self.head(before) - step.latents.detach()).square().mean(-1)  # (B, K)
        counted = step.latent_mask & step.rows.unsqueeze(1)
        reader = torch.where(counted, error, 0.0).sum() / max(step.counts["latents"], 1)
        return {
            "answer": step.views["latent"].token_loss.sum() / step.counts["latent_tokens"],
            "reader": self.options.factor * reader,
        }
