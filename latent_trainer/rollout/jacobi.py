"""The Jacobi rollout: all latents refined together, a few times, instead of one after the other."""

from collections.abc import Callable, Sequence

import torch

from latent_trainer.errors import InputError
from latent_trainer.rollout.base_form import USUAL, BaseForm
from latent_trainer.rollout.cache import branch, columns_in
from latent_trainer.rollout.fast.weight_gradients import WeightGradients
from latent_trainer.rollout.masks import Continuation, Masks
from latent_trainer.rollout.sequential import Passes, RolloutOutput, check_prompt, rollout, split_output
from latent_trainer.rollout.settings import check_rollout


def jacobi_rollout(
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
    iterations: int = 3,
    tolerance: float | None = None,
    checkpoint: bool = False,
    least: tuple[int, int] | None = None,
    together: WeightGradients | None = None,
    continuations: Sequence[Continuation] = (),
    unread: int = 0,
    form: BaseForm = USUAL,
    token_ids: torch.Tensor | None = None,
    **kwargs,
) -> RolloutOutput:
    """Run the decoder over T columns, refining all latents in parallel.

    Pass 0 reads every column before the last latent, with the placeholder's own embedding at the latents. Then T times:
    every latent becomes feedback(hidden state of the column before it in the pass before), and the columns from the first
    latent to the last are read anew; the T-th time everything after them is read with them. After t iterations the first t
    latents of a row equal the sequential ones, and so does the hidden state the next one grows from: as many iterations as
    latents give the sequential rollout exactly, in T + 1 passes. So the t-th pass need not read the first t - 1 columns
    again, nor any but the last pass the last column: what they gave, or would give, is known or never read.

    Args:
        iterations: T, at least 1.
        tolerance: a row whose latents all changed by less (largest absolute entry) is not refined further; the loop ends
            when that holds for every row. None never stops early.
        least: latents of the rank that has most, as the sum of two numbers: see `latent_trainer.rollout.ranks`. Where they
            are two or more, all ranks run every iteration, over their last column if they have no latent. None where nobody
            waits.
        decoder, embeds, latent_mask, attention_mask, position_ids, cache, thought, use_cache, output_hidden_states,
            checkpoint, together, continuations, unread, form, token_ids: as in `rollout`.
        feedback: as in `rollout`, for (B, n, H) too.
        backprop: "full", or "none": latents are constants.

    Raises:
        ValueError: no iteration, a truncated back-propagation, or a latent in the first column with no hidden state
            before it.

    Source: Wu et al. 2025, "Parallel Continuous Chain-of-Thought with Jacobi Iteration", section 3.
    """
    check_rollout("jacobi", {"iterations": iterations}, backprop)
    columns = latent_mask.any(0).nonzero().flatten().tolist()  # a device synchronisation
    if len(columns) < 2 and (least is None or sum(least) < 2):  # a single latent has nothing to be refined with
        common = {"cache": cache, "thought": thought, "use_cache": use_cache, "output_hidden_states": output_hidden_states}
        one = (decoder, feedback, embeds, latent_mask, attention_mask, position_ids)
        common |= {"checkpoint": checkpoint, "least": least, "together": together}
        common |= {"continuations": continuations, "unread": unread, "form": form, "token_ids": token_ids}
        return rollout(*one, **common, backprop=backprop, **kwargs)
    columns = columns or [embeds.shape[1] - 1]
    check_prompt(columns, unread)
    first, last = columns[0], columns[-1] + 1
    if first == 0 and thought is None:
        raise InputError("a latent stands in the first column, where there is no hidden state to think from")
    width = last - first  # n
    # only what follows the last column reads it, in the final pass; a rank that must keep up may have no other column
    read = width if least is not None else width - 1
    iterations = iterations if least is not None else min(iterations, width)  # then every latent is the sequential one
    passes = Passes(
        decoder,
        feedback,
        Masks(decoder, attention_mask, embeds, cache, continuations, own_cache=form.own_cache),
        position_ids,
        output_hidden_states,
        kwargs,
        checkpoint=checkpoint,
        together=together or WeightGradients(),
        whole=least is None,
        continuations=continuations,
        unread=unread,
        form=form,
        token_ids=token_ids,
    )
    if form.own_cache and cache is None:  # one that branches where it ends, if it holds states
        cache = passes.new_cache()
    keeps = cache is None and least is None  # one that was handed in is to be extended itself, by the last pass alone
    outputs, hidden, cache = _read_prefix(passes, embeds, first, first + read, cache, thought)
    hidden = hidden[:, :width]  # (B, n, H): the columns before the block's
    length = columns_in(cache)
    mask = latent_mask[:, first:last, None]  # (B, n, 1)
    block = embeds[:, first:last]  # (B, n, H); the columns left to refine
    done: list[torch.Tensor] = []  # columns (B, 1, H) that are final and stay in a fresh cache: one more every pass
    moving = None
    for iteration in range(1, iterations + 1):
        latents = feedback(hidden).to(block.dtype)
        refined = torch.where(mask, latents.detach() if backprop == "none" else latents, block)
        if tolerance is not None and iteration > 1:
            change = (refined - block).detach().abs().amax((1, 2))  # (B,)
            moving = change >= tolerance if moving is None else moving & (change >= tolerance)
            refined = torch.where(moving[:, None, None], refined, block)
        block = refined
        if iteration == iterations or (least is None and moving is not None and not moving.any()):
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


def _read_prefix(passes: Passes, embeds, first: int, stop: int, cache, thought):
    """Pass 0, over the columns before ``stop``.

    A fresh cache reads prefix and placeholders in one pass and forgets the placeholders; a cache that was handed in may be
    of fixed size, so there the placeholders are read on a branch.

    Returns:
        Outputs over the columns before ``first``, the hidden state before each column of the block, and the cache.
    """
    if cache is None:
        output, cache = passes.first(embeds[:, :stop], passes.new_cache(), keep=first)
        prefix, placeholders = split_output(output, [first, stop - first])
        before = torch.cat([prefix.last_hidden_state[:, -1:], placeholders.last_hidden_state], 1)
        return [prefix], before, cache
    outputs = []
    if first > 0:
        outputs = [passes.one(embeds[:, :first], 0, cache)]
        thought = outputs[0].last_hidden_state[:, -1]
    placeholders = passes.one(embeds[:, first:stop], first, branch(cache)).last_hidden_state
    return outputs, torch.cat([thought.unsqueeze(1), placeholders], 1), cache
