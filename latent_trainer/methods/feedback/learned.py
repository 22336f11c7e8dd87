"""A learned embedding that does not look at the model's state: pause tokens."""

from typing import NoReturn

from torch import nn


class LearnedFeedback(nn.Module):
    """Leave the trained embedding of ``<|latent|>`` in place: the columns add computation but carry no thought.

    The control for every other feedback; the whole row is one parallel pass.

    Args:
        hidden_size: H.

    Source: Goyal et al. 2023, "Think before you speak: Training Language Models With Pause Tokens".
    """

    sequential = False
    looks_up_tokens = False

    def __init__(self, hidden_size: int):
        super().__init__()

    def forward(self, hidden, embed, head) -> NoReturn:
        """Never called: the placeholder's own embedding is the latent."""
        raise RuntimeError("learned feedback has no latents to compute; the rollout must leave its columns alone")
