"""What the step decoder reads in each group of latents."""

import torch
from transformers import PreTrainedTokenizerBase

from latent_trainer.errors import InputError
from latent_trainer.model.modeling import LatentForCausalLM


def check_step_decoder(model: LatentForCausalLM) -> None:
    """Raise an `InputError` unless the model has a step decoder."""
    if model.step_decoder is None:
        raise InputError(
            "the model has no step decoder to explain its latents; "
            "train it with step_decoder: copy and keep_step_decoder: true"
        )


@torch.no_grad()
def explain_latents(
    model: LatentForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    max_new_tokens: int = 32,
    latents: torch.Tensor | None = None,
) -> list[list[str]]:
    """Return, per row, the text that the step decoder writes for each group of latents.

    Latents left over after the last whole group stand for no step.

    Args:
        model: a latent model with a step decoder.
        tokenizer: the tokenizer saved with it.
        input_ids: (B, T) prompts, or prompts with what was written, with latents.
        attention_mask: (B, T).
        max_new_tokens: tokens written at most per group, as far as the context has room for them.
        latents: (B, T, H) input embeddings with the latents in them, where `LatentForCausalLM.run` has been called already.

    Raises:
        ValueError: the model has no step decoder.
    """
    check_step_decoder(model)
    if latents is None:
        latents = model.run(input_ids, attention_mask).latents  # (B, T, H)
    size = model.config.step_decoder_group  # c
    groups, numbers = [], []
    for row, columns in zip(latents, input_ids == model.config.latent_token_id, strict=True):
        own = row[columns]  # (K, H)
        numbers.append(len(own) // size)
        groups.append(own[: numbers[-1] * size].unflatten(0, (numbers[-1], size)))  # (K / c, c, H)
    groups = torch.cat(groups)  # (R, c, H)
    if model.config.max_position_embeddings is not None:
        max_new_tokens = min(max_new_tokens, model.config.max_position_embeddings - size)
    if not len(groups):
        return [[] for _ in numbers]
    written = iter(tokenizer.batch_decode(model.step_decoder.explain(groups, model.base, max_new_tokens), True))
    return [[next(written).strip() for _ in range(number)] for number in numbers]
