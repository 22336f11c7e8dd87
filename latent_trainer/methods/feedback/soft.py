"""The expected token embedding under the model's own next-token distribution."""

import torch
from torch import nn

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
    mixes_tokens = True

    @checked
    def __init__(self, hidden_size: int, temperature: Scale = 1.0, top_k: Positive | None = None):
        super().__init__()
        self.temperature = temperature
        self.top_k = top_k

    def forward(self, hidden: torch.Tensor, embed, head) -> torch.Tensor:
        """Return the latent (B, H) for ``hidden`` (B, H)."""
        scores = head(hidden) / self.temperature  # (B, V)
        if self.top_k is None:
            tokens = torch.arange(scores.shape[-1], device=scores.device)
            return scores.softmax(-1).to(hidden.dtype) @ embed(tokens)  # (B, V) @ (V, H)
        scores, tokens = scores.topk(self.top_k, dim=-1)  # (B, k)
        return (scores.softmax(-1).to(hidden.dtype).unsqueeze(-1) * embed(tokens)).sum(-2)  # (B, k, H) -> (B, H)
