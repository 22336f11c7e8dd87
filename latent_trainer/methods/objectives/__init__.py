"""Objectives: what a step over views is scored on.

One file an objective, one line below. An objective is built as ``cls(**options)``, where the annotations of its constructor
state type and range of every option (`latent_trainer.options`), and has

- ``views``: the views a batch needs, the one with latents first,
- ``needs_hidden_states``: whether each view must return its hidden states where the answer starts,
- ``skip_last_step``: whether the explicit view leaves the last written step out,
- ``statistics_view``: None, or the view whose ``statistics(outputs, batch) -> Tensor`` the trainer adds up over the global
  batch before any term is computed and hands over as ``counts["statistics"]``, and
- ``__call__(outputs, batch, counts) -> dict[str, Tensor]``: named terms that the trainer logs and adds up. Every term is a
  sum over a global count: ``counts["rows"]`` and ``counts["<view>_tokens"]`` cover all processes and accumulation steps.
  ``batch["rows"]`` (B,) is False for filler rows, which no term may count.
"""

from latent_trainer.methods.objectives.answer import AnswerObjective
from latent_trainer.methods.objectives.self_distillation import SelfDistillationObjective
from latent_trainer.registry import Registry

OBJECTIVES = Registry(
    "objective",
    {
        "answer": AnswerObjective,
        "self_distillation": SelfDistillationObjective,
    },
)
