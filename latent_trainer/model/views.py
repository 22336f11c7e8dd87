"""One training step: the prompt encoded once, then a continuation per view."""

import math

import torch
from transformers.modeling_outputs import BaseModelOutputWithPast

from latent_trainer.methods.step import Needs, Step
from latent_trainer.model.heads import token_losses
from latent_trainer.model.view_outputs import ViewOutput, at_columns, latent_columns, latents_at, places
from latent_trainer.rollout.cache import branch
from latent_trainer.rollout.fast.weight_gradients import WeightGradients
from latent_trainer.rollout.masks import Continuation, takes_ready_mask
from latent_trainer.rollout.ranks import agree
from latent_trainer.rollout.sequential import RolloutOutput
from latent_trainer.sharding import is_sharded


def forward_views(
    model,
    input_ids,
    attention_mask,
    views: dict,
    steps: dict | None,
    needs: Needs | None = None,
    scored: dict | None = None,
    label_smoothing: float = 0.0,
) -> dict[str, ViewOutput]:
    """Encode the prompt together with the first view, and continue it with every other view.

    The others are read beside the first pass, or, where the model builds its own masks, each on a branch of the prompt's
    cache.

    Args:
        model: a `LatentForCausalLM`.
        input_ids: (B, Tp) left-padded prompts.
        attention_mask: (B, Tp).
        views: name -> ``input_ids``, ``attention_mask``, ``labels`` (B, Tv) and ``answer_start`` (B,); the view with latents
            comes first, because its first pass then carries the prompt too; prompt and other views hold none.
        steps: what the step decoder reads (see `StepDecoder.forward`), columns counted within the first view; or None.
        needs: what is returned of the views, and which of them are read; None reads all, for their losses.
        scored: ``rows``, ``counts`` and ``sums`` with which the model's own objective computes its terms; or None.
        label_smoothing: of every token's loss (`latent_trainer.model.heads.cross_entropy`).

    Raises:
        ValueError: a latent in the prompt.
    """
    needs = Needs(tuple(views)) if needs is None else needs
    batch = {"input_ids": input_ids, "attention_mask": attention_mask, "views": views}
    views = {name: views[name] for name in needs.views}
    prompt_width = input_ids.shape[1]
    # the last token of a row predicts nothing, so that nobody would read its column
    read = {name: slice(max(1, view["input_ids"].shape[1] - 1)) for name, view in views.items()}
    masks = [torch.cat([attention_mask, view["attention_mask"][:, read[name]]], 1) for name, view in views.items()]
    parts = [view["input_ids"][:, read[name]] for name, view in views.items()]
    parts[0] = torch.cat([input_ids, parts[0]], 1)  # (B, Tp + Tv - 1)
    # one lookup: the gradient of each is as large as the vocabulary
    embeds = model.get_input_embeddings()(torch.cat(parts, 1)).split([part.shape[1] for part in parts], 1)
    output, others = _read(model, parts, masks, embeds, prompt_width, bool(needs.hidden_states))
    prompt_end = slice(prompt_width - 1, prompt_width)  # predicts the first token of every view
    hidden = [output.hidden[:, prompt_width - 1 :]]
    hidden += [torch.cat([output.hidden[:, prompt_end], other.last_hidden_state], 1) for other in others]  # (B, Tv, H)
    losses = _token_losses(model, views, dict(zip(views, hidden, strict=True)), label_smoothing)
    latents = None
    if _asks_for_latents(needs):
        thinking = model.thought_columns(parts[0])[1] & (parts[0] == model.config.latent_token_id)
        latents = latent_columns(thinking, prompt_width)
    results = {name: ViewOutput(token_loss=losses[name]) for name in views}
    for number, (name, other) in enumerate(zip(views, [None, *others], strict=True)):
        layers, before = output.hidden_states, prompt_width - 1
        if other is not None and needs.hidden_states:
            pairs = zip(output.hidden_states, other.hidden_states, strict=True)
            layers, before = [torch.cat([layer[:, prompt_end], own], 1) for layer, own in pairs], 0
        columns = places(needs.hidden_states, views[name], None if number else latents, before)
        if columns:
            results[name].hidden_states = {place: at_columns(layers, where) for place, where in columns.items()}
    first = next(iter(results.values()))
    if needs.latents:
        first.latents, first.latent_mask = latents_at(output.latents, latents, prompt_width), latents.mask
    if steps is not None:
        in_row = {**steps, "columns": steps["columns"] + prompt_width}
        decoded = model.step_decoder(output.latents, in_row, model.base, label_smoothing)
        results["steps"] = ViewOutput(token_loss=decoded)
    if scored is not None:
        step = Step(results, {**batch, "rows": scored["rows"]}, scored["counts"], scored["sums"], model=model)
        step.latents, step.latent_mask = first.latents, first.latent_mask
        return {**results, "terms": model.objective(step)}
    return results


def _asks_for_latents(needs: Needs) -> bool:
    """Whether the columns of latents have to be found."""
    return needs.latents or bool({"latents", "before_latents"} & {*needs.hidden_states, *needs.keys_values})


def _read(model, parts: list, masks: list, embeds: tuple, prompt_width: int, output_hidden_states: bool):
    """Return the rollout over the prompt and the first view, and an output for every other view's own columns.

    Args:
        parts: token ids of the prompt with the first view, and of every other view.
        masks: (B, Tp + Tv - 1) for each view, the prompt's columns included.
        embeds: of ``parts``.
    """
    others = list(zip(parts, masks, embeds, agree(model, parts), strict=True))
    ids, mask, embed, least = others.pop(0)
    # one count of passes on all ranks, whatever their rows are
    columns = math.inf if is_sharded(model) else sum(part.shape[1] for part in parts)
    beside = model.form.usual and takes_ready_mask(model.get_decoder(), columns)
    common = {"output_hidden_states": output_hidden_states, "together": WeightGradients() if others else None}
    if others and model.form.own_cache:
        return _read_after_prompt(model, (ids, mask, embed, least), others, prompt_width, common)
    output = model.run(
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
        one = model.run(ids, mask, inputs_embeds=embed, past_key_values=cache, least=least, **common)
        continued.append(BaseModelOutputWithPast(last_hidden_state=one.hidden, hidden_states=one.hidden_states))
    return output, continued


def _read_after_prompt(model, first: tuple, others: list, prompt_width: int, common: dict):
    """Return what `_read` does, with the prompt read in a pass of its own: a cache with states branches where it ends."""
    ids, mask, embed, least = first
    prompt = model.run(
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
        model.run(ids, mask, inputs_embeds=embed, past_key_values=cache, least=least, **common)
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


def _token_losses(model, views: dict, hidden: dict[str, torch.Tensor], label_smoothing: float) -> dict[str, torch.Tensor]:
    """Return the losses (N,) of each view's labelled tokens; the head runs once, on the positions that predict them.

    Args:
        hidden: name -> (B, Tv, H), of which column t predicts the view's column t.
    """
    predicting, labels = [], []
    for name, view in views.items():
        scored = (view["labels"] != -100).nonzero(as_tuple=True)  # rows (N,) and columns (N,)
        predicting.append(hidden[name][scored])  # (N, H)
        labels.append(view["labels"][scored])
    losses = token_losses(model.base, torch.cat(predicting), torch.cat(labels), label_smoothing)
    return dict(zip(views, losses.split([len(label) for label in labels]), strict=True))
