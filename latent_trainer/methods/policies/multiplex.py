"""Several tokens drawn for every latent, which is the mean of their embeddings."""

from typing import Literal

import torch

from latent_trainer.methods.policies.contract import LatentPolicy, log_probs
from latent_trainer.options import Positive, Scale, checked


class MultiplexPolicy(LatentPolicy):
    """Draw M tokens, each by itself; the latent is a mean of their embeddings, its log-probability the sum of log p(token).

    The likelihood is exact: it is that of the ordered tokens, of which the latent is a function. A latent the model is sure
    of is a token's embedding; one it is unsure of holds several next steps.

    Args:
        tokens: M.
        temperature: of the distribution they are drawn from.
        weights: "mean" weighs every draw alike; "probability" weighs the different tokens drawn by their renormalised
            probabilities, however often each was drawn.

    Source: Tang et al. 2026, "Multiplex Thinking: Reasoning via Token-wise Branch-and-Merge" (arXiv 2601.08808): averaged
    one-hot vectors of K independent samples, uniform or weighted by the head's probabilities, K = 3.
    """

    of_tokens = True

    @checked
    def __init__(self, tokens: Positive = 3, temperature: Scale = 1.0, weights: Literal["mean", "probability"] = "mean"):
        self.tokens, self.temperature, self.weights = tokens, temperature, weights
        self.grows = weights == "probability"  # the weights are the present model's

    def sample(self, hidden, head, embed, generator, grow) -> tuple[torch.Tensor, dict]:
        """Return latents (N, H) and their tokens ``ids`` (N, M)."""
        record = {"ids": generator.tokens(self.tokens, log_probs(hidden, head, self.temperature))}
        return self.replay(record, hidden, head, embed, grow), record

    def replay(self, record, hidden, head, embed, grow) -> torch.Tensor:
        """Return the mean (N, H) of the recorded tokens' present embeddings."""
        ids = record["ids"]  # (N, M)
        embeddings = embed(ids)  # (N, M, H)
        if self.weights == "mean":
            return embeddings.mean(-2)
        own = log_probs(hidden, head, self.temperature).gather(-1, ids)  # (N, M)
        times = (ids.unsqueeze(-1) == ids.unsqueeze(-2)).sum(-1)  # (N, M): how often each was drawn
        weights = (own - times.to(own.dtype).log()).softmax(-1)
        return (weights.to(embeddings.dtype).unsqueeze(-1) * embeddings).sum(-2)

    def log_prob(self, record, hidden, head, grow) -> torch.Tensor:
        """Return the sum (N,) of the tokens' log-probabilities."""
        return log_probs(hidden, head, self.temperature).gather(-1, record["ids"]).sum(-1)
