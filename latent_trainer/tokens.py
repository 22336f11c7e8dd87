"""The three thought tokens: finding them, adding them, and where their embedding rows start."""

import torch
from transformers import AddedToken, PreTrainedModel, PreTrainedTokenizerBase

from latent_trainer.errors import InputError
from latent_trainer.sharding import gathered, whole_shape

LATENT_TOKEN = "<|latent|>"


def thought_token_ids(tokenizer: PreTrainedTokenizerBase, bot_token: str, eot_token: str) -> dict[str, int]:
    """Return the ids of the latent, begin- and end-of-thought tokens.

    Raises:
        ValueError: the tokenizer lacks one of them.
    """
    vocabulary = tokenizer.get_vocab()
    tokens = {"latent_token_id": LATENT_TOKEN, "bot_token_id": bot_token, "eot_token_id": eot_token}
    missing = [token for token in tokens.values() if token not in vocabulary]
    if missing:
        raise InputError(
            f"the tokenizer has no {', '.join(missing)}; use the tokenizer saved with the model, "
            "or add them with LatentForCausalLM.from_base(..., tokenizer=tokenizer)"
        )
    return {name: vocabulary[token] for name, token in tokens.items()}


def add_thought_tokens(tokenizer: PreTrainedTokenizerBase, bot_token: str, eot_token: str) -> dict[str, int]:
    """Add the thought tokens a tokenizer lacks, as special tokens, and return the ids of all three; it pads on the left."""
    pad_on_the_left(tokenizer)
    vocabulary = tokenizer.get_vocab()
    missing = [token for token in (LATENT_TOKEN, bot_token, eot_token) if token not in vocabulary]
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in missing], special_tokens=True)
    return thought_token_ids(tokenizer, bot_token, eot_token)


def control_tokens(tokenizer: PreTrainedTokenizerBase, bot_token: str, eot_token: str, template: str = "") -> dict[str, str]:
    """Return the tokens that no question, step or answer may hold, with what each stands for.

    They are the thought tokens, the tokenizer's special tokens (the end of a text among them) and every added token that
    the prompt template writes itself; text that spells one would be read as it, not as text.

    Args:
        tokenizer: holds them.
        bot_token, eot_token: text of the thought tokens.
        template: the template's own texts, one after the other.
    """
    added = tokenizer.added_tokens_decoder.values()
    named = dict.fromkeys(tokenizer.all_special_tokens, "a special token")
    others = {token.content: "a special token" for token in added if token.special or token.content in template}
    ends = {tokenizer.eos_token: "the end of a text", bot_token: "the start of a thought", eot_token: "the end of a thought"}
    tokens = {**named, **others, **ends, LATENT_TOKEN: "a latent"}
    if tokenizer.unk_token not in ends:
        tokens.pop(tokenizer.unk_token, None)  # what any unknown word is read as
    return {token: meaning for token, meaning in tokens.items() if token}


def pad_on_the_left(tokenizer: PreTrainedTokenizerBase) -> None:
    """Have a tokenizer pad on the left, now and after it was saved and loaded: what a model writes follows its prompt."""
    tokenizer.padding_side = "left"
    tokenizer.init_kwargs["padding_side"] = "left"  # transformers 5.23 saves the settings that are named there


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
