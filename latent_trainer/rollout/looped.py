"""The looped rollout: all latents of a thought refined together, each out of its own column's last hidden state."""

from dataclasses import dataclass
from typing import Literal

import torch

from latent_trainer.errors import InputError
from latent_trainer.options import Positive, check_fields
from latent_trainer.rollout.cache import branch
from latent_trainer.rollout.columns import Columns, columns_of
from latent_trainer.rollout.contract import Rollout, check_backprop
from latent_trainer.rollout.output import RolloutOutput
from latent_trainer.rollout.prefix import read_prefix
from latent_trainer.rollout.reading import Reading
from latent_trainer.rollout.sequential import SequentialRollout


@dataclass
class LoopedOptions:
    """Options of the looped rollout.

    Args:
        iterations: R, how often all latents are refined; "stage" takes for each row the steps that its thought stands for,
            which are its latents / ``latents_per_step``, rounded up.
        injection: "add" feeds placeholder + feedback, "replace" the feedback alone.
        latents_per_step: c, for "stage". A staged curriculum fills in its own, so that it stands in the saved model.
    """

    iterations: Positive | Literal["stage"] = 6
    injection: Literal["add", "replace"] = "add"
    latents_per_step: Positive | None = None

    def __post_init__(self):
        check_fields(self)
        if self.iterations == "stage" and self.latents_per_step is None:
            raise InputError(
                "rollout_options.iterations=stage needs rollout_options.latents_per_step, which a staged curriculum has; "
                "give it, or a number of iterations"
            )


class LoopedRollout(Rollout):
    """Refine all latents in parallel, each from its own column.

    Pass 0 reads every column up to the last latent, with the placeholder's own embedding e at the latents. Then R times:
    latent i becomes e + feedback(h_i), or feedback(h_i) alone, with h_i the last hidden state of the **same** column in the
    pass before, and the columns from the first latent to the last are read anew over the same keys and values of what comes
    before; the R-th time everything after them is read with them. So a row costs R + 1 passes over its latents and one over
    everything else, and later columns see the R-th pass alone. Gradient flows through all passes.

    R is a function of the columns: with ``iterations="stage"`` rows of a batch may have their own, training and generation
    the same. A row that has had its R passes keeps its latents in those that others still need. The latents of a thought are
    computed together, so a thought cannot grow token by token. All thoughts of a row are refined at the same time.

    Where ranks wait for each other, all of them run as many iterations as any may need, over their last column if they have
    no latent.

    Source: Fan, Svete & Lee 2026 (LOTUS), arXiv 2606.31779, section 3, and its published code.
    """

    Options = LoopedOptions
    counts_latents = False  # "none": latents are constants
    reads_once = False
    refines = True
    keeps_pace = True

    def fill(self, columns: Columns, reading: Reading) -> RolloutOutput:
        """Read all columns, with every latent filled in; as `Rollout.fill`.

        Raises:
            InputError: a truncated back-propagation, or a thought of which a cache may hold the beginning, too.
        """
        check_backprop("looped", reading.backprop, self.counts_latents)
        latent_columns, most = columns_of(columns.latent_mask), sum(reading.least or ())
        if not latent_columns and not most:
            return SequentialRollout().fill(columns, reading)
        if latent_columns[:1] == [0] and columns.thought is not None:
            raise InputError(
                "rollout=looped computes the latents of a thought together, and one stands first after a cache, which may "
                "hold others; give the token before a thought and all of its latents in one call, as prompts with "
                "num_latents do"
            )
        latent_columns = latent_columns or [columns.embeds.shape[1] - 1]
        columns.check_latents(latent_columns)
        passes, embeds, cache = self.passes(columns, reading), columns.embeds, columns.cache
        first, last = latent_columns[0], latent_columns[-1] + 1
        mask, plain = columns.latent_mask[:, first:last], embeds[:, first:last]  # (B, n), (B, n, H)
        own, iterations = self._iterations(columns, most)
        if reading.form.own_cache and cache is None:  # one that branches where it ends, if it holds states
            cache = passes.new_cache()
        outputs, _, hidden, cache = read_prefix(passes, embeds, first, last, cache, columns.thought)
        block = plain
        for iteration in range(1, iterations + 1):
            latents = passes.think(hidden)  # (B, n, H)
            latents = plain + latents if self.options.injection == "add" else latents
            latents = latents.detach() if reading.backprop == "none" else latents
            changes = mask & (own >= iteration).unsqueeze(1)  # (B, n)
            block = torch.where(changes.unsqueeze(-1), latents, block)
            if iteration < iterations:
                hidden = passes.one(block, first, branch(cache)).last_hidden_state
        rest = torch.cat([block, embeds[:, last:]], 1)
        outputs.append(passes.one(rest, first, cache))
        return passes.joined(outputs, torch.cat([embeds[:, :first], rest], 1), cache)

    def _iterations(self, columns: Columns, most: int) -> tuple[torch.Tensor, int]:
        """Return the iterations (B,) of every row, and how many are run.

        Args:
            columns: what is read.
            most: latents of the rank that has most columns of them; 0 where nobody waits.
        """
        longest, options = columns.longest_thoughts, self.options
        if options.iterations != "stage":
            return torch.full_like(longest, options.iterations), options.iterations
        own = -(-longest // options.latents_per_step)
        return own, -(-most // options.latents_per_step) if most else int(own.max())  # a device synchronisation
