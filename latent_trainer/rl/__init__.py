"""Reinforcement learning of thoughts, over TRL: `LatentGRPOTrainer`, `LatentRLOOTrainer` and their settings.

TRL comes with the extra ``rl``; it is imported when one of these names is asked for, and not before.
"""

import importlib
from typing import TYPE_CHECKING

from latent_trainer.rl.trl_release import require_trl

if TYPE_CHECKING:
    from latent_trainer.rl.config import LatentGRPOConfig, LatentRLOOConfig
    from latent_trainer.rl.rloo import LatentRLOOTrainer
    from latent_trainer.rl.trainer import LatentGRPOTrainer

__all__ = ["LatentGRPOConfig", "LatentGRPOTrainer", "LatentRLOOConfig", "LatentRLOOTrainer"]
TRAINERS = {"LatentGRPOTrainer": "trainer", "LatentRLOOTrainer": "rloo"}  # and the modules they are in


def __getattr__(name: str):
    """Return one of the names in ``__all__``.

    Raises:
        InputError: TRL is not installed, or another release than the library is made for.
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require_trl()
    return getattr(importlib.import_module(f"{__name__}.{TRAINERS.get(name, 'config')}"), name)
