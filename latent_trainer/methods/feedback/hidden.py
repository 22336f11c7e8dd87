"""The hidden state itself, fed back as it is or at the norm of a token embedding."""

from typing import Literal

import torch
from torch import nn

from latent_trainer.options import Scale, checked
from latent_trainer.sharding import whole_shape


class HiddenFeedback(nn.Module):
    """Feed the last hidden state back as the next input embedding: z = h, or z = norm x h / |h|.

    Hidden states after the final norm are often several times longer than token embeddings; a model trained from scratch
    learns to read them much sooner at the length it knows.

    Args:
        hidden_size: H.
        norm: None leaves the hidden state untouched, "embedding" takes the present mean norm of token embeddings, a number
            is taken as it is.

    Source: Hao et al. 2024 (Coconut), section 3 (norm=None).
    """

    sequential = True

    @checked
    def __init__(self, hidden_size: int, norm: Scale | Literal["embedding"] | None = None):
        super().__init__()
        self.norm = norm
        self._measured: tuple[tuple, torch.Tensor] | None = None

    def train(self, mode: bool = True) -> "HiddenFeedback":
        """Set the mode, as the trainer does before every step, and measure anew after it.

        Where ranks share out the table or the optimizer, the table changes without a new version.
        """
        self._measured = None
        return super().train(mode)

    def forward(self, hidden: torch.Tensor, embed, head) -> torch.Tensor:
        """Return the latent (B, H) for ``hidden`` (B, H)."""
        if self.norm is None:
            return hidden
        norm = self._embedding_norm(embed, hidden.device) if self.norm == "embedding" else self.norm
        return norm * nn.functional.normalize(hidden, dim=-1)

    @torch.no_grad()
    def _embedding_norm(self, embed, device: torch.device) -> torch.Tensor:
        """Return the mean norm of what ``embed`` gives for every token, measured anew only after its table has changed."""
        table = embed.weight  # (V, H)
        # on all ranks the same changes, as the measurement may gather; an offloaded table, which nobody trains, is another
        # object at every use
        state = (None if table.is_meta else id(table), table._version, table.device)
        if self._measured is None or self._measured[0] != state:
            tokens = torch.arange(whole_shape(table)[0], device=device)
            self._measured = (state, embed(tokens).norm(dim=-1).mean())  # Gemma scales the rows of its table
        return self._measured[1].to(device)
