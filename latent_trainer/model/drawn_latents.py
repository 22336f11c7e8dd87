"""Thoughts that differ from one answer to the next: what `generate` is asked about the drawing of latents."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from latent_trainer.errors import InputError, check_choice
from latent_trainer.methods.policies import POLICIES, build_policy, check_fit
from latent_trainer.methods.policies.contract import LatentPolicy
from latent_trainer.options import Dropout, Scale, conform
from latent_trainer.rollout.settings import refuse_repeated
from latent_trainer.rollout.thoughts import SampledThoughts, using

NOISE_STD = 0.1
DROPOUT_P = 0.1


@dataclass(frozen=True)
class Drawing:
    """How latents are drawn at generation.

    Args:
        by: "noise" adds normal noise to every latent, "dropout" drops entries of the hidden state it grows from; or a key of
            ``POLICIES``.
        noise_std: standard deviation of that noise, as it is added; by default `NOISE_STD`.
        dropout_p: probability of dropping an entry; by default `DROPOUT_P`.
        options: of any other policy.

    Source: You et al. 2025, "Parallel Test-Time Scaling for Latent Reasoning Models" (LatentTTS, arXiv 2510.07745): additive
    Gaussian noise and Monte Carlo dropout, and the names.
    """

    by: str = "noise"
    noise_std: float | None = None
    dropout_p: float | None = None
    options: dict | None = None

    def policy(self) -> LatentPolicy:
        """Return the policy that draws.

        Raises:
            InputError: no such way, or a setting of another one.
        """
        for name, way in (("noise_std", "noise"), ("dropout_p", "dropout")):
            value = getattr(self, name)
            if value is not None and self.by != way:
                raise InputError(f"{name}={value} is of latent_do_sample_by={way}, and it is {self.by}; leave {name} out")
        if self.by in ("noise", "dropout"):
            if self.options:
                raise InputError(
                    f"latent_options are of a policy, and latent_do_sample_by={self.by} is none; leave them out"
                )
            if self.by == "noise":
                sigma = conform("noise_std", NOISE_STD if self.noise_std is None else self.noise_std, Scale)
                return build_policy("gaussian", {"sigma": sigma, "relative": False})
            p = conform("dropout_p", DROPOUT_P if self.dropout_p is None else self.dropout_p, Dropout)
            return build_policy("dropout", {"p": p, "drawn": "dropout"})
        if ":" not in self.by:
            check_choice("latent_do_sample_by", self.by, ["noise", *POLICIES.names()])
        return build_policy(self.by, self.options, "latent_do_sample_by")

    def of(self, model: nn.Module, rows: int, seeds: Sequence[int] | None):
        """Return a context in which the latents of a model's calls are drawn.

        Args:
            model: a latent model.
            rows: rows of the prompts.
            seeds: one a row; by default they are drawn from torch's own generator.

        Raises:
            InputError: a policy that does not fit the model's feedback or rollout, or another number of seeds.
        """
        policy = self.policy()
        check_fit(self.by, policy, model.config.feedback, model.feedback)
        if seeds is not None and len(seeds) != rows:
            raise InputError(f"latent_seeds has {len(seeds)} seeds for {rows} prompts; give one a prompt")
        if not policy.stochastic:
            return contextlib.nullcontext()
        refuse_repeated(model.config.rollout)
        return using(model, SampledThoughts(policy, torch.randint(2**31, (rows,)).tolist() if seeds is None else seeds))


def drawing_of(latent_do_sample: bool, **settings) -> Drawing | None:
    """Return how latents are drawn, None where they are not.

    Args:
        latent_do_sample: whether they are.
        settings: fields of `Drawing`, None where nobody has set them.

    Raises:
        InputError: settings of the drawing where nothing is drawn.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    if latent_do_sample:
        return Drawing(**given)
    if given:
        one = next(iter(given))
        name = {"by": "latent_do_sample_by", "options": "latent_options"}.get(one, one)
        raise InputError(f"{name}={given[one]} has no effect without latent_do_sample=True; set both or neither")
    return None
