"""Normal noise on the latent that the feedback makes."""

import math

import torch

from latent_trainer.methods.embeddings import Measured
from latent_trainer.methods.policies.contract import LatentPolicy, root_mean_square, wide
from latent_trainer.options import Scale, checked


class GaussianPolicy(LatentPolicy):
    """Draw z = feedback(h) + sigma x n with n standard normal; the likelihood is that density, and exact.

    Args:
        sigma: standard deviation of every entry.
        relative: as a share of the root mean square of the token embeddings' entries; False takes it as it is.

    Source: Butt et al. 2025, "Soft Tokens, Hard Truths" (arXiv 2509.19170): noise on the soft embedding, and the log-density
    of the noisy one in REINFORCE. The default share is ours.
    """

    @checked
    def __init__(self, sigma: Scale = 0.33, relative: bool = True):
        self.sigma, self.relative = sigma, relative
        self._scale = Measured(root_mean_square)

    def sample(self, hidden, head, embed, generator, grow) -> tuple[torch.Tensor, dict]:
        """Return latents (N, H), recorded as they are, with the ``sigma`` (N,) they were drawn with."""
        mean = grow(hidden)
        sigma = self.sigma * self._scale.of(embed, hidden.device) if self.relative else wide(hidden).new_tensor(self.sigma)
        latent = (mean + sigma * generator.normal(mean.shape[-1], like=mean)).to(mean.dtype)
        return latent, {"latent": latent, "sigma": sigma.to(wide(mean).dtype).expand(len(mean)).clone()}

    def replay(self, record, hidden, head, embed, grow) -> torch.Tensor:
        """Return the recorded latents (N, H)."""
        return record["latent"]

    def log_prob(self, record, hidden, head, grow) -> torch.Tensor:
        """Return the log-density (N,); ``sigma`` stays what it was, whatever became of the embeddings."""
        return normal_density(record["latent"], grow(hidden), record["sigma"].unsqueeze(-1))


def normal_density(latent: torch.Tensor, mean: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Return the log-density (N,) of latents (N, H) under independent normals of this mean and deviation per entry."""
    latent, mean, sigma = wide(latent), wide(mean), wide(sigma)
    return (-0.5 * ((latent - mean) / sigma).pow(2) - sigma.log() - 0.5 * math.log(2 * math.pi)).sum(-1)
