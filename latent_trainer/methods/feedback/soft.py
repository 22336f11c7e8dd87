"""The expected token embedding under the model's own next-token distribution."""

import torch
from torch import nn

from latent_trainer.methods.embeddings import expected_embedding
from latent_trainer.options import Positive, Scale, checked


class SoftFeedback(nn.Module):
    """Feed back z = sum over tokens v of softmax(head(h) / temperature)_v x embedding(v).

    Args:
        hidden_size: H.
        temperature: > 0; towards 0 the latent becomes the embedding of the likeliest token.
        top_k: keep the k likeliest tokens and renormalise; None keeps the whole vocabulary.

    Source: Zhang et al. 2025, "Soft Thinking: Unlocking the Reasoning Potential of LLMs in Continuous Concept Space".
    """

    sequential = True
    looks_up_tokens = True
    mixes_tokens = True

    @checked
    def __init__(self, hidden_size: int, temperature: Scale = 1.0, top_k: Positive | None = None):
        super().__init__()
        self.temperature = temperature
        self.top_k = top_k

    def forward(self, hidden: torch.Tensor, embed, head) -> torch.Tensor:
        """Return the latent (B, H) for ``hidden`` (B, H)."""
        return expected_embedding(hidden, embed, head, self.temperature, self.top_k)
