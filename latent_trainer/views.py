"""One training step: the prompt encoded once, then a continuation per view."""

from dataclasses import dataclass

import torch
from transformers.utils import ModelOutput

from latent_trainer.cache import branch
from latent_trainer.heads import token_losses
from latent_trainer.ranks import agree


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
    least, *leasts = agree(model, [whole, *(view["input_ids"] for _, view in others)])
    output = model.run(
        whole,
        torch.cat([attention_mask, first_view["attention_mask"]], 1),
        use_cache=bool(others),
        output_hidden_states=output_hidden_states,
        least=least,
    )
    results = {first: _score(model, first_view, output.hidden, output.hidden_states, prompt_width - 1)}
    prompt_hidden = output.hidden[:, prompt_width - 1 : prompt_width]  # (B, 1, H): predicts the first token of every view
    for (name, view), least in zip(others, leasts, strict=True):
        continued = model.run(
            view["input_ids"],
            torch.cat([attention_mask, view["attention_mask"]], 1),
            past_key_values=branch(output.cache, prompt_width),
            output_hidden_states=output_hidden_states,
            least=least,
        )
        hidden = torch.cat([prompt_hidden, continued.hidden], 1)  # (B, 1 + Tv, H)
        layers = None
        if output_hidden_states:
            layers = [
                torch.cat([before[:, prompt_width - 1 : prompt_width], after], 1)
                for before, after in zip(output.hidden_states, continued.hidden_states, strict=True)
            ]
        results[name] = _score(model, view, hidden, layers, 0)
    if steps is not None:
        in_row = {**steps, "columns": steps["columns"] + prompt_width}
        results["steps"] = ViewOutput(token_loss=model.step_decoder(output.latents, in_row, model.base))
    return results


def _score(model, view: dict, hidden: torch.Tensor, layers, before: int) -> ViewOutput:
    """Score a view whose column t is predicted by column ``before + t`` of ``hidden``."""
    labels = view["labels"]  # (B, Tv)
    scored = labels != -100
    predicting = hidden[:, before : before + labels.shape[1]][scored]  # (N, H)
    token_loss = token_losses(model.logits_of(predicting), labels[scored])  # the head runs on labelled positions only
    at_answer = None
    if layers is not None:
        rows = torch.arange(labels.shape[0], device=labels.device)
        columns = before + view["answer_start"]
        at_answer = tuple(layer[rows, columns] for layer in layers)  # L + 1 times (B, H)
    return ViewOutput(token_loss=token_loss, hidden_states=at_answer)
