"""Configuration of a latent model: everything needed to rebuild it."""

from transformers import AutoConfig, PreTrainedConfig

from latent_trainer.errors import InputError, check_choice
from latent_trainer.feedback import FEEDBACKS
from latent_trainer.version import __version__

ROLLOUTS = ("sequential",)


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
        backprop: through which latents gradient flows in training: "full", "last", "none" or the number of last latents.
        template: the prompt template (fields of `latent_trainer.data.Template`) the model was trained with.
        num_latents: latents a prompt gets at generation.
        use_cache: whether generation keeps a key-value cache.
        latent_trainer_version: version of the library that wrote the configuration.
    """

    model_type = "latent"
    sub_configs = {"base_config": AutoConfig}

    base_config: dict | PreTrainedConfig | None = None
    base_name_or_path: str = ""
    latent_token_id: int | None = None
    bot_token_id: int | None = None
    eot_token_id: int | None = None
    known_tokens: int | None = None
    feedback: str = "hidden"
    feedback_options: dict | None = None
    rollout: str = "sequential"
    backprop: str | int = "full"
    template: dict | None = None
    num_latents: int = 0
    use_cache: bool = True
    latent_trainer_version: str = __version__

    def __post_init__(self, **kwargs):
        if isinstance(self.base_config, dict):
            base = dict(self.base_config)
            self.base_config = AutoConfig.for_model(base.pop("model_type"), **base)
        self.feedback_options = self.feedback_options or {}
        check_choice("feedback", self.feedback, FEEDBACKS)
        check_choice("rollout", self.rollout, ROLLOUTS)
        check_backprop(self.backprop)
        if self.base_config is not None:
            text = self.base_config.get_text_config()
            for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
                kwargs.setdefault(name, getattr(text, name, None))
            kwargs.setdefault("tie_word_embeddings", False)  # the base model ties its own weights
        super().__post_init__(**kwargs)

    def get_text_config(self, decoder=None, encoder=None):
        """Return the base model's text configuration, so that caches and masks take its layers and windows."""
        return self if self.base_config is None else self.base_config.get_text_config(decoder=decoder, encoder=encoder)

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
        """Longest sequence the base model takes, None where it states none."""
        return getattr(self.get_text_config(), "max_position_embeddings", None)


def check_backprop(backprop: str | int) -> None:
    """Raise a one-line ValueError unless ``backprop`` is "full", "last", "none" or an integer >= 0."""
    if isinstance(backprop, int) and not isinstance(backprop, bool):
        if backprop < 0:
            raise InputError(f"backprop={backprop} is negative; give the number of last latents, or full, last, none")
    else:
        check_choice("backprop", backprop, ("full", "last", "none"))
