"""Game 24: any expression that comes to the target and uses each given number exactly once."""

from collections.abc import Callable

from latent_trainer.data.checks import target


def make(parameters: str) -> Callable[[str], bool]:
    """Return the check of ``"24 from 4 7 8 8"``; see `target.make`."""
    return target.make("game24", parameters, all_of_them=True)
