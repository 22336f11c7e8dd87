"""How a rollout reads its columns: the decoder, the feedback, and what is wanted of them."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from latent_trainer.rollout.base_form import USUAL, BaseForm
from latent_trainer.rollout.thoughts import Thoughts


@dataclass(frozen=True)
class Reading:
    """How the columns of a call are read.

    Args:
        decoder: the base model without its head.
        feedback: maps hidden states (B, H), or (B, n, H), to latents of the same shape.
        form: how the base model wants to be called.
        backprop: latents gradient flows through: "full", "last", "none", or the number of last latents of each row.
        use_cache: return the cache also where one pass would do without.
        output_hidden_states: return every layer's hidden states.
        output_attentions: return every layer's attention.
        checkpoint: recompute the decoder's layers on the way back (`latent_trainer.rollout.checkpointing`).
        least: passes that begin with a latent, without and with gradient, of the rank that needs most of them: see
            `latent_trainer.rollout.ranks`. Idle passes make up for what these rows need less. None where nobody waits.
        together: shares the weight gradients with other rollouts of the step; by default the passes of one share them.
        fast: take what `latent_trainer.rollout.fast` saves; False reads every column plainly, with the same result.
        thoughts: draws or replays the latents instead of the feedback (`latent_trainer.rollout.thoughts`).
    """

    decoder: Callable
    feedback: Callable[[torch.Tensor], torch.Tensor]
    form: BaseForm = USUAL
    backprop: str | int = "full"
    use_cache: bool = False
    output_hidden_states: bool = False
    output_attentions: bool = False
    checkpoint: bool = False
    least: tuple[int, int] | None = None
    together: AbstractContextManager | None = None
    fast: bool = True
    thoughts: Thoughts | None = None
