"""The hidden state and the expected token embedding, mixed."""

import math
from typing import Literal

import torch
from torch import nn

from latent_trainer.errors import InputError
from latent_trainer.methods.embeddings import Measured, expected_embedding, mean_norm
from latent_trainer.options import Positive, Scale, Share, checked


class FusedFeedback(nn.Module):
    """Feed back z = w x h + (1 - w) x sum over tokens v of softmax(head(h) / temperature)_v x embedding(v).

    The hidden state carries the context, the expected embedding what the model would write next, in the space that inputs
    come from.

    Args:
        hidden_size: H.
        weight: w, the share of the hidden state; where it is learned, the one training starts from.
        learned: whether w = sigmoid(b) is trained.
        norm: of the hidden state before it is mixed: None leaves it untouched, "embedding" takes the present mean norm of
            token embeddings, a number is taken as it is.
        temperature: > 0, of the expected embedding.
        top_k: keep the k likeliest tokens and renormalise; None keeps the whole vocabulary.

    Raises:
        InputError: a learned weight that starts at 0 or 1, where no training moves it.

    Source: Liu, Min & Cheng 2026 (LT-Tuning), "Latent Thoughts Tuning: Bridging Context and Reasoning with Fused Information
    in Latent Tokens", context-prediction fusion.
    """

    sequential = True
    looks_up_tokens = True

    @checked
    def __init__(
        self,
        hidden_size: int,
        weight: Share = 0.5,
        learned: bool = False,
        norm: Scale | Literal["embedding"] | None = None,
        temperature: Scale = 1.0,
        top_k: Positive | None = None,
    ):
        super().__init__()
        if learned and weight in (0, 1):
            raise InputError(f"weight={weight} with learned=True never moves; start between 0 and 1, or leave learned out")
        self.weight, self.norm = weight, norm
        self.temperature, self.top_k = temperature, top_k
        self.bias = nn.Parameter(torch.tensor(math.log(weight / (1 - weight)))) if learned else None  # b
        self._measured = Measured(mean_norm)

    def train(self, mode: bool = True) -> "FusedFeedback":
        """Set the mode, as the trainer does before every step, and measure anew after it."""
        self._measured.forget()
        return super().train(mode)

    def forward(self, hidden: torch.Tensor, embed, head) -> torch.Tensor:
        """Return the latent (B, H) for ``hidden`` (B, H)."""
        expected = expected_embedding(hidden, embed, head, self.temperature, self.top_k)  # (B, H)
        if self.norm is not None:
            norm = self._measured.of(embed, hidden.device) if self.norm == "embedding" else self.norm
            hidden = norm * nn.functional.normalize(hidden, dim=-1)
        share = self.weight if self.bias is None else self.bias.sigmoid().to(hidden.dtype)
        return share * hidden + (1 - share) * expected
