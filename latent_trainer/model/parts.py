"""What a method adds to a latent model: feedback, step decoder, stop head, an objective with weights."""

from collections.abc import Callable

import torch
from torch import nn

from latent_trainer.compat import keep_weights, keeps_weights
from latent_trainer.errors import InputError
from latent_trainer.methods.feedback import FEEDBACKS
from latent_trainer.methods.objectives import Objective, build_objective
from latent_trainer.model.configuration import check_feedback
from latent_trainer.model.step_decoder import StepDecoder
from latent_trainer.rollout.settings import check_rollout


class WithParts:
    """The parts of a latent model that come and go with a method; comes before `PreTrainedModel`."""

    stop_head: nn.Linear | None

    def keep_parts(self) -> None:
        """Have ``post_init`` leave the parts as their constructors made them, where these had memory to fill."""
        for name, _ in self._made():
            part = getattr(self, name)
            if part is not None and not any(value.is_meta for value in (*part.parameters(), *part.buffers())):
                keep_weights(part)

    @torch.no_grad()
    def start_parts(self) -> None:
        """Fill what a checkpoint does not have of the parts as their constructors do; loading leaves it undefined."""
        for name, make in self._made():
            part = getattr(self, name)
            if part is None or keeps_weights(part):
                continue
            values = {**dict(part.named_parameters()), **dict(part.named_buffers())}
            missing = [key for key, value in values.items() if not keeps_weights(value)]
            if missing:
                twin = make()
                made = {**dict(twin.named_parameters()), **dict(twin.named_buffers())}
                for key in missing:
                    values[key].copy_(made[key])
            keep_weights(part)

    def _made(self) -> list[tuple[str, Callable[[], nn.Module]]]:
        """Return the names of the parts and how each is made."""
        config = self.config
        return [
            ("feedback", lambda: FEEDBACKS[config.feedback](config.hidden_size, **(config.feedback_options or {}))),
            ("objective", lambda: build_objective(config.objective, config.objective_options, config)),
            ("stop_head", lambda: _stop_head(config.hidden_size)),
        ]

    def make_parts(self) -> None:
        """Make the parts that the configuration names."""
        config = self.config
        for name, make in self._made():
            named = name == "feedback" or getattr(config, name) not in (None, False)
            setattr(self, name, make() if named else None)

    def configure(
        self,
        feedback: str,
        feedback_options: dict | None = None,
        rollout: str = "sequential",
        backprop: str | int = "full",
        rollout_options: dict | None = None,
    ) -> None:
        """Take over a method's settings; a feedback that is already in place keeps its weights, also under other options.

        Args:
            feedback: a key of ``FEEDBACKS``.
            feedback_options: its keyword arguments; None keeps those in place where the feedback stays the same.
            rollout: one of ``ROLLOUTS``.
            backprop: "full", "last", "none" or the number of last latents gradient flows through.
            rollout_options: keyword arguments of the rollout.

        Raises:
            InputError: a trained feedback has other weights under these options.
        """
        config = self.config
        if feedback_options is None:
            feedback_options = config.feedback_options if feedback == config.feedback else {}
        feedback_options = check_feedback(feedback, feedback_options)
        rollout_options = check_rollout(rollout, rollout_options or {}, backprop)
        if (feedback, feedback_options) != (config.feedback, config.feedback_options):
            new = FEEDBACKS[feedback](config.hidden_size, **feedback_options)
            new.to(device=self.device, dtype=self.dtype)
            if feedback == config.feedback and (config.stage is not None or _shapes(new) == _shapes(self.feedback)):
                _take_weights(new, self.feedback, f"feedback={feedback}", config.feedback_options, feedback_options)
            config.feedback, config.feedback_options, self.feedback = feedback, feedback_options, new
        config.rollout, config.rollout_options, config.backprop = rollout, rollout_options, backprop

    def add_step_decoder(self, kind: str | None, group: int = 1) -> None:
        """Give the model a step decoder: a "copy" of the base model, or one "shared" with it; None takes it away.

        Args:
            kind: "copy", "shared" or None; a decoder of this kind that is already in place keeps its weights.
            group: latents it reads for a step.
        """
        self.config.step_decoder_group = group
        if kind != self.config.step_decoder:
            self.step_decoder = StepDecoder(self.config.base_config, kind == "shared") if kind else None
            self.config.step_decoder = kind
            if kind:
                self.step_decoder.copy_weights(self.base)

    def add_stop_head(self) -> None:
        """Give the model a head that says after every latent how likely the thought ends; one it has stays as it is."""
        if self.stop_head is None:
            self.stop_head = _stop_head(self.config.hidden_size).to(device=self.device, dtype=self.dtype)
            self.config.stop_head = True

    def add_objective(self, name: str | None, options: dict | None = None, objective: Objective | None = None) -> None:
        """Make an objective a part of the model, so that its weights are trained and saved with it; None takes it away.

        Args:
            name: a key of ``OBJECTIVES``; one that is already in place keeps its weights, also under other options.
            options: its options.
            objective: the objective.

        Raises:
            InputError: one that is in place has other weights under its own options.
        """
        known = (self.config.objective, self.config.objective_options)
        named = (name, options or {}) if objective is not None and objective.has_parameters else (None, None)
        if named[0] is not None and known == named and self.objective is not None:
            return
        if objective is not None:
            objective.to(device=self.device, dtype=self.dtype)
        if named[0] is not None and known[0] == named[0] and self.objective is not None:
            _take_weights(objective, self.objective, f"objective={name}", known[1], named[1])
        self.config.objective, self.config.objective_options = named
        self.objective = objective


def _stop_head(hidden_size: int) -> nn.Linear:
    """Return a head for which every thought is as likely to end as to go on."""
    head = nn.Linear(hidden_size, 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def _shapes(part: nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in part.state_dict().items()}


def _take_weights(part: nn.Module, kept: nn.Module, name: str, was: dict, options: dict) -> None:
    """Give a part of the model the weights of the same part under other options."""
    if _shapes(part) != _shapes(kept):
        raise InputError(
            f"{name} has other weights with options {options} than with {was}, with which the model keeps it; "
            "give those, or train the model it was made of"
        )
    part.load_state_dict(kept.state_dict())
