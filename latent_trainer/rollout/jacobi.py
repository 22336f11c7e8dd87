"""The Jacobi rollout: all latents refined together, a few times, instead of one after the other."""

from dataclasses import dataclass

import torch

from latent_trainer.options import Positive, Weight, check_fields
from latent_trainer.rollout.cache import branch, columns_in
from latent_trainer.rollout.columns import Columns, columns_of
from latent_trainer.rollout.contract import Rollout, check_backprop
from latent_trainer.rollout.output import RolloutOutput, split_output
from latent_trainer.rollout.prefix import read_prefix
from latent_trainer.rollout.reading import Reading
from latent_trainer.rollout.sequential import SequentialRollout


@dataclass
class JacobiOptions:
    """Options of the Jacobi rollout.

    Args:
        iterations: T, how often all latents are refined.
        tolerance: a row whose latents all changed by less (largest absolute entry) is not refined further; the loop ends
            when that holds for every row. None never stops early.
    """

    iterations: Positive = 3
    tolerance: Weight | None = None

    def __post_init__(self):
        check_fields(self)


class JacobiRollout(Rollout):
    """Refine all latents in parallel.

    Pass 0 reads every column before the last latent, with the placeholder's own embedding at the latents. Then T times:
    every latent becomes feedback(hidden state of the column before it in the pass before), and the columns from the first
    latent to the last are read anew; the T-th time everything after them is read with them. After t iterations the first t
    latents of a row equal the sequential ones, and so does the hidden state the next one grows from: as many iterations as
    latents give the sequential rollout exactly, in T + 1 passes. So a fast t-th pass does not read the first t - 1 columns
    again, nor any but the last pass the last column: what they gave, or would give, is known or never read.

    Where ranks wait for each other and their ``least`` adds up to two latents or more, all of them run every iteration,
    over their last column if they have no latent.

    Source: Wu et al. 2025, "Parallel Continuous Chain-of-Thought with Jacobi Iteration", section 3.
    """

    Options = JacobiOptions
    counts_latents = False  # "none": latents are constants
    reads_once = False
    refines = True
    keeps_pace = True

    def fill(self, columns: Columns, reading: Reading) -> RolloutOutput:
        """Read all columns, with every latent filled in; as `Rollout.fill`.

        Raises:
            InputError: a truncated back-propagation, too.
        """
        check_backprop("jacobi", reading.backprop, self.counts_latents)
        latent_columns, waits = columns_of(columns.latent_mask), reading.least is not None
        if len(latent_columns) < 2 and (not waits or sum(reading.least) < 2):  # a single one has nothing to be refined with
            return SequentialRollout().fill(columns, reading)
        latent_columns = latent_columns or [columns.embeds.shape[1] - 1]
        columns.check_latents(latent_columns)
        passes, embeds, cache = self.passes(columns, reading), columns.embeds, columns.cache
        first, last = latent_columns[0], latent_columns[-1] + 1
        width = last - first  # n
        iterations, tolerance = self.options.iterations, self.options.tolerance
        iterations = iterations if waits else min(iterations, width)  # then every latent is the sequential one
        # only what follows the last column reads it, in the final pass; a rank that must keep up may have no other column
        read = width - 1 if reading.fast and not waits else width
        if reading.form.own_cache and cache is None:  # one that branches where it ends, if it holds states
            cache = passes.new_cache()
        # a cache that was handed in is to be extended itself, by the last pass alone
        keeps = reading.fast and cache is None and not waits
        outputs, before, placeholders, cache = read_prefix(passes, embeds, first, first + read, cache, columns.thought)
        hidden = torch.cat([before.unsqueeze(1), placeholders], 1)[:, :width]  # (B, n, H): the columns before the block's
        length = columns_in(cache)
        mask = columns.latent_mask[:, first:last, None]  # (B, n, 1)
        block = embeds[:, first:last]  # (B, n, H); the columns left to refine
        done: list[torch.Tensor] = []  # columns (B, 1, H) that are final and stay in a fresh cache: one more every pass
        moving = None
        for iteration in range(1, iterations + 1):
            latents = passes.think(hidden)
            refined = torch.where(mask, latents.detach() if reading.backprop == "none" else latents, block)
            if tolerance is not None and iteration > 1:
                change = (refined - block).detach().abs().amax((1, 2))  # (B,)
                moving = change >= tolerance if moving is None else moving & (change >= tolerance)
                refined = torch.where(moving[:, None, None], refined, block)
            block = refined
            if iteration == iterations or (not waits and moving is not None and not moving.any()):
                break
            again = branch(cache, length + len(done)) if keeps else branch(cache)
            output = passes.one(block[:, : read - len(done)], first + len(done), again)
            before = output.last_hidden_state[:, : block.shape[1] - 1]
            if keeps:
                outputs.append(split_output(output, [1, output.last_hidden_state.shape[1] - 1])[0])
                done, block, mask, hidden, cache = [*done, block[:, :1]], block[:, 1:], mask[:, 1:], before, again
            else:
                hidden = torch.cat([hidden[:, :1], before], 1)
        if keeps:
            cache = branch(cache, length + len(done))
        rest = torch.cat([block, embeds[:, last:]], 1)
        outputs.append(passes.one(rest, first + len(done), cache))
        return passes.joined(outputs, torch.cat([embeds[:, :first], *done, rest], 1), cache)
