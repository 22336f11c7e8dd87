"""Objectives: what a step over views is scored on.

One file an objective, one line below. An objective is a subclass of `contract.Objective`: it declares its options as a
dataclass, says in ``needs`` what it reads of a step (`latent_trainer.methods.step`), and turns a `Step` into named terms.
"""

import inspect
from dataclasses import is_dataclass

from latent_trainer.errors import InputError, check_choice
from latent_trainer.methods.objectives.answer import AnswerObjective
from latent_trainer.methods.objectives.compression import CompressionObjective
from latent_trainer.methods.objectives.contract import Objective
from latent_trainer.methods.objectives.kv_distillation import KVDistillationObjective
from latent_trainer.methods.objectives.latent_tokens import LatentTokensObjective
from latent_trainer.methods.objectives.self_distillation import SelfDistillationObjective
from latent_trainer.methods.step import Needs
from latent_trainer.options import check_options
from latent_trainer.registry import Registry


def take_objective(name: str, entry) -> type[Objective]:
    """Return an objective that a plug-in registers, an `InputError` in one line where it breaks the contract."""
    if not (isinstance(entry, type) and issubclass(entry, Objective)):
        raise InputError(f"objective '{name}' must be a class derived from {Objective.__module__}.Objective; got {entry!r}")
    at = f"objective '{name}': {entry.__name__}"
    if entry.forward is Objective.forward:
        raise InputError(f"{at} has no forward(self, step) -> dict of terms; write it")
    if not is_dataclass(entry.Options):
        raise InputError(f"{at}.Options must be a dataclass; got {entry.Options!r}")
    if not isinstance(entry.needs, Needs | property):
        raise InputError(f"{at}.needs must be Needs(...); got {entry.needs!r}")
    calls = {"__init__": 3, "forward": 2, "make_views": 4, "fault": 3, "count": 2, "sums": 2}
    for call, taken in calls.items():
        found = inspect.signature(getattr(entry, call)).parameters
        if len(found) != taken and not any(one.kind is one.VAR_POSITIONAL for one in found.values()):
            wanted = ", ".join(inspect.signature(getattr(Objective, call)).parameters)
            raise InputError(f"{at}.{call} takes ({', '.join(found)}); it must take ({wanted})")
    if entry.sums is not Objective.sums and entry.sums_needs is None and entry.__init__ is Objective.__init__:
        raise InputError(f"{at} has sums(step), which is asked only with sums_needs; say sums_needs = Needs(...)")
    return entry


OBJECTIVES = Registry(
    "objective",
    {
        "answer": AnswerObjective,
        "compression": CompressionObjective,
        "self_distillation": SelfDistillationObjective,
        "latent_tokens": LatentTokensObjective,
        "kv_distillation": KVDistillationObjective,
    },
    take_objective,
)


def check_objective(name: str, options: dict) -> dict:
    """Return an objective's options as it declares them, or raise a one-line `InputError` that says what there is not."""
    check_choice("objective", name, OBJECTIVES)
    return check_options(f"objective '{name}'", OBJECTIVES[name].Options, options, (), "objective_options")


def check_declared(what: str, objective: Objective) -> None:
    """Refuse an objective whose needs contradict each other, or that has ``sums_needs`` without ``sums``.

    Args:
        what: begins every message, "objective 'mine'".
        objective: as it was built, since ``__init__`` may decide what it needs.
    """
    if not isinstance(objective.needs, Needs) or not isinstance(objective.sums_needs, Needs | None):
        raise InputError(f"{what}: needs={objective.needs!r} and sums_needs={objective.sums_needs!r} must be Needs(...)")
    if objective.sums_needs is None:
        return
    if type(objective).sums is Objective.sums:
        raise InputError(f"{what} has sums_needs and no sums(self, step); write it, or leave sums_needs out")
    if objective.sums_needs.model:
        raise InputError(f"{what}: sums(step) has no model, as it runs outside the forward call; leave model=True to needs")


def build_objective(name: str, options: dict | None = None, config=None) -> Objective:
    """Return an objective.

    Args:
        name: a key of ``OBJECTIVES``.
        options: its options, as a mapping.
        config: the `LatentConfig` of the model it is for.

    Raises:
        InputError: an option it does not have, a value that its annotation does not admit, or needs that contradict.
    """
    options = check_objective(name, options or {})
    kind = OBJECTIVES[name]
    objective = kind(kind.Options(**options), config)
    check_declared(f"objective '{name}'", objective)
    return objective
