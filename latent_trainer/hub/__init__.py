"""The Hub: what a training folder publishes, the code that travels with a model, its card, the push, and the export."""

from latent_trainer.hub.export import export_folder
from latent_trainer.hub.push import push_folder

__all__ = ["export_folder", "push_folder"]
