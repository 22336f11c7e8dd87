"""Countdown: any expression that comes to the target and uses each given number at most once."""

from collections.abc import Callable

from latent_trainer.data.checks import target


def make(parameters: str) -> Callable[[str], bool]:
    """Return the check of ``"65 from 19 36 55 7"``; see `target.make`."""
    return target.make("countdown", parameters, all_of_them=False)
