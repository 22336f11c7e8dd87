"""What a latent model takes from the model it wraps: embeddings, head, decoder, and the form in which that is called."""

from collections.abc import Callable

import torch
from torch import nn
from transformers import PreTrainedModel

from latent_trainer.compat import CACHE, guard_torch_init_functions, keeps_weights
from latent_trainer.errors import InputError
from latent_trainer.model.base_check import form_of, is_quickly_tried
from latent_trainer.model.heads import logits_of, losses_of_logits, token_losses
from latent_trainer.model.runner import Runner
from latent_trainer.rollout.base_form import BaseForm, decoder_of
from latent_trainer.rollout.cache import hold_length
from latent_trainer.rollout.thoughts import Thoughts
from latent_trainer.sharding import is_sharded


class WrappedBase:
    """What a latent model answers for its base model; comes before `PreTrainedModel`."""

    _form: BaseForm | None = None
    # draws or replays the latents of every call; see `latent_trainer.rollout.thoughts.using`
    thoughts: Thoughts | None = None
    stop_scores: torch.Tensor | None = None  # (B,) of the latest call without gradient: log-odds that a thought ends there

    def logits_of(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the logits (.., V) of last hidden states (.., H)."""
        return logits_of(self.base, hidden)

    def token_losses(self, hidden: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the cross-entropy (N,) of ``labels`` (N,) predicted by last hidden states (N, H), chunk by chunk."""
        return token_losses(self.base, hidden, labels)

    def losses_of_logits(self, hidden: torch.Tensor, loss: Callable[..., torch.Tensor], *targets: torch.Tensor):
        """Return any other loss (N,) of logits, chunk by chunk; as `latent_trainer.model.heads.losses_of_logits`."""
        return losses_of_logits(self.base, hidden, loss, *targets)

    def get_input_embeddings(self) -> nn.Module:
        """Return the base model's token embedding."""
        return self.base.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the base model's token embedding."""
        self.base.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """Return the base model's output head."""
        return self.base.get_output_embeddings()

    def set_output_embeddings(self, value: nn.Module) -> None:
        """Replace the base model's output head."""
        self.base.set_output_embeddings(value)

    def get_decoder(self) -> nn.Module:
        """Return the base model without its head."""
        return decoder_of(self.base)

    @property
    def form(self) -> BaseForm:
        """How the base model wants to be called: found out once and kept in the configuration.

        Raises:
            ValueError: a base model whose latents would not be exact.
        """
        if self._form is None:
            self._form = form_of(self)
            for model in (self.base, getattr(self.step_decoder, "decoder", None)):
                if model is not None:
                    model.own_head = self._form.own_head
        return self._form

    @property
    def runner(self) -> Runner:
        """The model's parts as they are now, which think."""
        checkpoint = self.gradient_checkpointing and self.training
        return Runner(
            self.config,
            self.base,
            self.form,
            self.feedback,
            self.training,
            checkpoint,
            is_sharded(self),
            self.fast,
            self.thoughts,
            self.stop_head,
        )

    @torch.no_grad()
    @guard_torch_init_functions()
    def initialize_weights(self) -> None:
        """Initialise what was not loaded, also buffers that a base model fills in its parts and saves nowhere (Falcon-H1).

        For models of other libraries transformers 5.23 passes over modules that have no weights of their own.
        """
        parts = [module for module in self.base.modules() if isinstance(module, PreTrainedModel)]
        bare = [module for module in parts if not keeps_weights(module) and not _has_own(module)]
        self.start_parts()
        super().initialize_weights()
        for module in bare:
            module._init_weights(module)

    def tried(self):
        """Return the model itself, its base tried at once where that is quick, or else on first use.

        Raises:
            ValueError: as `form`.
        """
        if is_quickly_tried(self.base):
            _ = self.form
        return self

    def refuse_router_losses(self) -> None:
        """Raise an `InputError` where the base model would add a loss of its routers to the one that is asked for.

        That loss is no sum over passes: it multiplies averages over all columns of a batch, padding and prompts included.
        """
        fields = [self.base.config, self.base.config.get_text_config()]
        if any(getattr(one, "output_router_logits", False) for one in fields):
            raise InputError(
                "output_router_logits=True adds a loss of the base model's routers, which is not computed for latents; "
                "set it to False in model.base.config to train without that loss"
            )

    def _prepare_cache_for_generation(self, generation_config, model_kwargs, *args, **kwargs):
        """Give a cache that holds states alone a layer that has a length, which stock generation (5.23) asks for."""
        prepared = super()._prepare_cache_for_generation(generation_config, model_kwargs, *args, **kwargs)
        hold_length(model_kwargs.get(CACHE))
        return prepared


def _has_own(module: nn.Module) -> bool:
    """Whether a module has weights or buffers beside those of its parts."""
    return any(True for _ in module.parameters(recurse=False)) or any(True for _ in module.buffers(recurse=False))
