"""The Hub: what a training folder publishes, the code that travels with a model, its card, and the push itself."""

from latent_trainer.hub.push import push_folder

__all__ = ["push_folder"]
