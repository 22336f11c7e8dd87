"""Gumbel noise on the likeliest tokens' log-probabilities, whose softmax weighs their embeddings."""

import torch

from latent_trainer.methods.policies.contract import LatentPolicy, log_probs
from latent_trainer.options import Positive, Scale, checked

LOWEST, HIGHEST = -1.5, 3.0  # noise of the one-sided form is cut here, before it is raised to begin at zero


class GumbelPolicy(LatentPolicy):
    """Draw scores g = log p + Gumbel noise of the k likeliest tokens; the latent is the mean of their embeddings under
    softmax(g / noise_temperature), and its log-density that of g: the sum of -m - exp(-m) over m = g - log p.

    The density is exact for g, of which the latent is a function; which tokens are the k likeliest is recorded, and counts
    as given.

    With ``one_sided`` the noise is cut to [-1.5, 3] and raised by 1.5, which leaves the latent as it was, and the same
    formula is a surrogate, no density: as m is never negative, its gradient with respect to every log p is 1 - exp(-m) >= 0,
    so that a good thought raises all tokens in it and lowers none.

    Args:
        top_k: k.
        temperature: of p.
        noise_temperature: towards 0 the latent becomes the embedding of one token.
        one_sided: take the surrogate.

    Source: Zheng et al. 2025, "SofT-GRPO" (arXiv 2511.06411): Gumbel-softmax over log p, its likelihood by
    reparameterisation; 30 tokens and temperature 0.5 in its released scripts, which choose the tokens after the noise, not
    before. Deng et al. 2026, "Latent-GRPO" (arXiv 2604.27998): one-sided noise; cut and raise as in a public port of its
    sampler, the likelihood's exact form was not found.
    """

    of_tokens = True

    @checked
    def __init__(
        self,
        top_k: Positive = 30,
        temperature: Scale = 1.0,
        noise_temperature: Scale = 0.5,
        one_sided: bool = False,
    ):
        self.top_k, self.temperature = top_k, temperature
        self.noise_temperature, self.one_sided = noise_temperature, one_sided

    def sample(self, hidden, head, embed, generator, grow) -> tuple[torch.Tensor, dict]:
        """Return latents (N, H) and the tokens ``ids`` (N, k) with their ``scores`` g (N, k)."""
        chances = log_probs(hidden, head, self.temperature)  # (N, V)
        likeliest, ids = chances.topk(min(self.top_k, chances.shape[-1]), dim=-1)  # (N, k)
        noise = generator.gumbel(ids.shape[-1], like=likeliest)
        if self.one_sided:
            noise = noise.clamp(LOWEST, HIGHEST) - LOWEST
        record = {"ids": ids, "scores": likeliest + noise}
        return self.replay(record, None, head, embed, grow), record

    def replay(self, record, hidden, head, embed, grow) -> torch.Tensor:
        """Return the weighted mean (N, H) of the recorded tokens' present embeddings."""
        embeddings = embed(record["ids"])  # (N, k, H)
        weights = (record["scores"] / self.noise_temperature).softmax(-1)
        return (weights.to(embeddings.dtype).unsqueeze(-1) * embeddings).sum(-2)

    def log_prob(self, record, hidden, head, grow) -> torch.Tensor:
        """Return the log-density (N,) of the scores, or the surrogate."""
        above = record["scores"] - log_probs(hidden, head, self.temperature).gather(-1, record["ids"])  # (N, k)
        return (-above - (-above).exp()).sum(-1)
