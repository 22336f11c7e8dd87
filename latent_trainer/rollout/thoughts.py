"""Thoughts that a policy draws, and the same thoughts again: what stands where the feedback stands, for as long as asked.

``with using(model, SampledThoughts(policy, seeds)):`` every latent of a call is drawn, and what was drawn is kept.
``with using(model, ReplayedThoughts(policy, record, counted)):`` a call has the drawn latents in their places, and after it
their log-probabilities. Columns, caches, padding and rollouts are those of any other call.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from latent_trainer.errors import InputError
from latent_trainer.methods.policies.contract import LatentPolicy, Record, RowNoise


@dataclass(frozen=True)
class Growth:
    """What latents grow by in a model.

    Args:
        head, embed, grow: as in `latent_trainer.methods.policies.contract.LatentPolicy.sample`.
        stop: maps hidden states (.., H) to the log-odds (.., 1) that a thought ends, None where it does not say.
    """

    head: Callable
    embed: Callable
    grow: Callable
    stop: Callable | None = None


class Thoughts:
    """The thoughts of the rows of a call, or of a call and those that go on after it.

    Args:
        policy: draws, replays and scores them.
    """

    def __init__(self, policy: LatentPolicy):
        self.policy = policy

    def begin(self, embeds: torch.Tensor, latent_mask: torch.Tensor, growth: Growth, past: bool) -> tuple:
        """Take over a call's latents before its rollout.

        Args:
            embeds: (B, T, H) input embeddings.
            latent_mask: (B, T) bool, True where a latent goes.
            growth: of the model.
            past: whether the call goes on after columns in a cache.

        Returns:
            Embeddings and mask as the rollout is to have them.
        """
        self.growth, self.mask = growth, latent_mask
        self.numbers = latent_mask.cumsum(1) - 1  # (B, T): which latent of its row in this call
        return embeds, latent_mask

    def think(self, hidden: torch.Tensor, column: int) -> torch.Tensor:
        """Return the latents (B, H) of a column; rows without one there get zeros, which nobody reads.

        Args:
            hidden: (B, H), those of the column before.
            column: of the call.
        """
        rows = self.mask[:, column].nonzero().flatten()  # a device synchronisation
        if len(rows) == 0:
            return self.growth.grow(hidden)
        latents = self._think(hidden[rows], rows, self.numbers[rows, column])
        return latents.new_zeros(hidden.shape).index_put((rows,), latents)

    def end(self, hidden: torch.Tensor) -> None:
        """Take note of the hidden states (B, T, H) that the rollout has ended with."""

    def _think(self, hidden: torch.Tensor, rows: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError(f"{type(self).__name__} has no method _think")


class SampledThoughts(Thoughts):
    """Draw every latent, and keep what was drawn.

    A call without a past begins all thoughts anew, with the same noise; a call that goes on after a cache goes on with them.

    Args:
        policy: draws the latents.
        seeds: one a row; where there are r rows for every seed, as under beams or several returned sequences, each seed is
            that of r rows that draw differently.
    """

    def __init__(self, policy: LatentPolicy, seeds: Sequence[int]):
        super().__init__(policy)
        self.seeds = list(seeds)
        self._noise: RowNoise | None = None
        self._drawn: list[tuple[torch.Tensor, torch.Tensor, Record]] = []

    def begin(self, embeds, latent_mask, growth, past):
        """As `Thoughts.begin`.

        Raises:
            InputError: a call that is to learn, or whose rows are no multiple of the seeds.
        """
        if torch.is_grad_enabled():
            raise InputError("latents are drawn without gradient; call the model under torch.no_grad(), or replay a record")
        rows = len(embeds)
        if rows % len(self.seeds):
            raise InputError(f"{rows} rows have {len(self.seeds)} seeds of thoughts; give one a row")
        if not past or self._noise is None:
            times = rows // len(self.seeds)
            self._noise = RowNoise.seeded([_seed(one, n) for one in self.seeds for n in range(times)], embeds.device)
            self._drawn = []
            self._before = torch.zeros(rows, dtype=torch.long, device=embeds.device)  # latents of earlier calls
        embeds, latent_mask = super().begin(embeds, latent_mask, growth, past)
        self.numbers = self.numbers + self._before.unsqueeze(1)
        return embeds, latent_mask

    def end(self, hidden):
        """As `Thoughts.end`.

        Raises:
            InputError: a rollout that has grown latents past the policy.
        """
        self._before = self._before + self.mask.sum(1)
        if sum(len(rows) for rows, _, _ in self._drawn) != int(self._before.sum()):
            raise InputError(
                "the rollout grows latents without saying in which column, so that a policy cannot draw them; call "
                "passes.think(hidden, column), or use rollout=sequential"
            )

    def _think(self, hidden, rows, numbers):
        growth, noise = self.growth, self._noise.of(rows.tolist())
        latents, record = self.policy.sample(hidden, growth.head, growth.embed, noise, growth.grow)
        self._drawn.append((rows, numbers, record))
        return latents

    def record(self) -> tuple[Record, torch.Tensor]:
        """Return what was drawn, tensors (B, K, ..) by name, and which of the K latents a row has (B, K) bool."""
        counted = torch.arange(int(self._before.max()), device=self._before.device) < self._before.unsqueeze(1)  # (B, K)
        record: Record = {}
        for rows, numbers, own in self._drawn:
            for name, value in own.items():
                whole = record.setdefault(name, value.new_zeros(*counted.shape, *value.shape[1:]))
                whole[rows, numbers] = value
        return record, counted


class ReplayedThoughts(Thoughts):
    """Put the latents of a record in their places, and score them by the hidden states they stand after.

    A policy whose latents do not depend on these states has them all in their places from the start, so that one pass reads
    the whole thought; any other goes latent by latent.

    Args:
        policy: the one that drew them.
        record: tensors (B, K, ..) by name.
        counted: (B, K) bool, which of the K latents a row has.
    """

    def __init__(self, policy: LatentPolicy, record: Record, counted: torch.Tensor):
        super().__init__(policy)
        self.counted = counted
        self.whole = record
        self.flat = {name: value[counted] for name, value in record.items()}  # (N, ..), row by row
        self.log_probs: torch.Tensor | None = None  # (B, K) after a call, zeros where a row has no latent
        self.places: torch.Tensor | None = None  # (B, T) bool, where the call's latents stand
        self.stop_scores: torch.Tensor | None = None  # (B, T) after a call, log-odds that a thought ends after a column

    def begin(self, embeds, latent_mask, growth, past):
        """As `Thoughts.begin`.

        Raises:
            InputError: rows that have other latents than the record, or continue a thought.
        """
        if past:
            raise InputError("a recorded thought is replayed from its prompt on; leave past_key_values out")
        found, wanted = latent_mask.sum(1).tolist(), self.counted.sum(1).tolist()
        if found != wanted:
            raise InputError(f"the rows have {found} latents and their record {wanted}; replay the prompts it was drawn for")
        embeds, latent_mask = super().begin(embeds, latent_mask, growth, past)
        self.places = latent_mask
        if latent_mask[:, 0].any():
            raise InputError("a latent stands in the first column, where there is no hidden state before it")
        if self.policy.grows or not self.counted.any():
            return embeds, latent_mask
        latents = self.policy.replay(self.flat, None, growth.head, growth.embed, growth.grow)  # (N, H)
        filled = embeds.new_zeros(embeds.shape).index_put(latent_mask.nonzero(as_tuple=True), latents.to(embeds.dtype))
        return torch.where(latent_mask.unsqueeze(-1), filled, embeds), torch.zeros_like(latent_mask)

    def _think(self, hidden, rows, numbers):
        growth = self.growth
        record = {name: value[rows, numbers] for name, value in self.whole.items()}
        return self.policy.replay(record, hidden, growth.head, growth.embed, growth.grow)

    def end(self, hidden):
        """Score the latents by the hidden states (B, T, H)."""
        if self.growth.stop is not None:
            self.stop_scores = self.growth.stop(hidden).squeeze(-1)
        if not self.counted.any():
            self.log_probs = hidden.new_zeros(self.counted.shape)
            return
        rows, columns = self.places.nonzero(as_tuple=True)
        before = hidden[rows, columns - 1]  # (N, H)
        scores = self.policy.log_prob(self.flat, before, self.growth.head, self.growth.grow)  # (N,)
        self.log_probs = scores.new_zeros(self.counted.shape).index_put(self.counted.nonzero(as_tuple=True), scores)


@contextlib.contextmanager
def using(model: nn.Module, thoughts: Thoughts):
    """Have a latent model's thoughts drawn or replayed within the block."""
    before, model.thoughts = model.thoughts, thoughts
    try:
        yield thoughts
    finally:
        model.thoughts = before


def _seed(seed: int, number: int) -> int:
    """Return the seed of the n-th row of a seed; the first has the seed itself."""
    return (seed + 0x9E3779B97F4A7C15 * number) % 2**63
