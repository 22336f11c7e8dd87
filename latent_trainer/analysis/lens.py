"""Which vocabulary tokens a latent is nearest to."""

import torch
from torch import nn

from latent_trainer.modeling import LatentForCausalLM


@torch.no_grad()
def nearest_tokens(
    model: LatentForCausalLM, input_ids: torch.Tensor, attention_mask: torch.Tensor, top_k: int = 3
) -> list[list[list[tuple[int, float]]]]:
    """Return, per row and latent, the ``top_k`` token ids whose embedding has the highest cosine with the latent.

    Args:
        model: a latent model.
        input_ids: (B, T) prompts with latents.
        attention_mask: (B, T).
        top_k: tokens per latent.
    """
    latents = model.run(input_ids, attention_mask).latents  # (B, T, H)
    table = nn.functional.normalize(model.get_input_embeddings().weight, dim=-1)  # (V, H)
    cosine = nn.functional.normalize(latents, dim=-1) @ table.T  # (B, T, V)
    values, tokens = cosine.topk(top_k, dim=-1)
    rows = []
    for row, columns in enumerate(input_ids == model.config.latent_token_id):
        places = columns.nonzero().flatten().tolist()
        rows.append([list(zip(tokens[row, at].tolist(), values[row, at].tolist(), strict=True)) for at in places])
    return rows
