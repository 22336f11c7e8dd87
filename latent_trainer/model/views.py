"""One training step: the prompt encoded once, then a continuation per view."""

import torch
from transformers import PreTrainedModel

from latent_trainer.methods.step import Needs
from latent_trainer.model.answer_attention import AnswerAttention
from latent_trainer.model.given_inputs import look_up
from latent_trainer.model.heads import token_losses
from latent_trainer.model.runner import Runner
from latent_trainer.model.step_decoder import StepDecoder
from latent_trainer.model.view_outputs import (
    LatentColumns,
    ViewOutput,
    at_columns,
    in_cache,
    latent_columns,
    latents_at,
    places,
)
from latent_trainer.model.view_passes import read_views


def forward_views(
    runner: Runner,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    views: dict,
    steps: dict | None,
    step_decoder: StepDecoder | None,
    needs: Needs | None = None,
    label_smoothing: float = 0.0,
) -> dict[str, ViewOutput]:
    """Encode the prompt together with the first view, and continue it with every other view.

    The others are read beside the first pass, or, where the model builds its own masks, each on a branch of the prompt's
    cache.

    Args:
        runner: of the model.
        input_ids: (B, Tp) left-padded prompts.
        attention_mask: (B, Tp).
        views: name -> ``input_ids``, ``attention_mask``, ``labels`` (B, Tv), ``answer_start`` and ``steps_end`` (B,), and
            what `latent_trainer.model.given_inputs.look_up` reads; that with latents comes first, because its first pass
            then carries the prompt too; prompt and other views hold none.
        steps: what the step decoder reads (see `StepDecoder.forward`), columns counted within the first view; or None.
        step_decoder: reads them.
        needs: what is returned of the views, and which of them are read; None reads all, for their losses.
        label_smoothing: of every token's loss (`latent_trainer.model.heads.cross_entropy`).

    Raises:
        ValueError: a latent in the prompt, or keys and values of a base model that keeps something else.
    """
    needs = Needs(tuple(views)) if needs is None else needs
    views = {name: views[name] for name in needs.views}
    prompt_width = input_ids.shape[1]
    # the last token of a row predicts nothing, so that nobody would read its column
    read = {name: slice(max(1, view["input_ids"].shape[1] - 1)) for name, view in views.items()}
    masks = [torch.cat([attention_mask, view["attention_mask"][:, read[name]]], 1) for name, view in views.items()]
    parts = [view["input_ids"][:, read[name]] for name, view in views.items()]
    parts[0] = torch.cat([input_ids, parts[0]], 1)  # (B, Tp + Tv - 1)
    attended = [AnswerAttention(runner.decoder, view) if needs.attention else None for view in [*views.values()][1:]]
    inputs = look_up(runner.embedding, parts, list(views.values()), [prompt_width, *[0] * (len(parts) - 1)])
    output, others, caches = read_views(runner, parts, inputs, masks, prompt_width, needs, attended)
    prompt_end = slice(prompt_width - 1, prompt_width)  # predicts the first token of every view
    hidden = [output.hidden[:, prompt_width - 1 :]]
    hidden += [torch.cat([output.hidden[:, prompt_end], other.last_hidden_state], 1) for other in others]  # (B, Tv, H)
    losses = _token_losses(runner.base, views, dict(zip(views, hidden, strict=True)), label_smoothing)
    latents = latent_columns(runner.latent_places(parts[0]), prompt_width) if needs.columns_of_latents else None
    results = {}
    for name, other, cache, attention, last, fed in zip(
        views, [None, *others], caches, [None, *attended], hidden, inputs, strict=True
    ):
        layers, before, own = output.hidden_states, prompt_width - 1, latents if other is None else None
        if other is not None and needs.hidden_states:
            pairs = zip(output.hidden_states, other.hidden_states, strict=True)
            layers, before = [torch.cat([layer[:, prompt_end], own_part], 1) for layer, own_part in pairs], 0
        columns = places(needs.hidden_states, views[name], own, before)
        results[name] = ViewOutput(
            token_loss=losses[name],
            hidden_states={place: at_columns(layers, where) for place, where in columns.items()} or None,
            last_hidden={
                place: at_columns([last], where)[0]
                for place, where in places(needs.last_hidden, views[name], own, 0).items()
            }
            or None,
            inputs=_inputs(needs.inputs, views[name], own, output.latents, other and fed.embeds, prompt_width) or None,
            keys_values=in_cache(needs.keys_values, cache, prompt_width, own) or None,
            attention=None if attention is None else {place: attention.layers(cache) for place in needs.attention},
        )
    first = next(iter(results.values()))
    if needs.latents:
        first.latents, first.latent_mask = latents_at(output.latents, latents, prompt_width), latents.mask
    if steps is not None:
        in_row = {**steps, "columns": steps["columns"] + prompt_width}
        decoded = step_decoder(output.latents, in_row, runner.base, label_smoothing)
        results["steps"] = ViewOutput(token_loss=decoded)
    return results


def _inputs(
    wanted: tuple[str, ...],
    view: dict,
    latents: LatentColumns | None,
    first: torch.Tensor,
    own: torch.Tensor | None,
    prompt_width: int,
) -> dict[str, torch.Tensor]:
    """Return for each place the input embeddings (B, n, H) of a view.

    Args:
        wanted: names of places.
        view: a view of the batch.
        latents: where its latents are.
        first: (B, Tp + n, H) input embeddings of the prompt and the first view, latents filled in.
        own: (B, n, H) those of the view, where it is another one.
        prompt_width: Tp.
    """
    before = prompt_width - 1
    fed = first if own is None else torch.cat([first[:, :prompt_width], own], 1)  # (B, Tp + n, H)
    return {place: at_columns([fed], where)[0] for place, where in places(wanted, view, latents, before).items()}


def _token_losses(
    base: PreTrainedModel, views: dict, hidden: dict[str, torch.Tensor], label_smoothing: float
) -> dict[str, torch.Tensor]:
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
