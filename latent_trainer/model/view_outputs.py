"""What a view gives to an objective: losses, and hidden states at the places it asked for."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from transformers import Cache
from transformers.cache_utils import DynamicLayer
from transformers.utils import ModelOutput

from latent_trainer.errors import InputError
from latent_trainer.rollout.cache import ThoughtLayer


@dataclass
class ViewOutput(ModelOutput):
    """What one continuation gives to an objective. N is the number of labelled tokens of the view.

    Args:
        token_loss: (N,) cross-entropy of every labelled token, in row order.
        hidden_states: place -> one tensor a layer, embedding output first: (B, H) of one column a row, (B, n, H) of several;
            the places are those of `latent_trainer.methods.step.Needs`, None unless an objective asks for some.
        last_hidden: place -> (B, H) or (B, n, H), the last hidden states after the final norm; None unless asked for.
        inputs: place -> (B, n, H) input embeddings; None unless an objective asks for some.
        keys_values: place -> (keys, values) a layer, each (B, heads, n, D).
        attention: place -> scores a layer, (B, heads, A, n).
        latents: (B, K, H) of the view with latents, zeros behind a row's last one.
        latent_mask: (B, K), True where there is a latent.
    """

    token_loss: torch.FloatTensor | None = None
    hidden_states: dict[str, tuple[torch.FloatTensor, ...]] | None = None
    last_hidden: dict[str, torch.FloatTensor] | None = None
    inputs: dict[str, torch.FloatTensor] | None = None
    keys_values: dict[str, tuple[tuple[torch.FloatTensor, torch.FloatTensor], ...]] | None = None
    attention: dict[str, tuple[torch.FloatTensor, ...]] | None = None
    latents: torch.FloatTensor | None = None
    latent_mask: torch.BoolTensor | None = None


class LatentColumns(NamedTuple):
    """Where the latents of a view are.

    Args:
        columns: (B, K) columns of the view, in order; 1 behind a row's last latent, where nothing is read.
        mask: (B, K), True where there is a latent.
    """

    columns: torch.Tensor
    mask: torch.Tensor


def latent_columns(latent_mask: torch.Tensor, prompt_width: int) -> LatentColumns:
    """Return where the latents of the first view are.

    Args:
        latent_mask: (B, Tp + n), True at the latents of prompt and view.
        prompt_width: Tp.
    """
    own = latent_mask[:, prompt_width:]  # (B, n)
    # a device synchronisation; one column at least, so that what reads latents runs on every rank, whatever its rows are
    most = max(1, int(own.sum(1).max()))
    order = own.int().sort(dim=1, descending=True, stable=True).indices[:, :most]  # (B, K): latents first, in their order
    mask = own.gather(1, order)
    return LatentColumns(torch.where(mask, order, 1 if own.shape[1] > 1 else 0), mask)


def places(
    wanted: tuple[str, ...], view: dict[str, torch.Tensor], latents: LatentColumns | None, before: int
) -> dict[str, torch.Tensor]:
    """Return for each place the columns (B,) or (B, n) of a layer's hidden states.

    Args:
        wanted: names of places.
        view: a view of the batch.
        latents: where its latents are; None for a view without, which has no such place.
        before: column that predicts the view's first token.
    """
    ids = view["input_ids"]
    known = {
        "answer": lambda: before + view["answer_start"],
        "columns": lambda: torch.arange(before, before + max(1, ids.shape[1]), device=ids.device).expand(len(ids), -1),
    }
    if "group_columns" in view:
        groups = view["group_columns"].clamp(min=0)  # (B, G): any column behind a row's last group
        known["groups"] = lambda: before + 1 + groups
        known["after_groups"] = lambda: before + 2 + groups
    if latents is not None:
        known["latents"] = lambda: before + 1 + latents.columns
        known["before_latents"] = lambda: before + latents.columns
    return {name: known[name]() for name in wanted if name in known}


def at_columns(layers, columns: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return of every layer (B, T, H) each row's hidden states at its columns: (B, H) for (B,), (B, n, H) for (B, n)."""
    rows = torch.arange(len(columns), device=columns.device)
    rows = rows if columns.ndim == 1 else rows.unsqueeze(1)
    return tuple(layer[rows, columns] for layer in layers)


def latents_at(embeds: torch.Tensor, latents: LatentColumns, prompt_width: int) -> torch.Tensor:
    """Return the latents (B, K, H) of ``embeds`` (B, T, H), prompt included; zeros behind a row's last one."""
    (found,) = at_columns([embeds], prompt_width + latents.columns)
    return found * latents.mask.unsqueeze(-1)


def in_cache(wanted: tuple[str, ...], cache: Cache | None, start: int, latents: LatentColumns | None) -> dict[str, tuple]:
    """Return for each place the keys and values of every layer, each (B, heads, n, D).

    Args:
        wanted: names of places; that of latents is left out where there are none to find.
        cache: of the prompt and the view.
        start: column of the view's first token.
        latents: where its latents are; None for a view without.

    Raises:
        InputError: a layer that keeps something else.
    """
    found = {}
    for place in wanted if latents is not None else [name for name in wanted if name != "latents"]:
        found[place] = []
        for number, layer in enumerate(one for one in cache.layers if not isinstance(one, ThoughtLayer)):
            if not isinstance(layer, DynamicLayer) or not layer.is_initialized:
                raise InputError(
                    f"keys_values={place}: layer {number} of the base model keeps no keys and values of its own "
                    f"({type(layer).__name__}); take an objective without them, or another base model"
                )
            if place == "columns":
                found[place].append((layer.keys[:, :, start:], layer.values[:, :, start:]))
            else:
                rows = torch.arange(len(latents.columns), device=latents.columns.device).unsqueeze(1)
                where = start + latents.columns  # (B, K)
                pair = (states.transpose(1, 2)[rows, where].transpose(1, 2) for states in (layer.keys, layer.values))
                found[place].append(tuple(pair))
    return {place: tuple(layers) for place, layers in found.items()}
