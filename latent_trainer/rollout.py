"""The sequential rollout, and the decoder passes every rollout is made of.

Shapes: B rows, T columns of this call, P columns already in the cache, H hidden size. See docs/shapes.md.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from transformers import Cache

from latent_trainer.cache import branch, rollout_cache
from latent_trainer.checkpointing import checkpointed, checkpointed_layers
from latent_trainer.errors import InputError
from latent_trainer.weight_gradients import WeightGradients


@dataclass
class RolloutOutput:
    """What a rollout leaves behind.

    Args:
        hidden: (B, T, H) last hidden states after the final norm.
        latents: (B, T, H) input embeddings with every latent filled in.
        hidden_states: per layer (B, T, H), embedding output first; None unless asked for.
        cache: the cache with P + T columns, or None where a single pass needed none.
    """

    hidden: torch.Tensor
    latents: torch.Tensor
    hidden_states: tuple[torch.Tensor, ...] | None
    cache: Cache | None


def rollout(
    decoder: Callable,
    feedback: Callable[[torch.Tensor], torch.Tensor],
    embeds: torch.Tensor,
    latent_mask: torch.Tensor,
    attention_mask: torch.Tensor | None,
    position_ids: torch.Tensor,
    cache=None,
    thought: torch.Tensor | None = None,
    backprop: str | int = "full",
    use_cache: bool = False,
    output_hidden_states: bool = False,
    checkpoint: bool = False,
    **kwargs,
) -> RolloutOutput:
    """Run the decoder over T columns, filling each latent with feedback(hidden state of the column before it).

    Columns without a latent are processed together; a column in which any row has a latent starts a new cached pass, so a
    row of K latents costs K + 1 passes over T columns in all. Rows may have latents at different columns.

    Args:
        decoder: the base model without its head.
        feedback: maps a hidden state (B, H) to a latent (B, H).
        embeds: (B, T, H) input embeddings; what stands at a latent's place is ignored.
        latent_mask: (B, T) bool, True where a latent goes.
        attention_mask: (B, P + T), 1 for real columns; None means all are.
        position_ids: (B, T).
        cache: the cache of the P columns before, extended in place.
        thought: (B, H) hidden state of the last column in ``cache``.
        backprop: latents gradient flows through: "full", "last", "none", or the number of last latents of each row.
        use_cache: return the cache also where one pass would do without.
        output_hidden_states: return every layer's hidden states.
        checkpoint: recompute the decoder's layers on the way back (`latent_trainer.checkpointing`).

    Raises:
        ValueError: a latent in the first column with no hidden state before it.

    Source: Hao et al. 2024 (Coconut); truncation as in the answer-only recipe with ``backprop="last"``.
    """
    latent_columns = latent_mask.any(0).nonzero().flatten().tolist()  # the one device synchronisation
    if latent_columns and latent_columns[0] == 0 and thought is None:
        raise InputError(
            "a latent stands in the first column, where there is no hidden state to think from; "
            "put a token before it or pass the cache of the text before"
        )
    passes = Passes(decoder, feedback, attention_mask, position_ids, output_hidden_states, kwargs, checkpoint)
    if latent_columns and backprop != "full" and torch.is_grad_enabled():
        constant = _constant_latents(latent_mask, {"none": 0, "last": 1}.get(backprop, backprop))
        constant_columns = constant.any(0).nonzero().flatten().tolist()
        if constant_columns:
            with torch.no_grad():
                stop = constant_columns[-1] + 1
                prefix = rollout_cache() if cache is None else branch(cache, cache.get_seq_length())
                filled, _ = _one_by_one(passes, embeds[:, :stop], latent_mask, latent_columns, prefix, thought, False)
            embeds = torch.cat([torch.where(constant[:, :stop, None], filled, embeds[:, :stop]), embeds[:, stop:]], 1)
            latent_mask = latent_mask & ~constant
            latent_columns = latent_mask.any(0).nonzero().flatten().tolist()
    if cache is None and (use_cache or latent_columns):
        cache = rollout_cache()
    filled, outputs = _one_by_one(passes, embeds, latent_mask, latent_columns, cache, thought)
    return passes.joined(outputs, filled, cache)


class Passes:
    """The decoder passes of one rollout over T columns.

    Args:
        decoder, attention_mask, position_ids, output_hidden_states: as in `rollout`.
        feedback: as in `rollout`.
        kwargs: passed on to every call of the decoder.
        checkpoint: as in `rollout`.
    """

    def __init__(self, decoder, feedback, attention_mask, position_ids, output_hidden_states, kwargs, checkpoint=False):
        self.decoder = decoder
        self.feedback = feedback
        self.attention_mask = attention_mask
        self.position_ids = position_ids
        self.output_hidden_states = output_hidden_states
        self.kwargs = kwargs
        self.checkpointed = checkpointed_layers(decoder) if checkpoint and torch.is_grad_enabled() else []
        self.past = 0 if attention_mask is None else attention_mask.shape[1] - position_ids.shape[1]  # P

    def one(self, piece: torch.Tensor, start: int, cache):
        """Run the decoder over ``piece`` (B, n, H), the columns from ``start`` on, after the columns in ``cache``."""
        end = start + piece.shape[1]
        with checkpointed(self.checkpointed):
            return self.decoder(
                inputs_embeds=piece,
                attention_mask=None if self.attention_mask is None else self.attention_mask[:, : self.past + end],
                position_ids=self.position_ids[:, start:end],
                past_key_values=cache,
                use_cache=cache is not None,
                output_hidden_states=self.output_hidden_states,
                **self.kwargs,
            )

    def joined(self, outputs: list, filled: torch.Tensor, cache) -> RolloutOutput:
        """Return the outputs of passes over adjoining columns as one."""
        layers = zip(*(output.hidden_states for output in outputs), strict=True) if self.output_hidden_states else ()
        return RolloutOutput(
            hidden=_join([output.last_hidden_state for output in outputs]),
            latents=filled,
            hidden_states=tuple(_join(list(layer)) for layer in layers) or None,
            cache=cache,
        )


def _one_by_one(passes: Passes, embeds, latent_mask, latent_columns, cache, thought, last_pass=True):
    """Fill the latents of ``embeds`` (B, T, H); return them and one decoder output a pass.

    With ``last_pass=False`` the pass after the last latent is left out: nobody reads it.
    """
    width = embeds.shape[1]
    latent_columns = [column for column in latent_columns if column < width]
    starts = sorted({0, *latent_columns})
    pieces, outputs = [], []
    shared = torch.is_grad_enabled() and len(starts) > 1 and not passes.checkpointed  # a recomputation would not see it
    together = WeightGradients() if shared else contextlib.nullcontext()
    for start, end in zip(starts, [*starts[1:], width], strict=True):
        piece = embeds[:, start:end]  # (B, n, H)
        if start in latent_columns:
            latent = torch.where(latent_mask[:, start, None], passes.feedback(thought).to(piece.dtype), piece[:, 0])
            piece = torch.cat([latent.unsqueeze(1), piece[:, 1:]], 1)
        pieces.append(piece)
        if end == width and not last_pass:
            break
        with together:
            outputs.append(passes.one(piece, start, cache))
        thought = outputs[-1].last_hidden_state[:, -1]  # (B, H)
    return _join(pieces), outputs


def _join(pieces: list[torch.Tensor]) -> torch.Tensor:
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, 1)


def _constant_latents(latent_mask: torch.Tensor, window: int) -> torch.Tensor:
    """Return (B, T), True for the latents of each row that are not among its last ``window``."""
    from_the_right = latent_mask.flip(1).cumsum(1).flip(1)  # 1 for the last latent of a row, 2 for the one before
    return latent_mask & (from_the_right > window)
