"""The parts of a latent model put together so that they think: what training and generation share."""

from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from torch import nn
from transformers import PreTrainedModel

from latent_trainer.errors import InputError
from latent_trainer.model.configuration import LatentConfig
from latent_trainer.model.context import refuse_beyond
from latent_trainer.model.forward_arguments import check_ready_mask
from latent_trainer.model.heads import logits_of
from latent_trainer.model.tokens import place_latents, thinking_columns
from latent_trainer.rollout import ROLLOUTS
from latent_trainer.rollout.base_form import BaseForm, decoder_of
from latent_trainer.rollout.cache import is_filled, read_thought, with_room, write_thought
from latent_trainer.rollout.checkpointing import refuse_own_checkpointing
from latent_trainer.rollout.columns import Columns, Continuation, count_positions
from latent_trainer.rollout.output import RolloutOutput
from latent_trainer.rollout.ranks import agree, with_feedback
from latent_trainer.rollout.reading import Reading
from latent_trainer.rollout.settings import refuse_repeated
from latent_trainer.rollout.thoughts import Growth, Thoughts
from latent_trainer.sharding import Lookup


class Runner:
    """Embeds tokens, finds where latents go, and rolls out; made anew for every call of a model.

    Args:
        config: of the latent model.
        base: the base model.
        form: how it wants to be called.
        feedback: makes latents of hidden states.
        training: whether the model is in training mode.
        checkpoint: whether the decoder's layers are recomputed on the way back.
        sharded: whether ranks share out the parameters, and so must run the same passes.
        fast, thoughts: as in `latent_trainer.rollout.reading.Reading`.
        stop_head: maps hidden states (.., H) to the log-odds (.., 1) that a thought ends, None without one.
    """

    def __init__(
        self,
        config: LatentConfig,
        base: PreTrainedModel,
        form: BaseForm,
        feedback: nn.Module,
        training: bool,
        checkpoint: bool,
        sharded: bool,
        fast: bool,
        thoughts: Thoughts | None = None,
        stop_head: nn.Module | None = None,
    ):
        self.config, self.base, self.form, self.feedback = config, base, form, feedback
        self.training, self.checkpoint, self.sharded, self.fast = training, checkpoint, sharded, fast
        self.thoughts, self.stop_head = thoughts, stop_head
        self.decoder, self.embedding = decoder_of(base), base.get_input_embeddings()

    def next_embedding(self, hidden: torch.Tensor, tokens: torch.Tensor | None = None) -> torch.Tensor:
        """Return the latent (B, H) that follows ``hidden`` (B, H), made with ``tokens`` (B,) where they are given."""
        if tokens is None:
            return self.feedback(hidden, Lookup(self.embedding), self._thought_logits)
        return self.feedback.mix(hidden, tokens, Lookup(self.embedding), self._thought_logits)

    def _thought_logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits without the tokens that are never written, so that a soft latent does not mix them in."""
        never = torch.tensor([self.config.latent_token_id, self.config.bot_token_id], device=hidden.device)
        logits = logits_of(self.base, hidden)  # under autocast of another type than the hidden states
        return logits.index_fill(-1, never, torch.finfo(logits.dtype).min)

    def thought_columns(self, input_ids: torch.Tensor, closed: torch.Tensor | None = None) -> tuple:
        """Return the columns (B, T) the rollout fills and those at which a thought is open.

        Args:
            input_ids: (B, T).
            closed: (B,) whether the thought was closed before the first column; None means it was open.
        """
        thinking = thinking_columns(input_ids, self.config.bot_token_id, self.config.eot_token_id, closed)
        return thinking & (input_ids == self.config.latent_token_id) & self.feedback.sequential, thinking

    def latent_places(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Return (B, T), True at every latent of ``input_ids`` (B, T), also at those that are learned embeddings."""
        return self.thought_columns(input_ids)[1] & (input_ids == self.config.latent_token_id)

    def agree(
        self, parts: list[torch.Tensor], cache=None, given: Sequence[torch.Tensor | None] | None = None
    ) -> list[tuple[int, int] | None]:
        """Return for each part of a forward call what `run` takes as ``least``; None where nobody waits.

        Args:
            parts: token ids (B, T) of every call of `run` that the forward call makes.
            cache: the cache the first part continues.
            given: of each part what `run` takes as ``given``; by default nothing.

        Raises:
            InputError: a rollout that does not keep pace with other ranks.
        """
        if not self.sharded:
            return [None] * len(parts)
        rollout = self.config.rollout
        if not ROLLOUTS[rollout].keeps_pace:
            raise InputError(
                f"rollout={rollout} does not run the same passes on all ranks, over which the parameters are sharded; "
                "train it under DDP, ZeRO-1 or ZeRO-2"
            )
        thought, closed = read_thought(cache)
        masks = [self.thought_columns(ids, closed if part == 0 else None)[0] for part, ids in enumerate(parts)]
        if given is not None:
            masks = [_without(mask, own) for mask, own in zip(masks, given, strict=True)]
        return agree(masks, self.config.backprop, thought is not None)

    def run(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None,
        position_ids: torch.Tensor | None = None,
        past_key_values=None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool = False,
        latents: torch.Tensor | None = None,
        given: torch.Tensor | None = None,
        least: tuple[int, int] | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        together: AbstractContextManager | None = None,
        continuations: Sequence[Continuation] = (),
        unread: int = 0,
    ) -> RolloutOutput:
        """Embed, fill the latents and return hidden states.

        Args:
            input_ids: (B, T).
            attention_mask: (B, P + T), 1 for real columns; None means all are.
            position_ids: (B, T); by default counted over the real columns of each row.
            past_key_values: cache of the P columns before.
            inputs_embeds: (B, T, H); by default those of ``input_ids``.
            use_cache: return a cache that also carries the thought.
            latents: (B, K, H) as in `LatentForCausalLM.forward`.
            given: (B, T) bool, True where a latent stands in ``inputs_embeds`` already; by default nowhere.
            least: what the ranks agreed on for these tokens (`agree`).
            output_hidden_states, output_attentions, together: as in `latent_trainer.rollout.reading.Reading`.
            continuations, unread: as in `latent_trainer.rollout.columns.Columns`.

        Raises:
            ValueError: a latent with no column before it, rows longer than the context, a base model that checkpoints
                itself.
        """
        config, form = self.config, self.form
        if self.training:
            refuse_own_checkpointing(self.base)
        if inputs_embeds is None:
            inputs_embeds = self.embedding(input_ids)  # (B, T, H)
        thought, closed = read_thought(past_key_values)
        latent_mask, thinking = self.thought_columns(input_ids, closed)
        latent_mask = _without(latent_mask, given)
        placeholders = _without(thinking & (input_ids == config.latent_token_id), given)  # those of learned embeddings too
        if latents is not None and thought is None:
            inputs_embeds, left = place_latents(inputs_embeds, placeholders, latents)
            latent_mask = latent_mask & left
        if position_ids is None:
            position_ids = count_positions(attention_mask, past_key_values, inputs_embeds)
        beside = (one.attention_mask for one in continuations)
        refuse_beyond(config, inputs_embeds.shape[1], attention_mask, *beside, cache=past_key_values)
        if attention_mask is not None and attention_mask.ndim == 4:
            check_ready_mask(config, form, attention_mask, latent_mask, past_key_values)
        kind = ROLLOUTS[config.rollout]
        if self.thoughts is not None:
            refuse_repeated(config.rollout)
            past = past_key_values is not None and is_filled(past_key_values)
            growth = Growth(self._thought_logits, Lookup(self.embedding), self.next_embedding, self.stop_head)
            inputs_embeds, latent_mask = self.thoughts.begin(inputs_embeds, latent_mask, growth, past)
        columns = Columns(
            embeds=inputs_embeds,
            latent_mask=latent_mask,
            attention_mask=attention_mask,
            position_ids=position_ids + form.first_position if form.first_position else position_ids,
            token_ids=input_ids.clamp(min=0) if form.reads_ids else None,
            cache=with_room(past_key_values),
            thought=thought,
            continuations=continuations,
            unread=unread,
            placeholders=placeholders,
        )
        reading = Reading(
            decoder=self.decoder,
            feedback=self.next_embedding,
            form=form,
            backprop=config.backprop,
            use_cache=use_cache,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            checkpoint=self.checkpoint,
            least=least,
            together=together,
            fast=self.fast,
            thoughts=self.thoughts,
        )
        output = kind(kind.Options(**config.rollout_options)).fill(columns, reading)
        if self.thoughts is not None:
            self.thoughts.end(output.hidden)
        if self.feedback.sequential:
            output.hidden = with_feedback(self.feedback, self.next_embedding, output.hidden)
        if use_cache:
            write_thought(output.cache, output.hidden, ~thinking)
        return output


def _without(mask: torch.Tensor, given: torch.Tensor | None) -> torch.Tensor:
    """Return the latents (B, T) of ``mask`` that are still to be thought."""
    return mask if given is None else mask & ~given
