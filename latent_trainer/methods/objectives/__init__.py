"""Objectives: what a step over views is scored on.

One file an objective, one line below. An objective is a subclass of `contract.Objective`: it declares its options as a
dataclass, says in ``needs`` what it reads of a step (`latent_trainer.methods.step`), and turns a `Step` into named terms.
"""

from latent_trainer.methods.objectives.answer import AnswerObjective
from latent_trainer.methods.objectives.contract import Objective
from latent_trainer.methods.objectives.self_distillation import SelfDistillationObjective
from latent_trainer.options import check_options

OBJECTIVES = {
    "answer": AnswerObjective,
    "self_distillation": SelfDistillationObjective,
}


def check_objective(name: str, options: dict) -> dict:
    """Return an objective's options as it declares them; a one-line `InputError` where there is no such option."""
    return check_options(f"objective '{name}'", OBJECTIVES[name].Options, options, (), "objective_options")


def build_objective(name: str, options: dict | None = None, config=None) -> Objective:
    """Return an objective.

    Args:
        name: a key of ``OBJECTIVES``.
        options: its options, as a mapping.
        config: the `LatentConfig` of the model it is for.

    Raises:
        InputError: an option it does not have, or a value that its annotation does not admit.
    """
    kind = OBJECTIVES[name]
    return kind(kind.Options(**check_objective(name, options or {})), config)
