"""The rollouts by name, the options of each, and their check."""

from dataclasses import dataclass

from latent_trainer.errors import InputError, check_choice
from latent_trainer.options import Positive, Weight, check_options


@dataclass
class SequentialOptions:
    """The sequential rollout has no options."""


@dataclass
class JacobiOptions:
    """Options of the Jacobi rollout, as in `latent_trainer.rollout.jacobi.jacobi_rollout`."""

    iterations: Positive = 3
    tolerance: Weight | None = None


ROLLOUTS = {"sequential": SequentialOptions, "jacobi": JacobiOptions}


def check_rollout(rollout: str, options: dict, backprop: str | int) -> dict:
    """Return a rollout's options as it declares them.

    Args:
        rollout: one of ``ROLLOUTS``.
        options: its keyword arguments.
        backprop: "full", "last", "none" or an integer >= 0; the last latents cannot be told apart with rollout=jacobi.

    Raises:
        InputError: there is no such rollout, option or back-propagation; in one line.
    """
    check_choice("rollout", rollout, ROLLOUTS)
    options = check_options(f"rollout '{rollout}'", ROLLOUTS[rollout], options, setting="rollout_options")
    if not isinstance(backprop, int) or isinstance(backprop, bool):
        check_choice("backprop", backprop, ("full", "last", "none"))
    elif backprop < 0:
        raise InputError(f"backprop={backprop} is negative; give the number of last latents, or full, last, none")
    if rollout == "jacobi" and backprop not in ("full", "none"):
        raise InputError(f"backprop={backprop} counts latents one by one; use full or none with rollout=jacobi")
    return options
