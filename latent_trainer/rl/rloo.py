"""`LatentRLOOTrainer`: TRL's REINFORCE with a leave-one-out baseline, thoughts included."""

from trl import RLOOTrainer

from latent_trainer.rl.config import LatentRLOOConfig
from latent_trainer.rl.thought_trainer import ThoughtTrainer


class LatentRLOOTrainer(ThoughtTrainer, RLOOTrainer):
    """REINFORCE of a latent model, thoughts included; arguments are those of `ThoughtTrainer`.

    TRL's trainer has one ratio a row: exp of the sum over its K latents and n tokens. It has no mask for what is given
    within a completion; such columns have the log-probability 0 under every model, and add nothing.

    Args:
        args: a `LatentRLOOConfig`.

    Source: Ahmadian et al. 2024, "Back to Basics: Revisiting REINFORCE Style Optimization for Learning from Human Feedback
    in LLMs" (arXiv 2402.14740).
    """

    config_class = LatentRLOOConfig

    def _with_mask(self, rest: list, mask: list[list[int]]) -> list:
        return rest
