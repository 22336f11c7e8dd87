"""Rollouts: how the latents of a row are computed, pass by pass.

One class a rollout, one line below. It derives from `latent_trainer.rollout.contract.Rollout` and has

- ``Options``: a dataclass; its annotations state type and range of every option (`latent_trainer.options`), and
- ``fill(columns, reading) -> RolloutOutput``: reads the T columns with every latent filled in.

`latent_trainer.rollout.columns.Columns` says what is read, `latent_trainer.rollout.reading.Reading` how. Both go into the
passes every rollout is made of, ``passes = self.passes(columns, reading)``, which know padding, positions, checkpoints and
the forms of base models:

- ``passes.first(piece, cache, keep)``: the first pass, over columns (B, n, H) from the first on; returns the decoder's
  output and the cache with the first ``keep`` columns. Other views of a training step are read beside it, so every rollout
  over an empty cache has one.
- ``passes.one(piece, start, cache)``: any other pass, over columns (B, n, H) from ``start`` on, after those in ``cache``,
  which it extends; returns the decoder's output.
- ``passes.think(hidden, column)``: the latents of a column, that grow from hidden states (B, H) of the one before it;
  without ``column``, also of several at once, (B, n, H). Only where it is given a policy can draw them
  (`latent_trainer.rollout.thoughts`).
- ``passes.new_cache()``: an empty cache. `latent_trainer.rollout.cache.branch` makes a new one over another's first columns,
  for columns that are to be read again.
- ``passes.joined(outputs, filled, cache)``: the `RolloutOutput` of outputs over adjoining columns, (B, T) in all.

`latent_trainer.rollout.prefix.read_prefix` is the first pass of a rollout that reads a block of columns again and again, and
`latent_trainer.rollout.sequential` the plain example. A rollout states as class attributes what it cannot do: see
`Rollout`.
"""

from dataclasses import is_dataclass

from latent_trainer.errors import InputError
from latent_trainer.registry import Registry
from latent_trainer.rollout.contract import Rollout
from latent_trainer.rollout.jacobi import JacobiRollout
from latent_trainer.rollout.looped import LoopedRollout
from latent_trainer.rollout.sequential import SequentialRollout


def take_rollout(name: str, entry) -> type[Rollout]:
    """Return a rollout that a plug-in registers, an `InputError` in one line where it breaks the contract."""
    if not (isinstance(entry, type) and issubclass(entry, Rollout)):
        raise InputError(f"rollout '{name}' must be a class derived from {Rollout.__module__}.Rollout; got {entry!r}")
    at = f"rollout '{name}': {entry.__name__}"
    if not is_dataclass(entry.Options):
        raise InputError(f"{at}.Options must be a dataclass; got {entry.Options!r}")
    if entry.fill is Rollout.fill:
        raise InputError(f"{at} has no fill(self, columns, reading) -> RolloutOutput; write it")
    return entry


ROLLOUTS = Registry(
    "rollout",
    {
        "sequential": SequentialRollout,
        "jacobi": JacobiRollout,
        "looped": LoopedRollout,
    },
    take_rollout,
)
