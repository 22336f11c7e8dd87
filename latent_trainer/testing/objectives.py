"""The contract of objectives."""

import torch

from latent_trainer.methods.objectives import build_objective
from latent_trainer.model.adapters import latent_model
from latent_trainer.testing.steps import ROWS, Steps, tiny_steps
from latent_trainer.testing.tiny import contract, require


def check_objective(objective: str | type, options: dict | None = None, **settings) -> None:
    """Require that an objective keeps its contract: every term a sum over a global count, whatever a batch looks like.

    Loss and gradients must not change when a step is computed again, comes in several batches, has rows that only fill up a
    batch or more columns of padding; a step of the same rows twice gives about the same; its own weights get a gradient.

    Args:
        objective: a name, ``package.module:Class`` or the class.
        options: its options.
        settings: training arguments it needs, ``curriculum`` or ``feedback`` for instance; by default a staged curriculum.

    Raises:
        AssertionError: with a sentence that says what is wrong.
    """
    with contract("objective", objective) as name:
        given = {"objective": name, "objective_options": options or None, **settings}
        with tiny_steps(f"objective '{name}'", **given) as steps:
            _check_counts(steps)
            steps.check()
            steps.check_normalised()
            _check_weights(steps, name, options)


def _check_counts(steps: Steps) -> None:
    """Require that what it counts is whole numbers that add up, without fillers."""
    objective, stage = steps.trainer.train_objective, steps.stages[-1]
    whole = objective.count(steps.batch([*range(ROWS)], stage))
    require(
        isinstance(whole, dict) and all(float(number) == int(number) for number in whole.values()),
        f"{steps.what}: count(batch) returns {whole!r}; return a dictionary of whole numbers",
    )
    parts = [objective.count(steps.batch(part, stage)) for part in ([0, 1], [*range(2, ROWS)])]
    filled = objective.count(steps.batch([*range(ROWS), ROWS], stage))
    for name, number in whole.items():
        added = sum(int(part.get(name, 0)) for part in parts)
        require(
            added == int(number),
            f"{steps.what}: it counts {int(number)} {name} in a batch and {added} in two batches of the same rows; counts "
            "must add up",
        )
        require(
            int(filled.get(name, 0)) == int(number),
            f"{steps.what}: it counts {int(filled.get(name, 0))} {name} instead of {int(number)} when a row that only fills "
            "up the batch is added; leave out the rows where batch['rows'] is False",
        )


def _check_weights(steps: Steps, name: str, options: dict | None) -> None:
    """Require that its own weights are trained, and come back when the model is built again."""
    model = latent_model(steps.trainer.model)
    objective = steps.trainer.train_objective
    own = dict(objective.named_parameters())
    gradients: dict[str, float] = {}
    for stage in steps.stages:
        steps.measured([steps.batch([*range(ROWS)], stage)])
        for key, parameter in own.items():
            grown = 0.0 if parameter.grad is None else float(parameter.grad.abs().sum())
            gradients[key] = gradients.get(key, 0.0) + grown
    for key, parameter in own.items():
        require(
            not parameter.requires_grad or gradients[key] > 0,
            f"{steps.what}: its weight {key} gets no gradient; use it in a term, or make it no parameter",
        )
    again = build_objective(name, options, model.config).to(model.dtype)
    saved = objective.state_dict()
    shapes = {key: tensor.shape for key, tensor in again.state_dict().items()}
    require(
        shapes == {key: tensor.shape for key, tensor in saved.items()},
        f"{steps.what}: built again from its options and the configuration it has other weights ({', '.join(shapes)}, "
        f"not {', '.join(saved)}); make all of them in __init__, from options and config alone",
    )
    again.load_state_dict(saved)
    require(
        all(torch.equal(tensor, saved[key]) for key, tensor in again.state_dict().items()),
        f"{steps.what}: its weights are others after they were saved and loaded",
    )
