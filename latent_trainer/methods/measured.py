"""A number measured of the token embedding's table, measured anew only after the table has changed."""

from collections.abc import Callable

import torch

from latent_trainer.sharding import whole_shape


class TableMeasure:
    """Measure what a token embedding gives for every token.

    Args:
        measure: maps the embeddings (V, H) of all tokens to a number.
    """

    def __init__(self, measure: Callable[[torch.Tensor], torch.Tensor]):
        self._measure = measure
        self._known: tuple[tuple, torch.Tensor] | None = None

    def forget(self) -> None:
        """Measure anew at the next call: where ranks share out the table, it changes without a new version."""
        self._known = None

    @torch.no_grad()
    def __call__(self, embed, device: torch.device) -> torch.Tensor:
        """Return the number on ``device``; ``embed`` maps token ids to input embeddings."""
        table = embed.weight  # (V, H)
        # on all ranks the same changes, as the measurement may gather; an offloaded table, which nobody trains, is another
        # object at every use
        state = (None if table.is_meta else id(table), table._version, table.device)
        if self._known is None or self._known[0] != state:
            tokens = torch.arange(whole_shape(table)[0], device=device)
            self._known = (state, self._measure(embed(tokens)))  # Gemma scales the rows of its table
        return self._known[1].to(device)
