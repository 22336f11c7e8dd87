"""The passes of a rollout, with what makes them fast and changes no result."""

import contextlib

import torch
from transformers import Cache

from latent_trainer.rollout.cache import branch
from latent_trainer.rollout.columns import Columns, count_positions
from latent_trainer.rollout.fast.ready_masks import ReadyMasks
from latent_trainer.rollout.fast.unread import read_from
from latent_trainer.rollout.fast.weight_gradients import WeightGradients
from latent_trainer.rollout.masks import Masks
from latent_trainer.rollout.output import split_output
from latent_trainer.rollout.passes import Passes
from latent_trainer.rollout.reading import Reading


class FastPasses(Passes):
    """Passes that share masks and weight gradients, read continuations beside the first pass, and skip what nobody reads.

    Args:
        columns: what is read.
        reading: how. Weight gradients are not shared under checkpoints, whose recomputation would not see it, nor where
            parameters are gathered for every pass: the gathered copies of the first pass would stay in memory.
        several: whether there are several passes; a single one leaves its mask to the model, and has nothing to share.
    """

    def __init__(self, columns: Columns, reading: Reading, several: bool):
        self.several = several
        super().__init__(columns, reading)
        shares = reading.least is None and not reading.checkpoint
        together = reading.together or (WeightGradients(reading.decoder) if several and shares else None)
        self.together = together if together is not None and shares else contextlib.nullcontext()
        self.unread = columns.unread if reading.form.skips_unread else 0

    def make_masks(self) -> Masks:
        """Return the masks of all passes."""
        if self.several or self.columns.continuations:
            return ReadyMasks(self.reading.decoder, self.columns, self.reading.form.own_cache)
        return super().make_masks()

    def first(self, piece: torch.Tensor, cache: Cache | None, keep: int):
        """Run the decoder over the first columns, with those of all continuations beside them; as `Passes.first`."""
        continuations, first_position = self.columns.continuations, self.reading.form.first_position
        if not continuations:
            return super().first(piece, cache, keep)
        width, beside = piece.shape[1], [one.embeds for one in continuations]
        own = [count_positions(one.attention_mask, None, one.embeds) for one in continuations]
        own = [positions + first_position for positions in own] if first_position else own
        embeds = torch.cat([piece, *beside], 1)  # (B, n + columns beside, H)
        position_ids = torch.cat([self.columns.position_ids[:, :width], *own], 1)
        output = self.read(embeds, None, self.masks.with_continuations(width), position_ids, cache, 0)
        output, *self.continued = split_output(output, [width, *(one.shape[1] for one in beside)])
        return output, cache if cache is None else branch(cache, keep)

    def read(self, piece, ids, mask, position_ids, cache, start: int):
        """Call the decoder; as `Passes.read`."""
        unread = min(max(0, self.unread - start), piece.shape[1] - 1)
        together = self.together if torch.is_grad_enabled() else contextlib.nullcontext()
        with read_from(self.reading.decoder, unread), together:
            return super().read(piece, ids, mask, position_ids, cache, start)
