"""Latents under dropout of the hidden state they grow from, with the normal distribution that recomputations give."""

from typing import Annotated, Literal

import torch

from latent_trainer.methods.embeddings import Measured
from latent_trainer.methods.policies.contract import LatentPolicy, root_mean_square, wide
from latent_trainer.methods.policies.gaussian import normal_density
from latent_trainer.options import Bounds, Dropout, Scale, checked


class DropoutPolicy(LatentPolicy):
    """Recompute the latent under several dropout masks, and draw from the normal distribution of their mean and variance.

    The masks drop entries of the hidden state before the feedback reads it. They come from a seed that is recorded, so that
    new mean and variance are of the same masks: given them the density is exact where the latent is drawn from it
    (``drawn="gaussian"``), and an approximation where the latent is one more recomputation (``drawn="dropout"``).

    Args:
        p: probability of dropping an entry.
        recomputations: masks that mean and variance are of.
        floor: smallest standard deviation, as a share of the root mean square of the token embeddings' entries; an entry
            that no mask changes has no variance of its own.
        drawn: from what the latent is drawn.

    Source: SLPO (arXiv 2607.19691) scores latents under dropout by a diagonal normal distribution of recomputations; its
    text was not found, so that where the masks act, their number and the floor are ours.
    """

    @checked
    def __init__(
        self,
        p: Dropout = 0.1,
        recomputations: Annotated[int, Bounds(least=2)] = 8,
        floor: Scale = 0.1,
        drawn: Literal["gaussian", "dropout"] = "gaussian",
    ):
        self.p, self.recomputations, self.floor, self.drawn = p, recomputations, floor, drawn
        self._scale = Measured(root_mean_square)

    def sample(self, hidden, head, embed, generator, grow) -> tuple[torch.Tensor, dict]:
        """Return latents (N, H), recorded as they are, with the ``seed`` (N,) of their masks and the ``floor`` (N,)."""
        seed = generator.seeds(hidden.device)
        floor = (self.floor * self._scale.of(embed, hidden.device)).expand(len(hidden)).clone()
        record = {"seed": seed, "floor": floor}
        if self.drawn == "dropout":
            kept = generator.uniform(hidden.shape[-1], like=hidden) >= self.p
            latent = grow(hidden * kept / (1 - self.p))
        else:
            mean, sigma = self._moments(record, hidden, grow)
            latent = (mean + sigma * generator.normal(mean.shape[-1], like=mean)).to(hidden.dtype)
        return latent, {"latent": latent, **record}

    def replay(self, record, hidden, head, embed, grow) -> torch.Tensor:
        """Return the recorded latents (N, H)."""
        return record["latent"]

    def log_prob(self, record, hidden, head, grow) -> torch.Tensor:
        """Return the log-density (N,) under mean and variance of the recorded masks."""
        return normal_density(record["latent"], *self._moments(record, hidden, grow))

    def _moments(self, record, hidden: torch.Tensor, grow) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and standard deviation (N, H) of the recomputed latents."""
        number, size = hidden.shape
        kept = torch.stack([_masks(int(seed), self.recomputations, size, self.p) for seed in record["seed"]])
        dropped = hidden.unsqueeze(1) * kept.to(hidden.device, hidden.dtype) / (1 - self.p)  # (N, n, H)
        latents = wide(grow(dropped.reshape(-1, size))).reshape(number, self.recomputations, -1)
        variance = latents.var(1, unbiased=False) + wide(record["floor"]).unsqueeze(-1) ** 2
        return latents.mean(1), variance.sqrt()


def _masks(seed: int, number: int, size: int, p: float) -> torch.Tensor:
    """Return masks (number, size), the same on every device."""
    return torch.rand(number, size, generator=torch.Generator().manual_seed(seed)) >= p
