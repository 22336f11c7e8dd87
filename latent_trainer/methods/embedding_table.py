"""A number measured over a model's token embeddings, kept until they change."""

from collections.abc import Callable

import torch

from latent_trainer.sharding import whole_shape


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
