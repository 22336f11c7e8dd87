"""Train, evaluate, decode and inspect language models that reason in continuous latents."""

from latent_trainer.data import encode_prompts, load_problems
from latent_trainer.model.classification import LatentForSequenceClassification
from latent_trainer.model.configuration import LatentConfig
from latent_trainer.model.modeling import LatentForCausalLM
from latent_trainer.plugins import (
    load_plugin,
    register_control,
    register_curriculum,
    register_dataset,
    register_feedback,
    register_method,
    register_objective,
    register_policy,
    register_probe,
    register_reward,
    register_rollout,
    register_template,
)
from latent_trainer.training.trainer import LatentTrainer
from latent_trainer.training.training_args import LatentTrainingArguments
from latent_trainer.version import __version__

__all__ = [
    "LatentConfig",
    "LatentForCausalLM",
    "LatentForSequenceClassification",
    "LatentTrainer",
    "LatentTrainingArguments",
    "__version__",
    "encode_prompts",
    "load_plugin",
    "load_problems",
    "register_control",
    "register_curriculum",
    "register_dataset",
    "register_feedback",
    "register_method",
    "register_objective",
    "register_policy",
    "register_probe",
    "register_reward",
    "register_rollout",
    "register_template",
]
