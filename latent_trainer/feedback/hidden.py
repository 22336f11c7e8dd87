"""The hidden state itself, fed back as it is."""

import torch
from torch import nn


class HiddenFeedback(nn.Module):
    """Feed the last hidden state back as the next input embedding: z = h, or z = norm x h / |h|.

    Args:
        hidden_size: H.
        norm: length every latent is rescaled to; None leaves the hidden state untouched. ``from_base`` fills in the mean
            norm of the embedding rows for ``norm="embedding"``.

    Source: Hao et al. 2024 (Coconut), section 3 (norm=None).
    """

    sequential = True

    def __init__(self, hidden_size: int, norm: float | None = None):
        super().__init__()
        self.norm = norm

    def forward(self, hidden: torch.Tensor, embed, head) -> torch.Tensor:
        """Return the latent (B, H) for ``hidden`` (B, H)."""
        if self.norm is None:
            return hidden
        return self.norm * nn.functional.normalize(hidden, dim=-1)
