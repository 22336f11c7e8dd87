"""What a rollout is: a class with options and one method, which fills the latents of the columns it is given."""

from dataclasses import dataclass

from latent_trainer.errors import InputError, check_choice
from latent_trainer.rollout.columns import Columns
from latent_trainer.rollout.fast.passes import FastPasses
from latent_trainer.rollout.output import RolloutOutput
from latent_trainer.rollout.passes import Passes
from latent_trainer.rollout.reading import Reading


@dataclass
class NoOptions:
    """A rollout without options."""


class Rollout:
    """One way to compute the latents; see `latent_trainer.rollout` for what a rollout is built of.

    Args:
        options: an instance of ``Options``; None for its defaults.
    """

    Options: type = NoOptions  # a dataclass whose annotations state type and range of every option
    counts_latents: bool = True  # latents come one after the other, so that ``backprop`` may be "last" or a number
    reads_once: bool = True  # every column is read once with gradient, so that there is one attention of each
    refines: bool = False  # reads latents anew with other values: nothing to do for a feedback that computes none
    keeps_pace: bool = False  # runs as many passes as ``Reading.least`` asks for, so that parameters may be shared out

    def __init__(self, options=None):
        self.options = self.Options() if options is None else options

    def fill(self, columns: Columns, reading: Reading) -> RolloutOutput:
        """Read all columns, with every latent filled in.

        Args:
            columns: what is read.
            reading: how.

        Raises:
            InputError: a latent in the first column with no hidden state before it, or in the prompt.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method fill")

    @staticmethod
    def passes(columns: Columns, reading: Reading, several: bool = True) -> Passes:
        """Return the decoder passes over these columns.

        Args:
            columns: what is read.
            reading: how; ``fast`` decides which passes.
            several: whether there is more than one pass.
        """
        return FastPasses(columns, reading, several) if reading.fast else Passes(columns, reading)


def check_backprop(rollout: str, backprop: str | int, counts_latents: bool) -> None:
    """Raise an `InputError` where ``backprop`` is none, or none for this rollout.

    Args:
        rollout: the rollout's name.
        backprop: "full", "last", "none" or an integer >= 0.
        counts_latents: whether the last latents can be told apart.
    """
    if not isinstance(backprop, int) or isinstance(backprop, bool):
        check_choice("backprop", str(backprop), ("full", "last", "none"))
    elif backprop < 0:
        raise InputError(f"backprop={backprop} is negative; give the number of last latents, or full, last, none")
    if not counts_latents and backprop not in ("full", "none"):
        raise InputError(f"backprop={backprop} counts latents one by one; use full or none with rollout={rollout}")
