"""A token's embedding and the expected one, mixed by a learned gate in every dimension."""

import torch
from torch import nn

from latent_trainer.methods.embeddings import expected_embedding
from latent_trainer.options import Inside, Scale, checked

SHARPNESS = 8.0  # c of the paper's released code
HIGHEST = 0.999  # the largest share a gate starts from, as there


class GatedFeedback(nn.Module):
    """Feed back z = a x e + sqrt(1 - a^2) x i x s, entry by entry: e is the embedding of a token, s the expected embedding
    sum over tokens v of softmax(head(h) / temperature)_v x embedding(v), and the gates are made of the token:
    r = sigmoid(W_r e + b_r), i = sigmoid(W_i e + b_i), a = exp(-8 x softplus(-lambda) x r) with a learned lambda (H,).

    The token is the likeliest one, unless ``policy=token`` draws it: what is likely is then that token, and has the
    likelihood of a token. A gate starts near the token alone, so that a model begins with what it can read.

    Args:
        hidden_size: H.
        least: exp(-8 x softplus(-lambda)), the share of the token at r = 1, is spread evenly over the dimensions from this
            to 0.999 at the start.
        temperature: > 0, of the expected embedding.

    Source: Yue et al. 2025, "Hybrid Latent Reasoning via Reinforcement Learning" (HRPO, arXiv 2505.18454), whose gate is
    that of Griffin's recurrence; its code draws the first shares at random from 0.9 to 0.999.
    """

    sequential = True
    looks_up_tokens = True

    @checked
    def __init__(self, hidden_size: int, least: Inside = 0.9, temperature: Scale = 1.0):
        super().__init__()
        self.temperature = temperature
        self.reset, self.keep = nn.Linear(hidden_size, hidden_size), nn.Linear(hidden_size, hidden_size)  # of r and of i
        shares = torch.linspace(least, max(least, HIGHEST), hidden_size, dtype=torch.float64)  # (H,)
        self.decay = nn.Parameter(-(shares ** (-1 / SHARPNESS) - 1).log().to(torch.get_default_dtype()))  # lambda

    def forward(self, hidden: torch.Tensor, embed, head) -> torch.Tensor:
        """Return the latent (B, H) for ``hidden`` (B, H), with the likeliest token."""
        return self.mix(hidden, head(hidden).argmax(-1), embed, head)

    def mix(self, hidden: torch.Tensor, tokens: torch.Tensor, embed, head) -> torch.Tensor:
        """Return the latent (B, H) for ``hidden`` (B, H) with ``tokens`` (B,)."""
        token = embed(tokens)  # (B, H)
        expected = expected_embedding(hidden, embed, head, self.temperature)  # (B, H)
        gates = self.reset(token).sigmoid(), self.keep(token).sigmoid()  # (B, H) each
        wide = torch.promote_types(hidden.dtype, torch.float32)  # half precision has no a so near to 1
        exponent = -SHARPNESS * nn.functional.softplus(-self.decay.to(wide)) * gates[0]  # log a
        share, rest = exponent.exp(), (-torch.expm1(2 * exponent)).sqrt()
        return (share * token + rest * gates[1] * expected).to(hidden.dtype)
