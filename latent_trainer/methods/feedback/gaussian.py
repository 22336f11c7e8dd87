"""A latent head: a normal distribution over the next input embedding, of which the mean is fed back."""

from typing import Literal

import torch
from torch import nn

from latent_trainer.methods.embeddings import Measured
from latent_trainer.options import Positive, Scale, checked


def deviation(embeddings: torch.Tensor) -> torch.Tensor:
    """Return the standard deviation of all numbers of embeddings (V, H)."""
    return embeddings.float().std()


class GaussianFeedback(nn.Module):
    """Feed back z = u x mean(f), with f = LayerNorm(W2 GELU(W1 h)); the head says log std(f), too.

    Mean and deviation are in units of u, so that what they are trained on has about unit variance whatever the model.

    Args:
        hidden_size: H.
        size: inner width; None takes H.
        embeds_std: u, the standard deviation of the numbers in the table of token embeddings; "measured" takes that of the
            table as it is now.

    Source: Tan et al. 2025 (CoLaR), section 3.2, "latent head".
    """

    sequential = True

    @checked
    def __init__(self, hidden_size: int, size: Positive | None = None, embeds_std: Scale | Literal["measured"] = "measured"):
        super().__init__()
        size = size or hidden_size
        self.fc = nn.Sequential(nn.Linear(hidden_size, size), nn.GELU(), nn.Linear(size, size), nn.LayerNorm(size))
        self.mean, self.log_std = nn.Linear(size, hidden_size), nn.Linear(size, hidden_size)
        self.embeds_std = embeds_std
        self.looks_up_tokens = embeds_std == "measured"
        self._measured = Measured(deviation)

    def train(self, mode: bool = True) -> "GaussianFeedback":
        """Set the mode, as the trainer does before every step, and measure anew after it."""
        self._measured.forget()
        return super().train(mode)

    def distribution(self, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and log std (.., H) of the next input embedding after ``hidden`` (.., H), in units of `unit`."""
        features = self.fc(hidden)  # (.., size)
        return self.mean(features), self.log_std(features)

    def unit(self, embed, device: torch.device) -> float | torch.Tensor:
        """Return u; ``embed`` maps token ids to input embeddings."""
        return self._measured.of(embed, device) if self.embeds_std == "measured" else self.embeds_std

    def forward(self, hidden: torch.Tensor, embed, head) -> torch.Tensor:
        """Return the latent (B, H) for ``hidden`` (B, H)."""
        mean, _ = self.distribution(hidden)
        return (mean * self.unit(embed, hidden.device)).to(mean.dtype)
