"""What feedbacks read off the token embeddings: the expected embedding of the next token, and numbers measured over all."""

from collections.abc import Callable

import torch

from latent_trainer.sharding import whole_shape


def expected_embedding(
    hidden: torch.Tensor, embed, head, temperature: float = 1.0, top_k: int | None = None
) -> torch.Tensor:
    """Return sum over tokens v of softmax(head(hidden) / temperature)_v x embedding(v), (B, H) for ``hidden`` (B, H).

    Args:
        hidden: last hidden states (B, H).
        embed: maps token ids to input embeddings.
        head: maps hidden states to logits.
        temperature: > 0.
        top_k: keep the k likeliest tokens and renormalise; None keeps the whole vocabulary.
    """
    scores = head(hidden) / temperature  # (B, V)
    if top_k is None:
        tokens = torch.arange(scores.shape[-1], device=scores.device)
        return scores.softmax(-1).to(hidden.dtype) @ embed(tokens)  # (B, V) @ (V, H)
    scores, tokens = scores.topk(top_k, dim=-1)  # (B, k)
    return (scores.softmax(-1).to(hidden.dtype).unsqueeze(-1) * embed(tokens)).sum(-2)  # (B, k, H) -> (B, H)


def mean_norm(embeddings: torch.Tensor) -> torch.Tensor:
    """Return the mean norm of embeddings (V, H)."""
    return embeddings.norm(dim=-1).mean()


class Measured:
    """A statistic of the token embeddings as they are now.

    Args:
        statistic: maps all embeddings (V, H) to a number.
    """

    def __init__(self, statistic: Callable[[torch.Tensor], torch.Tensor]):
        self.statistic = statistic
        self._known: tuple[tuple, torch.Tensor] | None = None

    def forget(self) -> None:
        """Measure anew: where ranks share out the table or the optimizer, the table changes without a new version."""
        self._known = None

    @torch.no_grad()
    def of(self, embed, device: torch.device) -> torch.Tensor:
        """Return the number, measured anew only after the table of ``embed`` has changed.

        Args:
            embed: maps token ids to input embeddings; has the table ``weight`` (V, H).
            device: where it is wanted.
        """
        table = embed.weight  # (V, H)
        # on all ranks the same changes, as the measurement may gather; an offloaded table, which nobody trains, is another
        # object at every use
        state = (None if table.is_meta else id(table), table._version, table.device)
        if self._known is None or self._known[0] != state:
            tokens = torch.arange(whole_shape(table)[0], device=device)
            self._known = (state, self.statistic(embed(tokens)))  # Gemma scales the rows of its table
        return self._known[1].to(device)
