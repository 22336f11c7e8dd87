"""Policies: how a latent is drawn where latents are to differ from one answer to the next, and how likely it was.

One file a policy, one line below. A policy derives from `latent_trainer.methods.policies.contract.LatentPolicy`; the
annotations of its constructor state type and range of every option (`latent_trainer.options`). It has

- ``sample(hidden, head, embed, generator, grow) -> (latent, record)``: draws latents (N, H) and says what was drawn,
- ``replay(record, hidden, head, embed, grow) -> latent``: makes the same latents again, under changed weights, and
- ``log_prob(record, hidden, head, grow) -> (N,)``: says how likely they are.

Whoever runs a rollout with a policy need not know which one it is: `latent_trainer.rollout.thoughts`.
"""

import inspect

from torch import nn

from latent_trainer.errors import InputError
from latent_trainer.methods.policies.contract import LatentPolicy
from latent_trainer.methods.policies.deterministic import DeterministicPolicy
from latent_trainer.methods.policies.dropout import DropoutPolicy
from latent_trainer.methods.policies.gaussian import GaussianPolicy
from latent_trainer.methods.policies.gumbel import GumbelPolicy
from latent_trainer.methods.policies.multiplex import MultiplexPolicy
from latent_trainer.methods.policies.token import TokenPolicy
from latent_trainer.options import check_options
from latent_trainer.registry import Registry


def take_policy(name: str, entry) -> type[LatentPolicy]:
    """Return a policy that a plug-in registers, an `InputError` in one line where it keeps not to the contract."""
    if not (isinstance(entry, type) and issubclass(entry, LatentPolicy)):
        raise InputError(
            f"policy '{name}' must be a class derived from {LatentPolicy.__module__}.LatentPolicy; got {entry!r}"
        )
    for method in ("sample", "replay", "log_prob"):
        own, stated = getattr(entry, method), getattr(LatentPolicy, method)
        if own is stated or len(inspect.signature(own).parameters) != len(inspect.signature(stated).parameters):
            taken = ", ".join(inspect.signature(stated).parameters)
            raise InputError(f"policy '{name}': {entry.__name__} must define {method}({taken})")
    return entry


POLICIES = Registry(
    "policy",
    {
        "deterministic": DeterministicPolicy,
        "dropout": DropoutPolicy,
        "gaussian": GaussianPolicy,
        "gumbel": GumbelPolicy,
        "multiplex": MultiplexPolicy,
        "token": TokenPolicy,
    },
    take_policy,
)


def build_policy(name: str, options: dict | None = None, setting: str = "policy") -> LatentPolicy:
    """Return a policy with its options.

    Args:
        name: a key of ``POLICIES``.
        options: keyword arguments of the policy.
        setting: what a message calls the setting.

    Raises:
        InputError: no such policy or option, or a value it does not take; in one line.
    """
    entry = POLICIES.choose(setting, name)
    return entry(**check_options(f"policy '{name}'", entry, options or {}, setting=f"{setting}_options"))


def check_fit(name: str, policy: LatentPolicy, feedback_name: str, feedback: nn.Module) -> None:
    """Raise a one-line `InputError` where a model with this feedback cannot read, or has no, latents of a policy.

    Args:
        name, policy: the policy.
        feedback_name, feedback: the model's feedback.
    """
    if not policy.stochastic:
        return
    if not getattr(feedback, "sequential", True):
        raise InputError(
            f"policy={name} draws latents, and feedback={feedback_name} computes none: its latents are learned embeddings; "
            "take policy=deterministic"
        )
    if policy.gives_tokens and not hasattr(feedback, "mix"):
        raise InputError(
            f"policy={name} draws the token that a feedback mixes, and feedback={feedback_name} mixes none; take "
            f"{'policy=multiplex' if getattr(feedback, 'mixes_tokens', False) else 'policy=gaussian'}, or train the model "
            "with feedback=gated"
        )
    if policy.of_tokens and not getattr(feedback, "mixes_tokens", False):
        raise InputError(
            f"policy={name} makes latents of token embeddings, which a model trained with feedback={feedback_name} has "
            "never read; take policy=gaussian or dropout, or train it with feedback=soft"
        )
