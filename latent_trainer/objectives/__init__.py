"""Objectives: what a step over views is scored on.

One file an objective, one line below. An objective is built as ``cls(**options)`` and has

- ``views``: the views a batch needs, the one with latents first,
- ``needs_hidden_states``: whether each view must return its hidden states where the answer starts, and
- ``__call__(outputs, batch, counts) -> dict[str, Tensor]``: named terms that the trainer logs and adds up. Every term is a
  sum over a global count: ``counts["rows"]`` and ``counts["<view>_tokens"]`` cover all processes and accumulation steps.
"""

from latent_trainer.objectives.answer import AnswerObjective

OBJECTIVES = {
    "answer": AnswerObjective,
}
