"""From hidden states to logits and losses, for any base model."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.utils import ModelOutput

from latent_trainer.errors import InputError
from latent_trainer.rollout.base_form import decoder_of
from latent_trainer.rollout.checkpointing import replaced_forward
from latent_trainer.sharding import is_sharded

LOGITS = 2**26  # 256 MB in float32


def logits_of(base: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
    """Return the logits (.., V) of ``hidden`` (.., H) as the base model's own forward computes them.

    A head that is found to multiply and scale (`latent_trainer.model.base_check`) does just that; any other is run by the
    base model's own forward, with these hidden states in place of its decoder's.

    Args:
        base: a causal language model with output embeddings.
        hidden: last hidden states after the final norm.
    """
    return own_logits(base, hidden) if getattr(base, "own_head", False) else linear_logits(base, hidden)


def linear_logits(base: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
    """Return the logits of a head that multiplies, with the three scalings most models have around theirs.

    They are read from the fields of the base configuration that state them: ``logit_scale``, ``logits_scaling`` and
    ``final_logit_softcapping``.
    """
    config = base.config.get_text_config()
    logits = base.get_output_embeddings()(hidden)
    if getattr(config, "logit_scale", None) is not None:
        logits = logits * config.logit_scale
    if getattr(config, "logits_scaling", None) is not None:
        logits = logits / config.logits_scaling
    cap = getattr(config, "final_logit_softcapping", None)
    return logits if cap is None else torch.tanh(logits / cap) * cap


def own_logits(base: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
    """Return the logits that the base model's own forward makes of ``hidden`` (.., H)."""
    columns = hidden.reshape(1, -1, hidden.shape[-1])  # (1, N, H)
    ids = torch.zeros(columns.shape[:2], dtype=torch.long, device=hidden.device)  # not read: the decoder would
    output = HiddenStates(last_hidden_state=columns)
    with replaced_forward(decoder_of(base), lambda *_, **__: output):
        logits = base(input_ids=ids, use_cache=False, return_dict=True).logits
    return logits.reshape(*hidden.shape[:-1], logits.shape[-1])


@dataclass
class HiddenStates(ModelOutput):
    """A decoder's output that holds last hidden states, and None for whatever else is asked for."""

    last_hidden_state: torch.FloatTensor | None = None

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return None


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
    """Return the cross-entropy (N,) of ``labels`` (N,) under ``logits`` (N, V), in float32 or better.

    With ``smoothing`` e it is (1 - e) times that, and e times the mean over the vocabulary of every token's.
    """
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    return nn.functional.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)


def token_losses(base: nn.Module, hidden: torch.Tensor, labels: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
    """Return the cross-entropy (N,) of ``labels`` (N,) predicted by ``hidden`` (N, H), without ever having all logits.

    The logits of at most `LOGITS` entries exist at a time; those of each chunk are computed anew on the way back. Parameters
    that are gathered for every use are used once.

    Args:
        base: as in `logits_of`.
        smoothing: as in `cross_entropy`; fused losses have none.
    """
    if hasattr(base, "fused_losses") and not is_sharded(base):  # latent_trainer.training.kernels
        return base.fused_losses(hidden, labels)
    return losses_of_logits(base, hidden, partial(cross_entropy, smoothing=smoothing), labels)


def losses_of_logits(
    base: nn.Module, hidden: torch.Tensor, loss: Callable[..., torch.Tensor], *targets: torch.Tensor
) -> torch.Tensor:
    """Return ``loss(logits, *targets)`` (N,) of the logits that ``hidden`` (N, H) gives; as `token_losses`.

    Args:
        base: as in `logits_of`.
        hidden: last hidden states after the final norm.
        loss: maps logits (n, V) and the same n rows of ``targets`` to n losses, each row for itself.
        targets: (N, ..) each.
    """
    rows = max(1, LOGITS // base.config.get_text_config().vocab_size)
    if is_sharded(base) or len(hidden) <= rows:
        return _losses(base, loss, hidden, *targets)
    chunks = zip(*(one.split(rows) for one in (hidden, *targets)), strict=True)
    return torch.cat([checkpoint(_losses, base, loss, *chunk, use_reentrant=False) for chunk in chunks])


def _losses(base: nn.Module, loss: Callable, hidden: torch.Tensor, *targets: torch.Tensor) -> torch.Tensor:
    return loss(logits_of(base, hidden), *targets)


def causal_lm_loss(
    logits: torch.Tensor,
    labels: torch.Tensor | None,
    shift_labels: torch.Tensor | None = None,
    num_items_in_batch: torch.Tensor | int | None = None,
) -> torch.Tensor | None:
    """Return the loss of a causal language model: the mean cross-entropy over scored tokens; None without labels.

    Args:
        logits: (B, T, V).
        labels: (B, T), of which column t + 1 is predicted by the logits of column t; -100 where nothing is scored.
        shift_labels: (B, T) instead, of which column t is.
        num_items_in_batch: divides the sum instead of the number of scored tokens.

    Raises:
        InputError: labels of another shape than the logits.
    """
    given = labels if shift_labels is None else shift_labels
    if given is None:
        return None
    if given.shape != logits.shape[:-1]:
        raise InputError(
            f"labels have the shape {tuple(given.shape)} and the logits {tuple(logits.shape[:-1])}; "
            "give a label for every column, and leave logits_to_keep out beside labels"
        )
    if shift_labels is None:
        logits, given = logits[:, :-1], given[:, 1:]  # the column before predicts the token
    given = given.to(logits.device)  # parts of a model may be on several
    scored = given != -100
    losses = cross_entropy(logits[scored], given[scored])
    return losses.sum() / (losses.numel() if num_items_in_batch is None else num_items_in_batch)
