"""Latents that follow from the prompt: nothing is drawn, and gradient flows through the recurrence."""

import torch

from latent_trainer.methods.policies.contract import LatentPolicy


class DeterministicPolicy(LatentPolicy):
    """The latents the feedback makes, and nothing else: only written tokens have a likelihood.

    Reinforcement learning then reaches the thought through the written tokens' log-probabilities, by back-propagation
    through the rollout, and is what stock TRL does with a latent model.

    Source: SWITCH trains latents this way; its text was not at hand, and nothing here is taken from it but the idea.
    """

    stochastic = False
    grows = True

    def sample(self, hidden, head, embed, generator, grow) -> tuple[torch.Tensor, dict]:
        """Return the feedback's latents (N, H) and an empty record."""
        return grow(hidden), {}

    def replay(self, record, hidden, head, embed, grow) -> torch.Tensor:
        """Return the feedback's latents (N, H) for hidden states (N, H)."""
        return grow(hidden)

    def log_prob(self, record, hidden, head, grow) -> torch.Tensor:
        """Return zeros (N,)."""
        return hidden.new_zeros(len(hidden))
