"""`LatentGRPOTrainer`: TRL's group relative policy optimisation, thoughts included."""

from trl import GRPOTrainer

from latent_trainer.rl.config import LatentGRPOConfig
from latent_trainer.rl.thought_trainer import ThoughtTrainer


class LatentGRPOTrainer(ThoughtTrainer, GRPOTrainer):
    """Group relative policy optimisation of a latent model, thoughts included; arguments are those of `ThoughtTrainer`.

    Args:
        args: a `LatentGRPOConfig`.
    """

    config_class = LatentGRPOConfig

    def _with_mask(self, rest: list, mask: list[list[int]]) -> list:
        return [mask, *rest[1:]]  # in place of TRL's own mask of what tools have written
