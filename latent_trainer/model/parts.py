"""What a method adds to a latent model: its feedback, a step decoder, an objective with weights of its own."""

from latent_trainer.errors import InputError
from latent_trainer.methods.feedback import FEEDBACKS
from latent_trainer.methods.objectives import Objective
from latent_trainer.model.configuration import check_feedback
from latent_trainer.model.step_decoder import StepDecoder
from latent_trainer.rollout.settings import check_rollout


class WithParts:
    """The parts of a latent model that come and go with a method; comes before `PreTrainedModel`."""

    def configure(
        self,
        feedback: str,
        feedback_options: dict | None = None,
        rollout: str = "sequential",
        backprop: str | int = "full",
        rollout_options: dict | None = None,
    ) -> None:
        """Take over a method's settings; a feedback that is already in place keeps its weights.

        Args:
            feedback: a key of ``FEEDBACKS``.
            feedback_options: its keyword arguments; None keeps those in place where the feedback stays the same.
            rollout: one of ``ROLLOUTS``.
            backprop: "full", "last", "none" or the number of last latents gradient flows through.
            rollout_options: keyword arguments of the rollout.
        """
        config = self.config
        if feedback_options is None:
            feedback_options = config.feedback_options if feedback == config.feedback else {}
        feedback_options = check_feedback(feedback, feedback_options)
        rollout_options = check_rollout(rollout, rollout_options or {}, backprop)
        if (feedback, feedback_options) != (config.feedback, config.feedback_options):
            config.feedback = feedback
            config.feedback_options = feedback_options
            self.feedback = FEEDBACKS[feedback](config.hidden_size, **config.feedback_options)
            self.feedback.to(device=self.device, dtype=self.dtype)
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
            _take_weights(objective, self.objective, name, known[1], named[1])
        self.config.objective, self.config.objective_options = named
        self.objective = objective


def _take_weights(objective: Objective, kept: Objective, name: str, was: dict, options: dict) -> None:
    """Give an objective the weights of the same one under other options."""
    own, weights = objective.state_dict(), kept.state_dict()
    if {key: value.shape for key, value in own.items()} != {key: value.shape for key, value in weights.items()}:
        raise InputError(
            f"objective={name} has other weights with options {options} than with {was}, with which the model keeps it; "
            "give those, or train the model it was made of"
        )
    objective.load_state_dict(weights)
