"""The decoder passes that every rollout is made of."""

import itertools

import torch
from transformers import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast

from latent_trainer.errors import InputError
from latent_trainer.rollout.base_form import read
from latent_trainer.rollout.cache import branch, rollout_cache
from latent_trainer.rollout.checkpointing import checkpointed, checkpointed_layers
from latent_trainer.rollout.columns import Columns
from latent_trainer.rollout.masks import Masks
from latent_trainer.rollout.output import RolloutOutput, join_outputs
from latent_trainer.rollout.reading import Reading
from latent_trainer.rollout.state_passes import cuts, padding_left_out


class Passes:
    """The decoder passes of one rollout over T columns, each after those in a cache.

    Args:
        columns: what is read.
        reading: how.
    """

    def __init__(self, columns: Columns, reading: Reading):
        self.columns, self.reading = columns, reading
        self.masks = self.make_masks()
        self.checkpointed = checkpointed_layers(reading.decoder) if reading.checkpoint else []
        self.more = {"output_attentions": True} if reading.output_attentions else {}
        self.continued: list[BaseModelOutputWithPast] = []  # the decoder's output over each continuation, once it is read

    def make_masks(self) -> Masks:
        """Return the masks of all passes."""
        if self.columns.continuations:
            raise InputError("continuations stand beside the first pass under a mask of fast passes; read with fast=True")
        return Masks(self.reading.decoder, self.columns)

    def new_cache(self) -> Cache:
        """Return the empty cache that the decoder extends."""
        return rollout_cache(self.reading.decoder.config if self.reading.form.own_cache else None)

    def think(self, thought: torch.Tensor, column: int | None = None) -> torch.Tensor:
        """Return the latents that grow from hidden states (B, H) or (B, n, H).

        Args:
            thought: the hidden states, one a row where ``column`` is given.
            column: where these latents go; a policy draws only where it knows that.
        """
        thoughts = self.reading.thoughts
        drawn = thoughts is not None and column is not None
        latents = thoughts.think(thought, column) if drawn else self.reading.feedback(thought)
        return latents.to(self.columns.embeds.dtype)

    def one(self, piece: torch.Tensor, start: int, cache: Cache | None):
        """Run the decoder over ``piece`` (B, n, H), the columns from ``start`` on, after the columns in ``cache``."""
        end, form, own_cache = start + piece.shape[1], self.reading.form, None
        if form.own_cache and cache is not None:
            own_cache = cache
            marks = cuts(self.masks.padding, self.masks.past, start, end, cache, form.columnwise)
            if len(marks) > 2:
                return self.joined_output(
                    [self.one(piece[:, a - start : b - start], a, cache) for a, b in itertools.pairwise(marks)]
                )
        ids = None if self.columns.token_ids is None else self.columns.token_ids[:, start:end]
        mask, position_ids = self.masks.of(start, end, cache), self.columns.position_ids[:, start:end]
        with padding_left_out(self.masks.padding_of(start, end), own_cache):
            return self.read(piece, ids, mask, position_ids, cache, start)

    def first(self, piece: torch.Tensor, cache: Cache | None, keep: int):
        """Run the decoder over the first columns, and over all continuations beside them.

        Args:
            piece: (B, n, H), the columns from the first on.
            cache: what the pass extends; None where no other pass follows.
            keep: columns that the cache is to hold afterwards, n or fewer.

        Returns:
            The output over ``piece``, and ``cache`` or a branch of it, with the first ``keep`` columns.
        """
        output = self.one(piece, 0, cache)
        return output, cache if cache is None or keep == piece.shape[1] else branch(cache, keep)

    def read(self, piece, ids, mask, position_ids, cache, start: int):
        """Call the decoder; every pass comes through here.

        Args:
            piece, ids, mask, position_ids, cache: as `latent_trainer.rollout.base_form.read` takes them.
            start: first column of ``piece``.
        """
        reading = self.reading
        with checkpointed(self.checkpointed if torch.is_grad_enabled() else []):
            named = {"output_hidden_states": reading.output_hidden_states, **self.more}
            return read(reading.decoder, reading.form, piece, ids, mask, position_ids, cache, **named)

    def joined_output(self, outputs: list) -> BaseModelOutputWithPast:
        """Return the decoder's outputs over adjoining columns as one."""
        return join_outputs(outputs, self.reading.output_hidden_states, self.reading.output_attentions)

    def joined(self, outputs: list, filled: torch.Tensor, cache: Cache | None) -> RolloutOutput:
        """Return the outputs of passes over adjoining columns as what a rollout leaves behind.

        Args:
            outputs: of the passes, from left to right, over all T columns.
            filled: (B, T, H) input embeddings with every latent filled in.
            cache: with P + T columns, or None.
        """
        whole = self.joined_output(outputs)
        return RolloutOutput(whole.last_hidden_state, filled, whole.hidden_states, cache, self.continued, whole.attentions)
