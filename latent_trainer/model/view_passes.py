"""The passes of a training step over views: the prompt once, with the first view; the others beside it or after it."""

import math
from contextlib import AbstractContextManager, nullcontext

import torch
from transformers.modeling_outputs import BaseModelOutputWithPast

from latent_trainer.methods.step import Needs
from latent_trainer.model.given_inputs import Inputs
from latent_trainer.model.runner import Runner
from latent_trainer.rollout.cache import branch
from latent_trainer.rollout.columns import Continuation
from latent_trainer.rollout.fast.ready_masks import takes_ready_mask
from latent_trainer.rollout.fast.weight_gradients import WeightGradients
from latent_trainer.rollout.output import RolloutOutput


def read_views(
    runner: Runner,
    parts: list[torch.Tensor],
    inputs: list[Inputs],
    masks: list[torch.Tensor],
    prompt_width: int,
    needs: Needs,
    watched: list[AbstractContextManager | None],
) -> tuple[RolloutOutput, list[BaseModelOutputWithPast], list]:
    """Return the rollout over the prompt and the first view, an output for every other view's own columns, and caches.

    Args:
        runner: of the model.
        parts: token ids of the prompt with the first view, and of every other view.
        inputs: their input embeddings.
        masks: (B, Tp + Tv - 1) for each view, the prompt's columns included.
        prompt_width: Tp.
        needs: say whether all layers' hidden states, and the cache of every view, are returned; else caches may be None.
        watched: for every other view, within what its own columns are read, and nothing else is; None where that is nobody's
            concern.
    """
    least_of = runner.agree(parts, given=[one.given for one in inputs])
    others = list(zip(parts, masks, inputs, least_of, strict=True))
    ids, mask, own, least = others.pop(0)
    # one count of passes on all ranks, whatever their rows are
    columns = math.inf if runner.sharded else sum(part.shape[1] for part in parts)
    keeps = bool(needs.keys_values or needs.attention)
    beside = runner.fast and not keeps and runner.form.usual and takes_ready_mask(runner.decoder, columns)
    together = WeightGradients(runner.decoder) if others and runner.fast and not runner.sharded else None
    common = {"output_hidden_states": bool(needs.hidden_states), "together": together}
    if others and runner.form.own_cache:
        return _read_after_prompt(runner, (ids, mask, own, least), others, prompt_width, watched, common)
    output = runner.run(
        ids,
        mask,
        inputs_embeds=own.embeds,
        given=own.given,
        use_cache=keeps or (bool(others) and not beside),
        least=least,
        continuations=[Continuation(other.embeds, mask) for _, mask, other, _ in others if beside],
        unread=prompt_width - 1,
        **common,
    )
    if beside:
        return output, output.continued, [None] * len(parts)
    continued, caches = [], [output.cache]
    for (ids, mask, other, least), watch in zip(others, watched, strict=True):
        caches.append(branch(output.cache, prompt_width))
        with watch or nullcontext():
            one = runner.run(ids, mask, inputs_embeds=other.embeds, past_key_values=caches[-1], least=least, **common)
        continued.append(BaseModelOutputWithPast(last_hidden_state=one.hidden, hidden_states=one.hidden_states))
    return output, continued, caches


def _read_after_prompt(runner: Runner, first: tuple, others: list, prompt_width: int, watched: list, common: dict):
    """Return what `read_views` does, the prompt read in a pass of its own: a cache with states branches where it ends."""
    ids, mask, inputs, least = first
    prompt = runner.run(
        ids[:, :prompt_width],
        mask[:, :prompt_width],
        inputs_embeds=inputs.embeds[:, :prompt_width],
        use_cache=True,
        least=None if least is None else (0, 0),
        unread=prompt_width - 1,
        **common,
    )
    views = [(ids[:, prompt_width:], mask, inputs[prompt_width:], least), *others]
    caches = [prompt.cache, *(branch(prompt.cache) for _ in others)]
    outputs = []
    for (ids, mask, one, least), cache, watch in zip(views, caches, [None, *watched], strict=True):
        with watch or nullcontext():
            outputs.append(
                runner.run(
                    ids, mask, inputs_embeds=one.embeds, given=one.given, past_key_values=cache, least=least, **common
                )
            )
    own = outputs.pop(0)
    layers = [prompt.hidden_states or (), own.hidden_states or ()]
    whole = RolloutOutput(
        hidden=torch.cat([prompt.hidden, own.hidden], 1),
        latents=torch.cat([prompt.latents, own.latents], 1),
        hidden_states=tuple(torch.cat(pair, 1) for pair in zip(*layers, strict=True)) or None,
        cache=None,
    )
    continued = [BaseModelOutputWithPast(last_hidden_state=one.hidden, hidden_states=one.hidden_states) for one in outputs]
    return whole, continued, caches
