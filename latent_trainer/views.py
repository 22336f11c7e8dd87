"""One training step: the prompt encoded once, then a continuation per view."""

from dataclasses import dataclass

import torch
from transformers.utils import ModelOutput

from latent_trainer.cache import branch
from latent_trainer.heads import token_losses
from latent_trainer.ranks import agree
from latent_trainer.weight_gradients import WeightGradients


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
    model, input_ids, attention_mask, views: dict, steps: dict | None, output_hidden_states: bool
) -> dict[str, ViewOutput]:
    """Encode the prompt together with the first view, then every other view on a branch of the prompt's cache.

    Args:
        model: a `LatentForCausalLM`.
        input_ids: (B, Tp) left-padded prompts.
        attention_mask: (B, Tp).
        views: name -> ``input_ids``, ``attention_mask``, ``labels`` (B, Tv) and ``answer_start`` (B,); the view with latents
            comes first, because its first pass then carries the prompt too.
        steps: what the step decoder reads (see `StepDecoder.forward`), columns counted within the first view; or None.
        output_hidden_states: whether each view returns its hidden states where the answer starts.
    """
    prompt_width = input_ids.shape[1]
    (first, first_view), *others = views.items()
    whole = torch.cat([input_ids, first_view["input_ids"]], 1)  # (B, Tp + Tv)
    parts = [whole, *(view["input_ids"] for _, view in others)]
    # one lookup: the gradient of each is as large as the vocabulary
    embeds = model.get_input_embeddings()(torch.cat(parts, 1)).split([part.shape[1] for part in parts], 1)
    least, *leasts = agree(model, parts)
    together = WeightGradients() if others else None
    output = model.run(
        whole,
        torch.cat([attention_mask, first_view["attention_mask"]], 1),
        inputs_embeds=embeds[0],
        use_cache=bool(others),
        output_hidden_states=output_hidden_states,
        least=least,
        together=together,
    )
    ends = {first: (output.hidden[:, prompt_width - 1 :], output.hidden_states, prompt_width - 1)}
    prompt_hidden = output.hidden[:, prompt_width - 1 : prompt_width]  # (B, 1, H): predicts the first token of every view
    for (name, view), embed, least in zip(others, embeds[1:], leasts, strict=True):
        continued = model.run(
            view["input_ids"],
            torch.cat([attention_mask, view["attention_mask"]], 1),
            inputs_embeds=embed,
            past_key_values=branch(output.cache, prompt_width),
            output_hidden_states=output_hidden_states,
            least=least,
            together=together,
        )
        layers = None
        if output_hidden_states:
            layers = [
                torch.cat([before[:, prompt_width - 1 : prompt_width], after], 1)
                for before, after in zip(output.hidden_states, continued.hidden_states, strict=True)
            ]
        ends[name] = (torch.cat([prompt_hidden, continued.hidden], 1), layers, 0)  # hidden (B, 1 + Tv, H)
    losses = _token_losses(model, views, {name: hidden for name, (hidden, _, _) in ends.items()})
    results = {}
    for name, (_, layers, before) in ends.items():
        at_answer = None if layers is None else _at_answer(layers, before + views[name]["answer_start"])
        results[name] = ViewOutput(token_loss=losses[name], hidden_states=at_answer)
    if steps is not None:
        in_row = {**steps, "columns": steps["columns"] + prompt_width}
        results["steps"] = ViewOutput(token_loss=model.step_decoder(output.latents, in_row, model.base))
    return results


def _token_losses(model, views: dict, hidden: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the losses (N,) of each view's labelled tokens; the head runs once, on the positions that predict them.

    Args:
        hidden: name -> (B, 1 + Tv, H), of which column t predicts the view's column t.
    """
    predicting, labels = [], []
    for name, view in views.items():
        scored = view["labels"] != -100  # (B, Tv)
        predicting.append(hidden[name][:, : scored.shape[1]][scored])  # (N, H)
        labels.append(view["labels"][scored])
    losses = token_losses(model.base, torch.cat(predicting), torch.cat(labels))
    return dict(zip(views, losses.split([len(label) for label in labels]), strict=True))


def _at_answer(layers, columns: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return of every layer (B, T, H) each row's hidden state (B, H) at its column."""
    rows = torch.arange(len(columns), device=columns.device)
    return tuple(layer[rows, columns] for layer in layers)
