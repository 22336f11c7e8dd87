"""A trained projection of the hidden state."""

import torch
from torch import nn

from latent_trainer.options import Dropout, Positive, checked


class ProjectionFeedback(nn.Module):
    """Feed back z = LayerNorm(W2 GELU(W1 dropout(h))).

    Args:
        hidden_size: H.
        size: inner width; None takes H.
        dropout: probability of dropping an entry of ``h`` in training.
        layer_norm: whether the LayerNorm ends the projection.

    Source: Shen et al. 2025 (CODI), section 3.1.
    """

    sequential = True
    looks_up_tokens = False

    @checked
    def __init__(
        self,
        hidden_size: int,
        size: Positive | None = None,
        dropout: Dropout = 0.0,
        layer_norm: bool = True,
    ):
        super().__init__()
        size = size or hidden_size
        layers = [nn.Dropout(dropout), nn.Linear(hidden_size, size), nn.GELU(), nn.Linear(size, hidden_size)]
        if layer_norm:
            layers.append(nn.LayerNorm(hidden_size))
        self.projection = nn.Sequential(*layers)

    def forward(self, hidden: torch.Tensor, embed, head) -> torch.Tensor:
        """Return the latent (B, H) for ``hidden`` (B, H)."""
        return self.projection(hidden)
