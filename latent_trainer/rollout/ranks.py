"""Ranks that share out a model's parameters must run the same passes: how many, agreed before the first of them.

ZeRO-3 and FSDP2 gather the parameters of a layer from all ranks whenever the layer runs, forwards and backwards. A rank with
fewer latents runs fewer passes, and the others would wait for it for ever. So before a forward call the ranks take the
largest number of passes that any of them needs, in one small reduction, and those that need fewer fill up with idle ones.
A single process, DDP, ZeRO-1 and ZeRO-2 keep whole parameters and agree on nothing; but ZeRO-1 and ZeRO-2 must have a
gradient for the same weights on every rank, those of the feedback included.
"""

from collections.abc import Callable

import torch
from torch import distributed, nn
from transformers.modeling_outputs import BaseModelOutputWithPast

from latent_trainer.compat import deepspeed_config
from latent_trainer.rollout.base_form import read
from latent_trainer.rollout.columns import columns_of, constant_latents
from latent_trainer.rollout.output import RolloutOutput
from latent_trainer.rollout.passes import Passes


def agree(masks: list[torch.Tensor], backprop: str | int, continues: bool) -> list[tuple[int, int]]:
    """Return for each part of a forward call the passes its rollout has to run at least; every rank waits for the others.

    Args:
        masks: (B, T) of every part, True where a latent goes.
        backprop: as in `latent_trainer.rollout.reading.Reading`.
        continues: whether there is a thought that the first part continues.
    """
    own = [count_passes(mask, backprop, part == 0 and continues) for part, mask in enumerate(masks)]
    most = torch.tensor(own, device=masks[0].device)  # (parts, 2)
    distributed.all_reduce(most, distributed.ReduceOp.MAX)
    return [tuple(numbers) for numbers in most.tolist()]


def count_passes(latent_mask: torch.Tensor, backprop: str | int, continues: bool) -> tuple[int, int]:
    """Return the passes of a sequential rollout that begin with a latent, without and with gradient.

    Args:
        latent_mask: (B, T), True where a latent goes.
        backprop: as in `latent_trainer.rollout.reading.Reading`.
        continues: whether there is a thought to continue; then the first column counts as a latent wherever there is one.
    """
    columns = set(columns_of(latent_mask))
    without: list[int] = []
    if backprop != "full" and torch.is_grad_enabled():
        constant = constant_latents(latent_mask, backprop)
        constant_columns = columns_of(constant)
        if constant_columns:
            without = [column for column in columns if column <= constant_columns[-1]]
            columns = set(columns_of(latent_mask & ~constant))
    return len(without), len(columns | {0}) if columns and continues else len(columns)


@torch.no_grad()
def idle_before(passes: Passes, number: int) -> None:
    """Run ``number`` passes over one column, each followed by the feedback, and forget them."""
    embed = passes.columns.embeds[:1, 0]  # (1, H)
    for _ in range(number):
        embed = passes.think(_alone(passes, embed).last_hidden_state[:, 0])


def idle_after(passes: Passes, output: RolloutOutput, number: int) -> None:
    """Run ``number`` latents of one row and column after a rollout; its hidden states stay as they are.

    Nothing of the idle passes is read, but back-propagation walks through them with a gradient of zero, into the layers that
    it walks into in the passes of ``output``: DeepSpeed counts what comes back from every layer.
    """
    for _ in range(number):
        idle = _alone(passes, passes.think(output.hidden[:1, -1]))
        output.hidden = _with_idle(output.hidden, idle.last_hidden_state[:, 0])
        if output.hidden_states is not None:
            layers = zip(output.hidden_states, idle.hidden_states, strict=True)
            output.hidden_states = tuple(_with_idle(layer, own[:, 0]) for layer, own in layers)


def _alone(passes: Passes, embed: torch.Tensor) -> BaseModelOutputWithPast:
    """Return the output of a pass over one column, embedded as ``embed`` (1, H), that neither reads nor writes a cache."""
    columns, reading = passes.columns, passes.reading
    ids = None if columns.token_ids is None else columns.token_ids[:1, :1]
    read_with = (embed.unsqueeze(1), ids, None, columns.position_ids[:1, :1], None)
    return read(reading.decoder, reading.form, *read_with, output_hidden_states=reading.output_hidden_states)


def with_feedback(feedback: nn.Module, latent_after: Callable, hidden: torch.Tensor) -> torch.Tensor:
    """Return ``hidden`` (B, T, H) unchanged; under DeepSpeed the feedback's weights get a gradient, if only of zeros.

    ZeRO-1 and ZeRO-2 reduce the weights that have a gradient on a rank, in the order in which they get it; a rank whose rows
    have no latents would leave those of the feedback out, and the others would wait for it or add up what does not match.

    Args:
        feedback: the feedback.
        latent_after: maps a hidden state (1, H) to a latent.
        hidden: the last hidden states of a rollout.
    """
    if deepspeed_config() is None or not torch.is_grad_enabled():
        return hidden
    if not any(parameter.requires_grad for parameter in feedback.parameters()):
        return hidden
    return _with_idle(hidden, latent_after(hidden[:1, -1]))


def _with_idle(hidden: torch.Tensor, idle: torch.Tensor) -> torch.Tensor:
    """Return ``hidden`` (B, T, H) unchanged; back-propagation reaches what ``idle`` (1, H) came from with zeros."""
    return torch.where(hidden.new_zeros((), dtype=torch.bool), idle.to(hidden.dtype).unsqueeze(1), hidden)
