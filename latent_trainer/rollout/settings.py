"""The checks of a rollout's settings."""

from latent_trainer.errors import InputError, check_choice
from latent_trainer.options import check_options
from latent_trainer.rollout import ROLLOUTS
from latent_trainer.rollout.contract import check_backprop


def check_rollout(rollout: str, options: dict, backprop: str | int) -> dict:
    """Return a rollout's options as it declares them.

    Args:
        rollout: one of ``ROLLOUTS``.
        options: its keyword arguments.
        backprop: "full", "last", "none" or an integer >= 0; the last latents cannot be told apart where a
            rollout refines all of them at once.

    Raises:
        InputError: there is no such rollout, option or back-propagation; in one line.
    """
    check_choice("rollout", rollout, ROLLOUTS)
    options = check_options(f"rollout '{rollout}'", ROLLOUTS[rollout].Options, options, setting="rollout_options")
    ROLLOUTS[rollout].Options(**options)  # which may refuse a combination of them
    check_backprop(rollout, backprop, ROLLOUTS[rollout].counts_latents)
    return options


def refuse_repeated(rollout: str) -> None:
    """Raise a one-line `InputError` where a rollout computes each latent several times, so that none can be drawn."""
    if not ROLLOUTS[rollout].reads_once:
        raise InputError(
            f"rollout={rollout} computes every latent several times, and a policy draws it once; use rollout=sequential, or "
            "policy=deterministic"
        )
