"""Configuration of a latent model: everything needed to rebuild it."""

from typing import Any, ClassVar

from transformers import AutoConfig, PreTrainedConfig

from latent_trainer.compat import offer_to_server
from latent_trainer.errors import InputError, check_choice
from latent_trainer.methods.feedback import FEEDBACKS
from latent_trainer.methods.objectives import OBJECTIVES
from latent_trainer.model.context import context_length
from latent_trainer.options import check_options
from latent_trainer.registry import not_loaded, origins
from latent_trainer.rollout.settings import check_rollout
from latent_trainer.version import __version__

ARCHITECTURE = "LatentForCausalLM"


class LatentConfig(PreTrainedConfig):
    """Configuration of `LatentForCausalLM`.

    Args:
        base_config: configuration of the wrapped causal language model.
        base_name_or_path: where the base came from; empty for a model built from a configuration.
        latent_token_id: id of the placeholder ``<|latent|>``.
        bot_token_id: id of the begin-of-thought token.
        eot_token_id: id of the end-of-thought token.
        known_tokens: tokens the base's tokenizer had; the rows of later ones start at the mean (`fill_new_rows`). None where
            no tokenizer was given.
        feedback: how a hidden state becomes the next input embedding, a key of ``FEEDBACKS``.
        feedback_options: keyword arguments of that feedback.
        rollout: how the latents are computed, one of ``ROLLOUTS``.
        rollout_options: keyword arguments of the rollout (jacobi: iterations, tolerance; looped: iterations, injection,
            latents_per_step).
        backprop: through which latents gradient flows in training: "full", "last", "none" or the number of last latents.
        step_decoder: auxiliary decoder of the model, "copy", "shared" or None.
        step_decoder_group: latents it reads for a step.
        objective: an objective with weights of its own that is a part of the model, a key of ``OBJECTIVES``; else None.
        objective_options: its options.
        template: the prompt template (fields of `latent_trainer.data.Template`) the model was trained with.
        num_latents: latents a prompt gets at generation.
        open_thought: whether the model ends its thought itself; ``num_latents`` are then the most it thinks.
        stop_head: whether a head of its own says after every latent how likely the thought ends (`open_thought`).
        stop_entropy: entropy of the next token, in nats, under which an open thought ends; None never ends it so.
        latents_per_step: latents that stood for a written step in training; None where the curriculum did not say so.
        stage: the curriculum's stage it was trained up to; None for a model nobody has trained, or an older version has.
        base_form: how the base model wants to be called, as `latent_trainer.model.base_check` found it, and under which
            transformers; None before the first use.
        plugins: which plug-ins define feedback, rollout or objective, if they are not the library's (`registry.origins`).
        use_cache: whether generation keeps a key-value cache.
        latent_trainer_version: version of the library that wrote the configuration.
    """

    model_type = "latent"
    sub_configs = {"base_config": AutoConfig}
    auto_map: ClassVar[dict] = {}  # TRL 1.16 reads it of a model it has no class for, pushed with its code or not

    base_config: dict | PreTrainedConfig | None = None
    base_name_or_path: str = ""
    latent_token_id: int | None = None
    bot_token_id: int | None = None
    eot_token_id: int | None = None
    known_tokens: int | None = None
    feedback: str = "hidden"
    feedback_options: dict | None = None
    rollout: str = "sequential"
    rollout_options: dict | None = None
    backprop: str | int = "full"
    step_decoder: str | None = None
    step_decoder_group: int = 1
    objective: str | None = None
    objective_options: dict | None = None
    template: dict | None = None
    num_latents: int = 0
    open_thought: bool = False
    stop_head: bool = False
    stop_entropy: float | None = None
    latents_per_step: int | None = None
    stage: int | None = None
    base_form: dict | None = None
    plugins: dict | None = None
    use_cache: bool = True
    latent_trainer_version: str = __version__

    def __post_init__(self, **kwargs):
        if isinstance(self.base_config, dict):
            base = dict(self.base_config)
            self.base_config = AutoConfig.for_model(base.pop("model_type"), **base)
        self.feedback_options = self.feedback_options or {}
        self.rollout_options = self.rollout_options or {}
        for kind in ("feedback", "rollout", "objective"):
            why = not_loaded(kind, getattr(self, kind), self.plugins)
            if why is not None:
                raise InputError(why)
        if self.objective is not None:
            check_choice("objective", self.objective, OBJECTIVES)
        self.feedback_options = check_feedback(self.feedback, self.feedback_options)
        self.rollout_options = check_rollout(self.rollout, self.rollout_options, self.backprop)
        if self.base_config is not None:
            text = self.base_config.get_text_config()
            for name in ("bos_token_id", "eos_token_id", "pad_token_id", "tie_word_embeddings"):
                kwargs.setdefault(name, getattr(text, name, None))
        super().__post_init__(**kwargs)
        # a full model writes it anyway; beside an adapter there is nothing else that says which class loads it
        self.architectures = self.architectures or [ARCHITECTURE]

    def to_dict(self) -> dict:
        """Return the fields as they are saved, with the plug-ins that define what the model is made of."""
        plugins = origins(feedback=self.feedback, rollout=self.rollout, objective=self.objective)
        return {**super().to_dict(), "plugins": plugins or None}

    def get_text_config(self, decoder=None, encoder=None) -> PreTrainedConfig:
        """Return the base model's text configuration, so that caches and masks take its layers and windows."""
        base: Any = self.base_config
        return self if base is None else base.get_text_config(decoder=decoder, encoder=encoder)

    @property
    def prompt_latents(self) -> int | None:
        """Latents that are written into a prompt: ``num_latents``, or None where the model ends its thought itself."""
        return None if self.open_thought else self.num_latents

    @property
    def hidden_size(self) -> int:
        """H of the base model."""
        return self.get_text_config().hidden_size

    @property
    def vocab_size(self) -> int:
        """V of the base model."""
        return self.get_text_config().vocab_size

    @property
    def num_hidden_layers(self) -> int:
        """L of the base model."""
        return self.get_text_config().num_hidden_layers

    @property
    def max_position_embeddings(self) -> int | None:
        """Tokens of the longest sequence the base model is made for, None where nothing limits it."""
        return None if self.base_config is None else context_length(self.base_config)


def check_feedback(feedback: str, options: dict) -> dict:
    """Return a feedback's options as it declares them; a one-line `InputError` where there is no such feedback or option."""
    check_choice("feedback", feedback, FEEDBACKS)
    return check_options(f"feedback '{feedback}'", FEEDBACKS[feedback], options, ("hidden_size",), "feedback_options")


# here and not beside the model: of a folder's code, a server reads the configuration before it asks for the model's class
offer_to_server(ARCHITECTURE)
