"""The contract of policies: every one of the library keeps it, and what breaks it is named in a sentence."""

import pytest
import torch

from latent_trainer.methods.policies import POLICIES, LatentPolicy
from latent_trainer.methods.policies.gaussian import GaussianPolicy
from latent_trainer.testing import PolicyContract, check_policy

OPTIONS = [(name, {}) for name in POLICIES] + [("multiplex", {"weights": "probability"}), ("gumbel", {"one_sided": True})]


@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=str)
def test_the_librarys_own(name, options):
    check_policy(name, options)


class TestGaussian(PolicyContract):
    policy, options, settings = "gaussian", {"sigma": 0.2}, {"feedback": "projection"}


class OneStream(GaussianPolicy):
    def sample(self, hidden, head, embed, generator, grow):
        torch.manual_seed(0)
        latent = grow(hidden) + torch.randn(hidden.shape, dtype=hidden.dtype).cumsum(0).flip(0)
        return latent, {"latent": latent, "sigma": hidden.new_ones(len(hidden))}


class Forgets(GaussianPolicy):
    def replay(self, record, hidden, head, embed, grow):
        return record["latent"] * 0


class Detached(GaussianPolicy):
    def log_prob(self, record, hidden, head, grow):
        return super().log_prob(record, hidden, head, grow).detach()


class Together(GaussianPolicy):
    def log_prob(self, record, hidden, head, grow):
        return super().log_prob(record, hidden, head, grow).sum()


class Still(GaussianPolicy):
    def sample(self, hidden, head, embed, generator, grow):
        return grow(hidden), {"latent": grow(hidden), "sigma": hidden.new_ones(len(hidden))}


class Nothing(LatentPolicy):
    pass


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        (OneStream, "draws another latent for a row alone than among others"),
        (Forgets, "replays another latent than it drew"),
        (Detached, "give no gradient back to the hidden states"),
        (Together, r"gives log-probabilities \(\) for 5 latents; give \(5,\)"),
        (Still, "draws the same latents under other seeds; say stochastic = False"),
        (Nothing, "Nothing must define sample"),
    ],
)
def test_what_breaks_it(policy, says):
    with pytest.raises(AssertionError, match=says):
        check_policy(policy)
