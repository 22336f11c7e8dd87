"""One token drawn for every latent, which the feedback mixes into it."""

import torch

from latent_trainer.methods.policies.contract import LatentPolicy, log_probs
from latent_trainer.options import Scale, checked


class TokenPolicy(LatentPolicy):
    """Draw a token; the latent is what the feedback makes of it and of the hidden state, its log-probability that of the
    token.

    The likelihood is exact: given the hidden state, the latent is a function of the token. Gradient flows through the
    feedback and through the thought.

    Args:
        temperature: of the distribution the token is drawn from.

    Source: Yue et al. 2025, "Hybrid Latent Reasoning via Reinforcement Learning" (HRPO, arXiv 2505.18454): "stochasticity
    into latent reasoning via token sampling".
    """

    gives_tokens = True
    grows = True  # the feedback mixes in the present hidden state

    @checked
    def __init__(self, temperature: Scale = 1.0):
        self.temperature = temperature

    def sample(self, hidden, head, embed, generator, grow) -> tuple[torch.Tensor, dict]:
        """Return latents (N, H) and their tokens ``ids`` (N,)."""
        ids = generator.tokens(1, log_probs(hidden, head, self.temperature))[:, 0]
        return grow(hidden, ids), {"ids": ids}

    def replay(self, record, hidden, head, embed, grow) -> torch.Tensor:
        """Return what the present feedback makes (N, H) of the recorded tokens and hidden states (N, H)."""
        return grow(hidden, record["ids"])

    def log_prob(self, record, hidden, head, grow) -> torch.Tensor:
        """Return the tokens' log-probabilities (N,)."""
        return log_probs(hidden, head, self.temperature).gather(-1, record["ids"].unsqueeze(-1))[:, 0]
