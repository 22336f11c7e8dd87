"""How a base model wants to be called: what its decoder reads, carries from pass to pass, and does in its head.

Most decoders take ``inputs_embeds``, ``position_ids`` and a key-value cache, and stand under a head that multiplies. What
is special about the others is one field here each. `latent_trainer.model.base_check` finds them by trying.
"""

import contextlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import nn
from transformers import Cache, PreTrainedModel

from latent_trainer.compat import CACHE
from latent_trainer.rollout.checkpointing import replaced_forward

STATES = "cache_params"  # what decoders of states alone call their cache


@dataclass(frozen=True)
class BaseForm:
    """The form of one base model; the defaults are those of most.

    Args:
        cache_name: argument and output field of the decoder's cache.
        reads_ids: the decoder makes more of token ids than their embeddings (scales them, or adds embeddings of its own to
            every layer): it is given ids, and the rollout's embeddings take the place of those it looks up.
        own_head: logits come from the base model's own forward over given hidden states.
        own_cache: the decoder's cache has layers that hold more than keys and values, states for instance.
        columnwise: a pass of several columns does not continue a state; after the first pass columns are read one by one.
        first_position: of the first real column.
        position_table: name of the submodule that embeds positions, where the decoder takes no ``position_ids``; else None.
        changes_embeds: the decoder changes the embeddings it is given in place, and so is given a copy.
        skips_unread: the last layer listed is the last one run, and runs once.
    """

    cache_name: str = CACHE
    reads_ids: bool = False
    own_head: bool = False
    own_cache: bool = False
    columnwise: bool = False
    first_position: int = 0
    position_table: str | None = None
    changes_embeds: bool = False
    skips_unread: bool = True

    @property
    def usual(self) -> bool:
        """Whether other views may be read beside the first pass, under one mask."""
        return not (self.reads_ids or self.own_cache or self.position_table)


USUAL = BaseForm()


def decoder_of(base: PreTrainedModel) -> nn.Module:
    """Return a causal language model without its head: the module that its forward runs from tokens to hidden states."""
    decoder = next((one for one in (base.base_model, base.get_decoder()) if one is not base), None)
    decoder = base.model if decoder is None else decoder
    # a shell that passes everything on is what the model's own forward steps over
    return decoder.decoder if _names_nothing(type(decoder).forward) else decoder


@lru_cache
def _names_nothing(forward: Callable) -> bool:
    """Whether a forward takes whatever it is given; asked before every written token."""
    _, *taken = inspect.signature(forward).parameters.values()
    return all(parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) for parameter in taken)


def read(
    decoder: nn.Module,
    form: BaseForm,
    embeds: torch.Tensor,
    token_ids: torch.Tensor | None,
    mask: torch.Tensor | None,
    position_ids: torch.Tensor | None,
    cache: Cache | None,
    **kwargs,
):
    """Run a decoder over columns in its own form.

    Args:
        decoder: the base model without its head.
        form: of the base model.
        embeds: (B, n, H) input embeddings.
        token_ids: (B, n); read by a decoder that ``reads_ids`` only.
        mask: as the decoder takes it, over the cache's columns and these; or None.
        position_ids: (B, n); None leaves them to the decoder.
        cache: extended in place; None where no other pass follows.
        kwargs: passed on.
    """
    if form is USUAL:
        return decoder(
            inputs_embeds=embeds,
            attention_mask=mask,
            position_ids=position_ids,
            use_cache=cache is not None,
            **{CACHE: cache},
            **kwargs,
        )
    kwargs[form.cache_name] = cache
    if form.cache_name == STATES and mask is not None and mask.dim() == 2:
        mask = mask[:, -embeds.shape[1] :]  # a decoder of states alone masks what it reads, not what it attends to
    with contextlib.ExitStack() as stack:
        if form.position_table is not None and position_ids is not None:
            table = decoder.get_submodule(form.position_table)
            places = nn.functional.embedding(position_ids + getattr(table, "offset", 0), table.weight)  # (B, n, H)
            stack.enter_context(replaced_forward(table, lambda *_, **__: places))
            position_ids = None
        if position_ids is not None:
            kwargs["position_ids"] = position_ids
        if form.reads_ids:
            stack.enter_context(replaced_forward(decoder.get_input_embeddings(), lambda *_, **__: embeds))
            kwargs["input_ids"] = token_ids
        else:
            kwargs["inputs_embeds"] = embeds.clone() if form.changes_embeds else embeds
        return decoder(attention_mask=mask, use_cache=cache is not None, **kwargs)
