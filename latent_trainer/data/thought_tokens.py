"""The three thought tokens of a tokenizer: finding them, adding them, and what no text may spell."""

from transformers import AddedToken, PreTrainedTokenizerBase

from latent_trainer.errors import InputError

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
