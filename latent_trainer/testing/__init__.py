"""Contract checks for plug-ins: what the library relies on, tried on tiny models in float64, each in seconds.

Every check raises an `AssertionError` with a sentence that says what is wrong. As functions:

    from latent_trainer import load_plugin
    from latent_trainer.testing import check_objective

    load_plugin("mine.py")
    check_objective("mine", {"factor": 2.0})

and as tests, collected by pytest:

    from latent_trainer.testing import ObjectiveContract

    class TestMine(ObjectiveContract):
        plugin, objective, options = "mine.py", "mine", {"factor": 2.0}
"""

from latent_trainer.testing.contracts import (
    ControlContract,
    CurriculumContract,
    DatasetContract,
    FeedbackContract,
    ObjectiveContract,
    PolicyContract,
    ProbeContract,
    RolloutContract,
    TemplateContract,
)
from latent_trainer.testing.curricula import check_curriculum
from latent_trainer.testing.datasets import check_dataset
from latent_trainer.testing.feedbacks import check_feedback
from latent_trainer.testing.measurements import check_control, check_probe
from latent_trainer.testing.objectives import check_objective
from latent_trainer.testing.policies import check_policy
from latent_trainer.testing.rollouts import check_rollout
from latent_trainer.testing.templates import check_template

__all__ = [
    "ControlContract",
    "CurriculumContract",
    "DatasetContract",
    "FeedbackContract",
    "ObjectiveContract",
    "PolicyContract",
    "ProbeContract",
    "RolloutContract",
    "TemplateContract",
    "check_control",
    "check_curriculum",
    "check_dataset",
    "check_feedback",
    "check_objective",
    "check_policy",
    "check_probe",
    "check_rollout",
    "check_template",
]
