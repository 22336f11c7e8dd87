"""The sequential rollout, and the decoder passes every rollout is made of.

Shapes: B rows, T columns of this call, P columns already in the cache, H hidden size. See docs/shapes.md.
"""

import contextlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn
from transformers import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast

from latent_trainer.errors import InputError
from latent_trainer.rollout.base_form import USUAL, BaseForm, read
from latent_trainer.rollout.cache import branch, columns_in, rollout_cache
from latent_trainer.rollout.checkpointing import checkpointed, checkpointed_layers
from latent_trainer.rollout.fast.unread import read_from
from latent_trainer.rollout.fast.weight_gradients import WeightGradients
from latent_trainer.rollout.masks import Continuation, Masks
from latent_trainer.rollout.state_passes import cuts, padding_left_out


@dataclass
class RolloutOutput:
    """What a rollout leaves behind.

    Args:
        hidden: (B, T, H) last hidden states after the final norm; those of ``unread`` columns mean nothing.
        latents: (B, T, H) input embeddings with every latent filled in.
        hidden_states: per layer (B, T, H), embedding output first; None unless asked for.
        cache: the cache with P + T columns, or None where a single pass needed none.
        continued: the decoder's output over each continuation.
        attentions: per layer (B, heads, T, P + T); None unless asked for.
    """

    hidden: torch.Tensor
    latents: torch.Tensor
    hidden_states: tuple[torch.Tensor, ...] | None
    cache: Cache | None
    continued: list[BaseModelOutputWithPast] = field(default_factory=list)
    attentions: tuple[torch.Tensor, ...] | None = None


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
    least: tuple[int, int] | None = None,
    together: WeightGradients | None = None,
    continuations: Sequence[Continuation] = (),
    unread: int = 0,
    form: BaseForm = USUAL,
    token_ids: torch.Tensor | None = None,
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
        checkpoint: recompute the decoder's layers on the way back (`latent_trainer.rollout.checkpointing`).
        least: passes that begin with a latent, without and with gradient, of the rank that needs most of them: see
            `latent_trainer.rollout.ranks`. Idle passes make up for what these rows need less. None where nobody waits.
        together: shares the weight gradients with other rollouts of the step; by default the passes of this one share them.
        continuations: other ways to go on after the same prompt, read beside the first pass; without ``cache``, and for a
            decoder that `takes_ready_mask`.
        unread: columns of the prompt before its last, without latents: nobody reads their last hidden state, and it need not
            be right (`latent_trainer.rollout.fast.unread`).
        form: how the base model wants to be called.
        token_ids: (B, T), for a decoder that reads ids.

    Raises:
        ValueError: a latent in the first column with no hidden state before it, or in the prompt.

    Source: Hao et al. 2024 (Coconut); truncation as in the answer-only recipe with ``backprop="last"``.
    """
    latent_columns = _columns(latent_mask)  # a device synchronisation
    if latent_columns and latent_columns[0] == 0 and thought is None:
        raise InputError(
            "a latent stands in the first column, where there is no hidden state to think from; "
            "put a token before it or pass the cache of the text before"
        )
    check_prompt(latent_columns, unread)
    passes = Passes(
        decoder,
        feedback,
        Masks(decoder, attention_mask, embeds, cache, continuations, bool(latent_columns or continuations), form.own_cache),
        position_ids,
        output_hidden_states,
        kwargs,
        checkpoint=checkpoint,
        together=together or (WeightGradients() if latent_columns else None),
        whole=least is None,
        continuations=continuations,
        unread=unread,
        form=form,
        token_ids=token_ids,
    )
    without = 0
    if latent_columns and backprop != "full" and torch.is_grad_enabled():
        constant = _constant_latents(latent_mask, backprop)
        constant_columns = _columns(constant)
        if constant_columns:
            with torch.no_grad():
                stop = constant_columns[-1] + 1
                prefix = passes.new_cache() if cache is None else branch(cache)
                start = (passes, embeds[:, :stop], latent_mask, latent_columns, prefix, thought)
                filled, outputs, _ = _one_by_one(*start, learns=False)
            without = len(outputs)
            embeds = torch.cat([torch.where(constant[:, :stop, None], filled, embeds[:, :stop]), embeds[:, stop:]], 1)
            latent_mask = latent_mask & ~constant
            latent_columns = _columns(latent_mask)
    if cache is None and (use_cache or latent_columns):
        cache = passes.new_cache()
    if least is None:
        filled, outputs, cache = _one_by_one(passes, embeds, latent_mask, latent_columns, cache, thought)
        return passes.joined(outputs, filled, cache)
    with torch.no_grad():
        passes.idle_before(embeds[:1, 0], least[0] - without)
    if thought is not None and least[1]:  # the first column too begins with a latent, on some rank or on none
        latent_columns = sorted({0, *latent_columns})
    filled, outputs, cache = _one_by_one(passes, embeds, latent_mask, latent_columns, cache, thought)
    output = passes.joined(outputs, filled, cache)
    output.hidden = passes.idle_after(output.hidden, least[1] - len(latent_columns))
    return output


def check_prompt(latent_columns: list[int], unread: int) -> None:
    """Raise an `InputError` where a latent stands in a prompt of which ``unread`` columns are not read."""
    if latent_columns and unread and latent_columns[0] <= unread:
        raise InputError(
            f"a latent stands in column {latent_columns[0]} of a prompt of {unread + 1} columns; put it after the prompt, "
            "into the first view"
        )


def count_passes(latent_mask: torch.Tensor, backprop: str | int, continues: bool) -> tuple[int, int]:
    """Return the passes of a sequential rollout that begin with a latent, without and with gradient.

    Args:
        latent_mask, backprop: as in `rollout`.
        continues: whether there is a thought to continue; then the first column counts as a latent wherever there is one.
    """
    columns = set(_columns(latent_mask))
    without: list[int] = []
    if backprop != "full" and torch.is_grad_enabled():
        constant = _constant_latents(latent_mask, backprop)
        constant_columns = _columns(constant)
        if constant_columns:
            without = [column for column in columns if column <= constant_columns[-1]]
            columns = set(_columns(latent_mask & ~constant))
    return len(without), len(columns | {0}) if columns and continues else len(columns)


class Passes:
    """The decoder passes of one rollout over T columns.

    Args:
        decoder, feedback, position_ids, output_hidden_states, checkpoint: as in `rollout`.
        continuations, unread, form, token_ids: as in `rollout`.
        masks: of all passes.
        kwargs: passed on to every call of the decoder.
        together: makes the passes share one gradient of each weight; not used under checkpoints, whose recomputation would
            not see it.
        whole: whether parameters are whole on this rank. Where they are gathered for every pass they share no gradient: the
            gathered copies of the first pass would stay in memory.
    """

    def __init__(
        self,
        decoder,
        feedback,
        masks: Masks,
        position_ids,
        output_hidden_states,
        kwargs,
        checkpoint: bool = False,
        together: WeightGradients | None = None,
        whole: bool = True,
        continuations: Sequence[Continuation] = (),
        unread: int = 0,
        form: BaseForm = USUAL,
        token_ids: torch.Tensor | None = None,
    ):
        self.form = form
        self.token_ids = token_ids
        self.decoder = decoder
        self.feedback = feedback
        self.masks = masks
        self.position_ids = position_ids
        self.output_hidden_states = output_hidden_states
        self.kwargs = kwargs
        self.checkpointed = checkpointed_layers(decoder) if checkpoint else []
        self.together = together if together is not None and whole and not checkpoint else contextlib.nullcontext()
        self.continuations = continuations
        self.unread = unread if form.skips_unread else 0
        self.continued: list[BaseModelOutputWithPast] = []

    def one(self, piece: torch.Tensor, start: int, cache):
        """Run the decoder over ``piece`` (B, n, H), the columns from ``start`` on, after the columns in ``cache``."""
        end = start + piece.shape[1]
        if self.form.own_cache and cache is not None:
            marks = cuts(self.masks.padding, self.masks.past, start, end, cache, self.form.columnwise)
            if len(marks) > 2:
                parts = [self.one(piece[:, a - start : b - start], a, cache) for a, b in itertools.pairwise(marks)]
                return self.joined_output(parts)
        unread = min(max(0, self.unread - start), piece.shape[1] - 1)
        ids = None if self.token_ids is None else self.token_ids[:, start:end]
        with padding_left_out(self.masks.padding_of(start, end), cache if self.form.own_cache else None):
            return self._read(piece, ids, self.masks.of(start, end, cache), self.position_ids[:, start:end], cache, unread)

    def new_cache(self) -> Cache:
        """Return the empty cache that the decoder extends."""
        return rollout_cache(self.decoder.config if self.form.own_cache else None)

    def first(self, piece: torch.Tensor, cache, keep: int):
        """Run the decoder over the first columns, with those of all continuations beside them.

        Returns:
            The output over ``piece``, and ``cache`` or a branch of it, with the first ``keep`` columns.
        """
        width, count = piece.shape[1], piece.shape[1]
        if not self.continuations:
            output = self.one(piece, 0, cache)
        else:
            beside = [one.embeds for one in self.continuations]
            own = [count_positions(one.attention_mask, None, one.embeds) for one in self.continuations]
            own = [positions + self.form.first_position for positions in own] if self.form.first_position else own
            embeds, position_ids = torch.cat([piece, *beside], 1), torch.cat([self.position_ids[:, :width], *own], 1)
            mask, count = self.masks.with_continuations(width), embeds.shape[1]
            output = self._read(embeds, None, mask, position_ids, cache, min(self.unread, width - 1))
            output, *self.continued = split_output(output, [width, *(one.shape[1] for one in beside)])
        return output, cache if cache is None or keep == count else branch(cache, keep)

    def _read(self, piece, ids, mask: torch.Tensor | None, position_ids: torch.Tensor, cache, unread: int):
        learns = torch.is_grad_enabled()
        together = self.together if learns else contextlib.nullcontext()
        with read_from(self.decoder, unread), checkpointed(self.checkpointed if learns else []), together:
            named = {"output_hidden_states": self.output_hidden_states, **self.kwargs}
            return read(self.decoder, self.form, piece, ids, mask, position_ids, cache, **named)

    def idle_before(self, embed: torch.Tensor, number: int) -> None:
        """Run ``number`` passes over one column, each followed by the feedback, and forget them; ``embed`` is (1, H)."""
        for _ in range(number):
            embed = self.feedback(self._alone(embed)).to(embed.dtype)

    def idle_after(self, hidden: torch.Tensor, number: int) -> torch.Tensor:
        """Run ``number`` latents of one row and column, and return ``hidden`` (B, T, H) unchanged.

        Nothing of the idle passes is read, but back-propagation walks through them, with a gradient of zero.
        """
        if number <= 0:
            return hidden
        thought = hidden[:1, -1]  # (1, H)
        for _ in range(number):
            thought = self._alone(self.feedback(thought).to(hidden.dtype))
        return with_unread(hidden, thought)

    def _alone(self, embed: torch.Tensor) -> torch.Tensor:
        """Return the hidden state (1, H) of a pass over one column that neither reads nor writes a cache."""
        ids = None if self.token_ids is None else self.token_ids[:1, :1]
        return read(
            self.decoder, self.form, embed.unsqueeze(1), ids, None, self.position_ids[:1, :1], None
        ).last_hidden_state[:, 0]

    def joined(self, outputs: list, filled: torch.Tensor, cache) -> RolloutOutput:
        """Return the outputs of passes over adjoining columns as one."""
        whole = self.joined_output(outputs)
        return RolloutOutput(whole.last_hidden_state, filled, whole.hidden_states, cache, self.continued, whole.attentions)

    def joined_output(self, outputs: list) -> BaseModelOutputWithPast:
        """Return the decoder's outputs over adjoining columns as one."""
        layers = zip(*(output.hidden_states for output in outputs), strict=True) if self.output_hidden_states else ()
        return BaseModelOutputWithPast(
            last_hidden_state=_join([output.last_hidden_state for output in outputs]),
            hidden_states=tuple(_join(list(layer)) for layer in layers) or None,
            attentions=_join_attentions(outputs) if self.kwargs.get("output_attentions") else None,
        )


def split_output(output, widths: list[int]) -> list[BaseModelOutputWithPast]:
    """Return a decoder's output in parts of so many columns."""
    layers = [layer.split(widths, 1) for layer in output.hidden_states or ()]
    return [
        BaseModelOutputWithPast(last_hidden_state=part, hidden_states=tuple(layer[at] for layer in layers) or None)
        for at, part in enumerate(output.last_hidden_state.split(widths, 1))
    ]


def _one_by_one(passes: Passes, embeds, latent_mask, latent_columns, cache, thought, learns: bool = True):
    """Fill the latents of ``embeds`` (B, T, H); return them, one decoder output a pass, and the cache.

    With ``learns=False`` only the latents are wanted: the pass after the last of them and the continuations are left out.
    """
    width = embeds.shape[1]
    latent_columns = [column for column in latent_columns if column < width]
    starts = sorted({0, *latent_columns})
    pieces, outputs = [], []
    for start, end in zip(starts, [*starts[1:], width], strict=True):
        piece = embeds[:, start:end]  # (B, n, H)
        if start in latent_columns:
            latent = torch.where(latent_mask[:, start, None], passes.feedback(thought).to(piece.dtype), piece[:, 0])
            piece = torch.cat([latent.unsqueeze(1), piece[:, 1:]], 1)
        pieces.append(piece)
        if end == width and not learns:
            break
        if start == 0 and learns:
            output, cache = passes.first(piece, cache, keep=end)
        else:
            output = passes.one(piece, start, cache)
        outputs.append(output)
        thought = output.last_hidden_state[:, -1]  # (B, H)
    return _join(pieces), outputs, cache


def _join(pieces: list[torch.Tensor]) -> torch.Tensor:
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, 1)


def _join_attentions(outputs: list) -> tuple[torch.Tensor, ...]:
    """Return every layer's attention (B, heads, T, P + T) from that of passes (B, heads, n, P + end), zeros after their end.

    Raises:
        InputError: a layer that has forgotten columns by a later pass.
    """
    joined = []
    for layer in zip(*(output.attentions for output in outputs), strict=True):
        widths = [attention.shape[-1] for attention in layer]
        added = [after - before for before, after in itertools.pairwise(widths)]
        fixed = set(widths) == {widths[0]}  # a cache of fixed size
        if not fixed and added != [attention.shape[2] for attention in layer[1:]]:
            raise InputError("output_attentions=True: a layer with a window has no attention over columns it has forgotten")
        joined.append(torch.cat([nn.functional.pad(one, (0, widths[-1] - one.shape[-1])) for one in layer], 2))
    return tuple(joined)


def count_positions(attention_mask: torch.Tensor | None, cache, embeds: torch.Tensor) -> torch.Tensor:
    """Return position ids (B, T) for ``embeds`` (B, T, H) after ``cache``, counted over the real columns of each row."""
    batch, width = embeds.shape[:2]
    if attention_mask is not None and attention_mask.ndim == 2:
        return (attention_mask.bool().cumsum(1) - 1).clamp(min=0)[:, -width:]
    past = columns_in(cache)
    return torch.arange(past, past + width, device=embeds.device).expand(batch, width)


def with_unread(hidden: torch.Tensor, unread: torch.Tensor) -> torch.Tensor:
    """Return ``hidden`` (B, T, H) unchanged; back-propagation reaches what ``unread`` (1, H) came from with zeros."""
    return torch.where(hidden.new_zeros((), dtype=torch.bool), unread.to(hidden.dtype).unsqueeze(1), hidden)


def _columns(mask: torch.Tensor) -> list[int]:
    """Return the columns in which any row of ``mask`` (B, T) is True."""
    return mask.any(0).nonzero().flatten().tolist()


def _constant_latents(latent_mask: torch.Tensor, backprop: str | int) -> torch.Tensor:
    """Return (B, T), True for the latents of each row that ``backprop`` cuts off from the gradient."""
    window = {"none": 0, "last": 1}.get(backprop, backprop)
    from_the_right = latent_mask.flip(1).cumsum(1).flip(1)  # 1 for the last latent of a row, 2 for the one before
    return latent_mask & (from_the_right > window)
