"""The contract of objectives: what one declares, and what it is asked."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from latent_trainer.methods.step import Needs, Step


@dataclass
class NoOptions:
    """An objective without options."""


class Objective(nn.Module):
    """What a step over views is scored on.

    An objective with parameters becomes a part of the model: it is trained, saved in checkpoints and left out of the
    finished model unless ``keep_objective`` is set. Every term it returns is a sum over a global count (see `Step.counts`),
    so that batch size, gradient accumulation and the number of processes change no result.

    Args:
        options: an instance of ``Options``; None takes their defaults.
        config: the `LatentConfig` of the model, for sizes; None where an objective needs none.
    """

    Options: ClassVar[type] = NoOptions
    needs: Needs = Needs()
    sums_needs: Needs | None = None
    longer_views: ClassVar[bool | None] = None
    logged_counts: ClassVar[tuple[str, ...]] = ()  # of what it counts: logged beside the terms, as the mean over steps
    teaches_feedback: ClassVar[bool] = False  # what to feed back, where latents have their inputs in training
    has_teacher: ClassVar[bool] = False  # one that reads the written steps; a student that reads all of them learns nothing

    def __init__(self, options: Any = None, config: Any = None):
        super().__init__()
        self.options = self.Options() if options is None else options

    def fault(self, feedback: type, curriculum) -> str | None:
        """Return why the objective cannot train a model with this feedback on rows as this curriculum makes them, or None.

        Args:
            feedback: the class.
            curriculum: as it was built.
        """
        if self.teaches_feedback:
            return None
        if getattr(curriculum, "gives_inputs", False):
            return "latents have their inputs in training, and nothing teaches the feedback; take objective=compression"
        if hasattr(feedback, "distribution"):
            return "nothing teaches the feedback how sure to be; take objective=compression, or another feedback"
        return None

    def make_views(self, encoder, row, plan) -> dict:
        """Return the views of a row, name -> `latent_trainer.data.encoding.View`.

        Args:
            encoder: the `latent_trainer.data.encoding.Encoder`.
            row: the `latent_trainer.data.encoding.EncodedProblem`: token ids of prompt, steps and answer.
            plan: its latents and dropped steps at this stage.
        """
        views = {"latent": encoder.latent_view(row, plan)}
        if "explicit" in self.needs.views:
            views["explicit"] = encoder.explicit_view(row)
        return views

    def count(self, batch: dict) -> dict[str, int]:
        """Return numbers of a batch (on the CPU) that are added up over the global batch into `Step.counts`."""
        return {}

    def sums(self, step: Step) -> dict[str, torch.Tensor]:
        """Return tensors that are added up over the global batch into `Step.sums` before any term is computed.

        Asked only of an objective that says in ``sums_needs`` what it needs for them; without gradient where the global
        batch has several parts.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has sums_needs and no sums(step); write it or leave sums_needs out"
        )

    def forward(self, step: Step) -> dict[str, torch.Tensor]:
        """Return named terms, each a scalar, that the trainer logs and adds up."""
        raise NotImplementedError(f"{type(self).__name__} has no forward(step) -> dict of terms; write it")

    @property
    def has_longer_views(self) -> bool:
        """Whether a view may be longer than prompt, steps, answer and latents together, so that its length is measured.

        ``longer_views`` says so; where it is None, that of a class that makes views of its own may.
        """
        own = type(self).make_views is not Objective.make_views
        return own if self.longer_views is None else self.longer_views

    @property
    def in_model(self) -> bool:
        """Whether the terms are computed within the model's forward call."""
        return self.needs.model or self.has_parameters

    @property
    def has_parameters(self) -> bool:
        """Whether there is something of it to train."""
        return next(self.parameters(), None) is not None
