"""What a call of a latent model may be given: each argument is honoured as in any causal language model, or refused."""

import inspect
from collections.abc import Callable

import torch
from torch import nn
from transformers import Cache

from latent_trainer.compat import get_attention
from latent_trainer.errors import InputError, nearest
from latent_trainer.rollout import ROLLOUTS
from latent_trainer.rollout.base_form import BaseForm
from latent_trainer.rollout.cache import columns_in, is_filled
from latent_trainer.rollout.packing import ARGUMENTS as PACKING

OTHERS = ("cache_position", "is_causal", "output_router_logits")  # names of the stock library without a meaning of their own


def given(arguments: dict) -> dict:
    """Return the arguments that are not None, which means everywhere that there is no such argument."""
    return {name: value for name, value in arguments.items() if value is not None}


def refuse_unknown(arguments: dict, forward: Callable) -> None:
    """Raise an `InputError` where an argument is none of the stock library's.

    Args:
        arguments: of the backbone, those it names itself left out.
        forward: the model's own.
    """
    for name in arguments:
        if name in (*PACKING, *OTHERS):
            continue
        of_model = list(inspect.signature(forward).parameters)
        if name in of_model:
            raise InputError(f"the backbone has no head, so {name} means nothing to it; call the model")
        raise InputError(f"the model has no argument '{name}'{nearest(name, [*of_model, *PACKING, *OTHERS])}")


def refuse_beside_views(arguments: dict, others: dict) -> None:
    """Raise an `InputError` where a call with ``views`` has more than a prompt, its mask, and what objectives ask for.

    Args:
        arguments, others: of `LatentForCausalLM.forward`, by name.
    """
    taken = ("self", "kwargs", "input_ids", "attention_mask", "views", "steps", "needs", "scored")
    taken += ("label_smoothing",)
    if arguments.get("output_hidden_states"):
        raise InputError("output_hidden_states cannot be combined with views; say in needs which hidden states are wanted")
    for name, value in {**arguments, **others}.items():
        default = value is None or (name == "logits_to_keep" and isinstance(value, int) and value == 0)
        if name not in taken and not default:
            raise InputError(f"{name} cannot be combined with views, which have their own labels and latents; leave it out")


def check_arguments(
    input_ids: torch.Tensor | None,
    inputs_embeds: torch.Tensor | None,
    attention_mask: torch.Tensor | None,
    position_ids: torch.Tensor | None,
    cache,
    others: dict,
) -> None:
    """Refuse arguments of a call that clash or cannot be honoured.

    Args:
        input_ids, inputs_embeds, attention_mask, position_ids: as in `LatentForCausalLM.forward`.
        cache: ``past_key_values``.
        others: those of ``OTHERS`` that were given.

    Raises:
        InputError: always one line that says what clashes.
    """
    if (input_ids is None) == (inputs_embeds is None):
        raise InputError("give either input_ids or inputs_embeds: latents are filled in where input_ids hold <|latent|>")
    if cache is not None and not isinstance(cache, Cache):
        raise InputError(f"past_key_values is a {type(cache).__name__}; pass a transformers Cache, such as a DynamicCache")
    batch, width = (inputs_embeds if input_ids is None else input_ids).shape[:2]
    past = columns_in(cache)
    known_past = not isinstance(past, int) or past > 0 or cache is None or not is_filled(cache)  # states alone do not
    if position_ids is not None and tuple(position_ids.shape) not in {(batch, width), (1, width)}:
        raise InputError(f"position_ids have the shape {tuple(position_ids.shape)}; give ({batch}, {width}) or (1, {width})")
    if attention_mask is not None and getattr(attention_mask, "ndim", None) not in (2, 4):
        raise InputError("attention_mask must be a tensor (B, P + T), 1 for real columns, or (B, 1, T, P + T)")
    counts = known_past and isinstance(past, int)  # else it is on the device
    known = attention_mask is not None and attention_mask.ndim == 2 and counts
    if known and attention_mask.shape[1] != past + width:
        raise InputError(
            f"attention_mask has {attention_mask.shape[1]} columns; with {past} in the cache and {width} in this call "
            f"it needs {past + width}"
        )
    if others.get("is_causal") is False:
        raise InputError("is_causal=False: a latent is computed from the columns before it, so later ones cannot be seen")
    if others.get("output_router_logits"):
        raise InputError("output_router_logits=True: a rollout has router logits for every pass; call model.base for them")
    if "cache_position" in others and known_past:
        expected = torch.arange(past, past + width)
        if not torch.equal(others["cache_position"].cpu(), expected):
            raise InputError(f"cache_position must be {past} to {past + width - 1}: columns are read in order")


def check_ready_mask(config, form: BaseForm, mask: torch.Tensor, latent_mask: torch.Tensor, cache) -> None:
    """Refuse a ready mask that the base model does not take, or under which a latent would not be what its row says.

    Args:
        config: a `LatentConfig`.
        form: of the base model.
        mask: (B, 1, T, P + T), bool, or added to the attention scores.
        latent_mask: (B, T) bool, True where a latent goes.
        cache: of the P columns.

    Raises:
        InputError: always one line that says what clashes.
    """
    implementation = get_attention(config.get_text_config())
    if implementation not in ("eager", "sdpa"):
        raise InputError(f"a 4-D attention_mask needs attn_implementation eager or sdpa; it is {implementation}")
    if form.own_cache:
        raise InputError("a 4-D attention_mask means nothing to layers that carry a state; give the padding, (B, P + T)")
    batch, width = latent_mask.shape
    past = 0 if cache is None else int(cache.get_seq_length())
    if mask.shape[-2:] != (width, past + width) or mask.shape[0] not in (1, batch):
        raise InputError(f"attention_mask has the shape {tuple(mask.shape)}; give ({batch}, 1, {width}, {past + width})")
    if not latent_mask.any():
        return
    # a mask that is added hides a column by a large negative number
    visible = mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2
    visible = visible.any(1).expand(batch, -1, -1)  # (B, T, P + T)
    if visible.triu(past + 1).any():
        raise InputError(
            "attention_mask shows what comes after a column, which does not exist yet when a latent is computed"
        )
    before = visible[:, :, past - 1 :] if past else nn.functional.pad(visible, (1, 0))
    if not before.diagonal(dim1=1, dim2=2)[latent_mask].all():
        raise InputError("attention_mask hides the column before a latent, from which the latent is computed")


def check_attentions(config) -> None:
    """Raise an `InputError` where the passes of a rollout cannot give the attention of every column.

    Args:
        config: a `LatentConfig`.
    """
    implementation = get_attention(config.get_text_config())
    if implementation != "eager":
        raise InputError(f"output_attentions=True needs attn_implementation='eager'; it is {implementation}")
    if not ROLLOUTS[config.rollout].reads_once:
        raise InputError(f"output_attentions=True needs rollout=sequential: rollout={config.rollout} reads columns again")


def refuse_placeholders(inputs_embeds: torch.Tensor, placeholder: torch.Tensor) -> None:
    """Raise an `InputError` where one of the embeddings (B, T, H) is that of ``<|latent|>`` (H,): nobody would fill it."""
    if (inputs_embeds == placeholder).all(-1).any():  # a device synchronisation
        raise InputError("inputs_embeds hold the embedding of <|latent|>, where no latent would be computed; pass input_ids")


def chosen_layers(hidden_states: tuple | None, choice: bool | int | list[int]) -> tuple | None:
    """Return every layer's hidden states, or, where ``choice`` is an index or a list of them, None for all the others."""
    if hidden_states is None or isinstance(choice, bool):
        return hidden_states
    layers = len(hidden_states)
    chosen = {index % layers for index in ([choice] if isinstance(choice, int) else choice) if -layers <= index < layers}
    return tuple(layer if index in chosen else None for index, layer in enumerate(hidden_states))


def kept_columns(hidden: torch.Tensor, logits_to_keep: int | torch.Tensor) -> torch.Tensor:
    """Return the hidden states (B, T, H) whose logits are wanted, as the stock library chooses them.

    Args:
        hidden: (B, T, H).
        logits_to_keep: the last n columns, 0 for all; columns (n,) of every row or (B, n) of each; or (B, T) bool, which
            gives (N, H).
    """
    if isinstance(logits_to_keep, int):
        return hidden[:, -logits_to_keep:] if logits_to_keep else hidden
    if logits_to_keep.ndim == 2 and logits_to_keep.dtype != torch.bool:
        return hidden.take_along_dim(logits_to_keep[..., None], 1)
    return hidden[logits_to_keep] if logits_to_keep.ndim == 2 else hidden[:, logits_to_keep]
