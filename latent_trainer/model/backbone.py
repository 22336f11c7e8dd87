"""The backbone: the model without its head, latents thought, as clients that bring a head of their own call it."""

import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutputWithPast

from latent_trainer.compat import CACHE, takes_either_cache
from latent_trainer.errors import InputError
from latent_trainer.model.forward_arguments import (
    OTHERS,
    check_arguments,
    check_attentions,
    chosen_layers,
    given,
    kept_columns,
    refuse_placeholders,
    refuse_unknown,
)
from latent_trainer.rollout.packing import ARGUMENTS as PACKING
from latent_trainer.rollout.packing import packed_documents


class Backbone(nn.Module):
    """What ``model.base_model`` is: runs the rollout and returns hidden states.

    Clients that put a head of their own on a causal language model (fused losses, value heads, rewards) call its
    ``base_model``. The decoder of the wrapped model would skip the latents without a word.

    Args:
        model: a latent model; it does not hold its backbone as a part, so that weights keep their names.
    """

    _tp_plan: dict = {}
    _pp_plan: dict = {}

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    @property
    def config(self):
        """The base model's text configuration."""
        return self.model.config.get_text_config()

    def get_input_embeddings(self) -> nn.Module:
        """Return the base model's token embedding."""
        return self.model.get_input_embeddings()

    def get_decoder(self) -> nn.Module:
        """Return the base model without its head."""
        return self.model.get_decoder()

    @takes_either_cache
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values=None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | int | list[int] | None = None,
        output_attentions: bool | None = None,
        latents: torch.Tensor | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **kwargs,
    ) -> BaseModelOutputWithPast:
        """Return last hidden states (B, kept, H), latents filled in.

        Args:
            input_ids, attention_mask, position_ids, past_key_values, inputs_embeds, use_cache, output_hidden_states,
                output_attentions, latents, kwargs: as in `LatentForCausalLM.forward`.
            logits_to_keep: for which columns the caller wants logits, by default all T.

        Raises:
            ValueError: arguments that clash, that mean nothing here or that nobody knows.
        """
        if torch.compiler.is_exporting():
            raise InputError(
                "torch.export cannot trace a latent model: its tokens decide how many passes a call takes; export model.base"
            )
        model, config, cache = self.model, self.model.config, past_key_values
        kwargs = given(kwargs)
        refuse_unknown(kwargs, type(model).forward)
        packing = {name: kwargs[name] for name in PACKING if name in kwargs}
        others = {name: kwargs[name] for name in OTHERS if name in kwargs}
        check_arguments(input_ids, inputs_embeds, attention_mask, position_ids, cache, others)
        layers = config.output_hidden_states if output_hidden_states is None else output_hidden_states
        attends = config.output_attentions if output_attentions is None else output_attentions
        if attends:
            check_attentions(config)
        runner = model.runner
        if inputs_embeds is not None:
            if runner.form.reads_ids:
                raise InputError(
                    "inputs_embeds: this base model uses token ids in more places than their embeddings; pass input_ids"
                )
            if runner.feedback.sequential:
                placeholder = torch.tensor([[config.latent_token_id]], device=inputs_embeds.device)
                refuse_placeholders(inputs_embeds, runner.embedding(placeholder)[0, 0])
            input_ids = torch.full(inputs_embeds.shape[:2], -1, device=inputs_embeds.device)  # (B, T): no token of any kind
        documents = packed_documents(input_ids, attention_mask, position_ids, cache, packing)
        if documents is None:
            use_cache = (config.use_cache and not runner.training) if use_cache is None else use_cache
            use_cache = use_cache or cache is not None  # one that was handed in goes on
        else:
            if use_cache or attends or latents is not None:
                what = "use_cache" if use_cache else "output_attentions" if attends else "latents"
                raise InputError(f"{what} cannot be combined with packed rows; give every document its own row")
            if inputs_embeds is None:
                inputs_embeds = runner.embedding(input_ids)  # (B, T, H)
            input_ids, inputs_embeds = documents.apart(input_ids, -1), documents.apart(inputs_embeds)  # (D, W), (D, W, H)
            position_ids = None if position_ids is None else documents.apart(position_ids.expand(documents.shape))
            attention_mask, use_cache = documents.mask, False
        output = runner.run(
            input_ids,
            attention_mask,
            position_ids,
            cache,
            inputs_embeds,
            use_cache=use_cache,
            latents=latents,
            output_hidden_states=layers is not False and layers is not None,
            least=runner.agree([input_ids], cache)[0],
            output_attentions=bool(attends),
        )
        hidden, hidden_states = output.hidden, output.hidden_states
        if model.stop_head is not None and not torch.is_grad_enabled():
            model.stop_scores = model.stop_head(hidden[:, -1]).squeeze(-1)  # (B,)
        if documents is not None:
            hidden = documents.together(hidden)  # (B, T, H)
            hidden_states = tuple(map(documents.together, hidden_states)) if hidden_states else None
        return BaseModelOutputWithPast(
            last_hidden_state=kept_columns(hidden, logits_to_keep),
            hidden_states=chosen_layers(hidden_states, layers),
            attentions=output.attentions,
            **{CACHE: output.cache if use_cache else None},
        )


class WithBackbone:
    """What makes a latent model's ``base_model`` its backbone; comes before `PreTrainedModel`."""

    base_model_prefix = "backbone"

    @property
    def backbone(self) -> Backbone:
        """The model without its head, latents thought; also under the stock name ``base_model``."""
        backbone = self.__dict__.get("_backbone")
        if backbone is None or backbone.model is not self:  # a copy of the model, as on every device of `nn.DataParallel`
            # not a part of the model: its weights have their names already
            backbone = self.__dict__["_backbone"] = Backbone(self)
        return backbone
