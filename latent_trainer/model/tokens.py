"""Thought tokens in a model: where their embedding rows start, which columns think, and latents put in their places."""

import torch
from transformers import PreTrainedModel

from latent_trainer.sharding import gathered, whole_shape


@torch.no_grad()
def fill_new_rows(base: PreTrainedModel, known: int, wanted: int) -> None:
    """Give the tokens ``known`` .. ``wanted - 1`` embedding rows that start at the mean of the rows before them.

    The mean is where an unknown token is least surprising: its logits are average and its norm does not stand out. The same
    base always gives the same rows, so an adapter needs to carry only those it trained. Vocabularies padded beyond the
    tokenizer keep their size.
    """
    if known == wanted:
        return
    rows = whole_shape(base.get_input_embeddings().weight)[0]
    if wanted > rows:
        base.resize_token_embeddings(wanted, mean_resizing=False)
    tables = [base.get_input_embeddings().weight]
    head = base.get_output_embeddings()
    if head is not None and head.weight is not tables[0]:
        tables.append(head.weight)
    with gathered(tables):
        for table in tables:
            table[known:wanted] = table[: min(known, rows)].float().mean(0).to(table.dtype)


def thinking_columns(
    input_ids: torch.Tensor, bot_token_id: int, eot_token_id: int, closed: torch.Tensor | None = None
) -> torch.Tensor:
    """Return where a latent would be filled (B, T): the columns at which the thought is open.

    A thought is open from the start of a row, or from ``<|bot|>``, until ``<|eot|>``; a ``<|latent|>`` written
    after that is an ordinary token.

    Args:
        input_ids: (B, T).
        bot_token_id, eot_token_id: the markers.
        closed: (B,) bool, whether the thought was closed before the first column; None means it was open.
    """
    batch, width = input_ids.shape
    place = torch.arange(2, width + 2, device=input_ids.device).expand(batch, width)
    before = input_ids.new_zeros(batch, 1) if closed is None else closed.long().unsqueeze(1)  # 1: closed beforehand
    last_bot = torch.where(input_ids == bot_token_id, place, 0).cummax(1).values  # (B, T)
    last_eot = torch.where(input_ids == eot_token_id, place, before).cummax(1).values
    return last_bot >= last_eot


def place_latents(
    embeds: torch.Tensor, latent_mask: torch.Tensor, latents: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Put given latents in their places; return the embeddings and the mask of the latents that are still to be thought.

    Args:
        embeds: (B, T, H) input embeddings.
        latent_mask: (B, T) bool, True where a latent goes.
        latents: (B, K, H), the k-th of a row for its k-th latent; NaN, or none left, where the model is to think itself.
    """
    if latents.shape[1] == 0:
        return embeds, latent_mask
    number = (latent_mask.cumsum(1) - 1).clamp(min=0)  # (B, T): which latent of its row
    within = latent_mask & (number < latents.shape[1])
    chosen = latents.gather(1, number.clamp(max=latents.shape[1] - 1).unsqueeze(-1).expand_as(embeds))  # (B, T, H)
    given = within & ~chosen[..., 0].isnan()
    return torch.where(given.unsqueeze(-1), chosen.to(embeds.dtype), embeds), latent_mask & ~given
