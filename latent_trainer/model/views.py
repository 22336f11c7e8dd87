"""One training step: the prompt encoded once, then a continuation per view."""

import math
from dataclasses import dataclass

import torch
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.utils import ModelOutput

from latent_trainer.model.heads import token_losses
from latent_trainer.model.runner import Runner
from latent_trainer.model.step_decoder import StepDecoder
from latent_trainer.rollout.cache import branch
from latent_trainer.rollout.columns import Continuation
from latent_trainer.rollout.fast.ready_masks import takes_ready_mask
from latent_trainer.rollout.fast.weight_gradients import WeightGradients
from latent_trainer.rollout.output import RolloutOutput


@dataclass
class ViewOutput(ModelOutput):
    """What one continuation gives to an objective. N is the number of labelled tokens of the view.

    Args:
        token_loss: (N,) cross-entropy of every labelled token, in row order.
        hidden_states: one (B, H) tensor a layer, embedding output first: the column that predicts the first answer token;
            None unless the objective asks for it.
    """

    token_loss: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None


def forward_views(
    runner: Runner,
    input_ids,
    attention_mask,
    views: dict,
    steps: dict | None,
    step_decoder: StepDecoder | None,
    output_hidden_states: bool,
    label_smoothing: float = 0.0,
) -> dict[str, ViewOutput]:
    """Encode the prompt together with the first view, and continue it with every other view.

    The others are read beside the first pass, or, where the model builds its own masks, each on a branch of the prompt's
    cache.

    Args:
        runner: of the model.
        input_ids: (B, Tp) left-padded prompts.
        attention_mask: (B, Tp).
        views: name -> ``input_ids``, ``attention_mask``, ``labels`` (B, Tv) and ``answer_start`` (B,); the view with latents
            comes first, because its first pass then carries the prompt too; prompt and other views hold none.
        steps: what the step decoder reads (see `StepDecoder.forward`), columns counted within the first view; or None.
        step_decoder: reads them.
        output_hidden_states: whether each view returns its hidden states where the answer starts.
        label_smoothing: of every token's loss (`latent_trainer.model.heads.cross_entropy`).

    Raises:
        ValueError: a latent in the prompt.
    """
    prompt_width = input_ids.shape[1]
    # the last token of a row predicts nothing, so that nobody would read its column
    read = {name: slice(max(1, view["input_ids"].shape[1] - 1)) for name, view in views.items()}
    masks = [torch.cat([attention_mask, view["attention_mask"][:, read[name]]], 1) for name, view in views.items()]
    parts = [view["input_ids"][:, read[name]] for name, view in views.items()]
    parts[0] = torch.cat([input_ids, parts[0]], 1)  # (B, Tp + Tv - 1)
    # one lookup: the gradient of each is as large as the vocabulary
    embeds = runner.embedding(torch.cat(parts, 1)).split([part.shape[1] for part in parts], 1)
    output, others = _read(runner, parts, masks, embeds, prompt_width, output_hidden_states)
    prompt_end = slice(prompt_width - 1, prompt_width)  # predicts the first token of every view
    hidden = [output.hidden[:, prompt_width - 1 :]]
    hidden += [torch.cat([output.hidden[:, prompt_end], other.last_hidden_state], 1) for other in others]  # (B, Tv, H)
    losses = _token_losses(runner.base, views, dict(zip(views, hidden, strict=True)), label_smoothing)
    results = {}
    for name, other in zip(views, [None, *others], strict=True):
        layers, before = output.hidden_states, prompt_width - 1
        if other is not None and output_hidden_states:
            pairs = zip(output.hidden_states, other.hidden_states, strict=True)
            layers, before = [torch.cat([layer[:, prompt_end], own], 1) for layer, own in pairs], 0
        at_answer = _at_answer(layers, before + views[name]["answer_start"]) if output_hidden_states else None
        results[name] = ViewOutput(token_loss=losses[name], hidden_states=at_answer)
    if steps is not None:
        in_row = {**steps, "columns": steps["columns"] + prompt_width}
        decoded = step_decoder(output.latents, in_row, runner.base, label_smoothing)
        results["steps"] = ViewOutput(token_loss=decoded)
    return results


def _read(runner, parts: list, masks: list, embeds: tuple, prompt_width: int, output_hidden_states: bool):
    """Return the rollout over the prompt and the first view, and an output for every other view's own columns.

    Args:
        parts: token ids of the prompt with the first view, and of every other view.
        masks: (B, Tp + Tv - 1) for each view, the prompt's columns included.
        embeds: of ``parts``.
    """
    others = list(zip(parts, masks, embeds, runner.agree(parts), strict=True))
    ids, mask, embed, least = others.pop(0)
    # one count of passes on all ranks, whatever their rows are
    columns = math.inf if runner.sharded else sum(part.shape[1] for part in parts)
    beside = runner.fast and runner.form.usual and takes_ready_mask(runner.decoder, columns)
    together = WeightGradients() if others and runner.fast else None
    common = {"output_hidden_states": output_hidden_states, "together": together}
    if others and runner.form.own_cache:
        return _read_after_prompt(runner, (ids, mask, embed, least), others, prompt_width, common)
    output = runner.run(
        ids,
        mask,
        inputs_embeds=embed,
        use_cache=bool(others) and not beside,
        least=least,
        continuations=[Continuation(embed, mask) for _, mask, embed, _ in others if beside],
        unread=prompt_width - 1,
        **common,
    )
    if beside:
        return output, output.continued
    continued = []
    for ids, mask, embed, least in others:
        cache = branch(output.cache, prompt_width)
        one = runner.run(ids, mask, inputs_embeds=embed, past_key_values=cache, least=least, **common)
        continued.append(BaseModelOutputWithPast(last_hidden_state=one.hidden, hidden_states=one.hidden_states))
    return output, continued


def _read_after_prompt(runner: Runner, first: tuple, others: list, prompt_width: int, common: dict):
    """Return what `_read` does, with the prompt read in a pass of its own: a cache with states branches where it ends."""
    ids, mask, embed, least = first
    prompt = runner.run(
        ids[:, :prompt_width],
        mask[:, :prompt_width],
        inputs_embeds=embed[:, :prompt_width],
        use_cache=True,
        least=None if least is None else (0, 0),
        unread=prompt_width - 1,
        **common,
    )
    views = [(ids[:, prompt_width:], mask, embed[:, prompt_width:], least), *others]
    caches = [prompt.cache, *(branch(prompt.cache) for _ in others)]
    outputs = [
        runner.run(ids, mask, inputs_embeds=embed, past_key_values=cache, least=least, **common)
        for (ids, mask, embed, least), cache in zip(views, caches, strict=True)
    ]
    own = outputs.pop(0)
    layers = [prompt.hidden_states or (), own.hidden_states or ()]
    whole = RolloutOutput(
        hidden=torch.cat([prompt.hidden, own.hidden], 1),
        latents=torch.cat([prompt.latents, own.latents], 1),
        hidden_states=tuple(torch.cat(pair, 1) for pair in zip(*layers, strict=True)) or None,
        cache=None,
    )
    continued = [BaseModelOutputWithPast(last_hidden_state=one.hidden, hidden_states=one.hidden_states) for one in outputs]
    return whole, continued


def _token_losses(base, views: dict, hidden: dict[str, torch.Tensor], label_smoothing: float) -> dict[str, torch.Tensor]:
    """Return the losses (N,) of each view's labelled tokens; the head runs once, on the positions that predict them.

    Args:
        hidden: name -> (B, Tv, H), of which column t predicts the view's column t.
    """
    predicting, labels = [], []
    for name, view in views.items():
        scored = (view["labels"] != -100).nonzero(as_tuple=True)  # rows (N,) and columns (N,)
        predicting.append(hidden[name][scored])  # (N, H)
        labels.append(view["labels"][scored])
    losses = token_losses(base, torch.cat(predicting), torch.cat(labels), label_smoothing)
    return dict(zip(views, losses.split([len(label) for label in labels]), strict=True))


def _at_answer(layers, columns: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return of every layer (B, T, H) each row's hidden state (B, H) at its column."""
    rows = torch.arange(len(columns), device=columns.device)
    return tuple(layer[rows, columns] for layer in layers)
