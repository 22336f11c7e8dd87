"""Which vocabulary tokens a latent is nearest to, and which it would write at every layer."""

import numpy as np
import torch
from torch import nn

from latent_trainer.errors import InputError
from latent_trainer.evaluation.statistics import mean_and_error
from latent_trainer.model.modeling import LatentForCausalLM

TOP = 5
EXAMPLES = 3
ROWS = 256  # hidden states whose logits are in memory at a time


@torch.no_grad()
def nearest_tokens(
    model: LatentForCausalLM,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    top_k: int = 3,
    latents: torch.Tensor | None = None,
) -> list[list[list[tuple[int, float]]]]:
    """Return, per row and latent, the ``top_k`` token ids whose embedding has the highest cosine with the latent.

    Args:
        model: a latent model.
        input_ids: (B, T) prompts with latents.
        attention_mask: (B, T).
        top_k: tokens per latent.
        latents: (B, T, H) input embeddings with the latents in them, where `LatentForCausalLM.run` has been called already.
    """
    if latents is None:
        latents = model.run(input_ids, attention_mask).latents  # (B, T, H)
    table = nn.functional.normalize(model.get_input_embeddings().weight, dim=-1)  # (V, H)
    cosine = nn.functional.normalize(latents, dim=-1) @ table.T  # (B, T, V)
    values, tokens = cosine.topk(top_k, dim=-1)
    rows = []
    for row, columns in enumerate(input_ids == model.config.latent_token_id):
        places = columns.nonzero().flatten().tolist()
        rows.append([list(zip(tokens[row, at].tolist(), values[row, at].tolist(), strict=True)) for at in places])
    return rows


@torch.no_grad()
def final_norm(model: LatentForCausalLM) -> nn.Module:
    """Return the decoder's part that makes the last hidden state: the one whose output equals it.

    Raises:
        ValueError: none of its parts does.
    """
    decoder, outputs = model.get_decoder(), {}
    hooks = [
        child.register_forward_hook(lambda part, given, made: outputs.__setitem__(part, made))
        for child in decoder.children()
    ]
    try:
        piece = torch.linspace(
            -1, 1, model.config.hidden_size, device=model.device, dtype=model.dtype
        )  # any embedding will do
        last = decoder(inputs_embeds=piece[None, None], use_cache=False).last_hidden_state
    finally:
        for hook in hooks:
            hook.remove()
    for part, made in outputs.items():
        if isinstance(made, torch.Tensor) and made.shape == last.shape and torch.equal(made, last):
            return part
    raise InputError(f"{type(decoder).__name__} ends in no norm of its own, so its layers cannot be read through the head")


@torch.no_grad()
def lens_logits(model: LatentForCausalLM, hidden: torch.Tensor, layer: int) -> torch.Tensor:
    """Return the logits (n, V) that hidden states (n, H) of a layer would give at once: final norm, then the head.

    The last layer's have been through the norm already.

    Source: nostalgebraist 2020, the logit lens.
    """
    hidden = hidden.to(model.device, model.dtype)
    return model.logits_of(hidden if layer == model.config.num_hidden_layers else final_norm(model)(hidden))


def measure(subject) -> dict:
    """Return how often the likeliest token at the column latent k is thought from is the value of its step, layer by layer.

    Args:
        subject: see `latent_trainer.analysis.Subject`.
    """
    traces, model = subject.traces, subject.model
    gold = [[tokens_of(value, subject.tokenizer) for value in row] for row in subject.values]
    known = np.array([[bool(tokens) for tokens in row] for row in gold])  # (N, K)
    layers, examples = [], [[] for _ in traces.problems[:EXAMPLES]]
    for layer in range(traces.layers + 1):
        hidden = torch.from_numpy(traces.read("hidden", layer)[:, :-1])  # (N, K, H): the columns latents are thought from
        first, likely, shown = _likeliest(model, hidden.flatten(0, 1), layer, EXAMPLES * traces.num_latents)
        first, likely = first.reshape(known.shape), likely.reshape(known.shape)
        right = np.array(
            [[token in own for token, own in zip(*rows, strict=True)] for rows in zip(first, gold, strict=True)]
        )
        layers.append({"layer": layer, "latents": [_share(right[:, k], known[:, k]) for k in range(traces.num_latents)]})
        for row, latents in zip(layers[-1]["latents"], likely.T, strict=True):
            row["probability"] = float(latents.mean())
        for number, own in enumerate(examples):
            rows = shown[number * traces.num_latents : (number + 1) * traces.num_latents]
            own.append([[(subject.tokenizer.convert_ids_to_tokens(token), chance) for token, chance in row] for row in rows])
    complete = right[known.all(1)].all(1)
    result = {"layers": layers, "problems": len(gold), "problems_with_all_steps": len(complete)}
    if len(complete):
        result["all_latents_match"], result["all_latents_match_stderr"] = mean_and_error(complete)
        result["most_latents_match"] = float((right[known.all(1)].mean(1) > 0.5).mean())
    result["examples"] = [
        {"question": problem.question, "steps": list(problem.steps), "top_tokens_by_layer_and_latent": own}
        for problem, own in zip(traces.problems, examples, strict=False)
    ]
    return result


def tokens_of(value: str | None, tokenizer) -> set[int]:
    """Return the tokens a value can begin with, alone and after a space; none where there is no value."""
    if not value:
        return set()
    return {tokenizer(text, add_special_tokens=False).input_ids[0] for text in (value, f" {value}")}


def _likeliest(model, hidden: torch.Tensor, layer: int, shown: int):
    """Return the likeliest token (n,) of every hidden state (n, H), its probability, and the first rows' best tokens."""
    tokens, chances, best = [], [], []
    for start in range(0, len(hidden), ROWS):
        top = lens_logits(model, hidden[start : start + ROWS], layer).float().softmax(-1).topk(TOP)  # (n, TOP)
        tokens.append(top.indices[:, 0].cpu())
        chances.append(top.values[:, 0].cpu())
        if len(best) < shown:
            pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
            best += [list(zip(*pair, strict=True)) for pair in pairs]
    return torch.cat(tokens).numpy(), torch.cat(chances).numpy(), best


def _share(right: np.ndarray, known: np.ndarray) -> dict:
    if not known.any():
        return {"match": None, "match_stderr": None, "problems": 0}
    match, error = mean_and_error(right[known])
    return {"match": match, "match_stderr": error, "problems": int(known.sum())}


def draw(result: dict, figure) -> None:
    """Draw the share of problems whose likeliest token is the step's value, over latents, a line a layer."""
    axes = figure.subplots()
    for row in result["layers"]:
        points = [(number, one) for number, one in enumerate(row["latents"], 1) if one["problems"]]
        places, shares = [number for number, _ in points], [100 * one["match"] for _, one in points]
        errors = [100 * one["match_stderr"] for _, one in points]
        axes.errorbar(places, shares, yerr=errors, marker="o", label=f"layer {row['layer']}")
    last = [one["match"] for one in result["layers"][-1]["latents"] if one["problems"]]
    found = f"{100 * sum(last) / len(last):.1f} %" if last else "no"
    axes.set_title(f"Read through the head, {found} of latents are the value of their step")
    axes.set(xlabel="latent", ylabel="likeliest token is the step's value (% of problems)", ylim=(-3, 103))
    axes.legend()
