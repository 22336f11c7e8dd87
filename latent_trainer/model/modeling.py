"""`LatentForCausalLM`: any causal language model, with latents filled in where `<|latent|>` stands."""

import os
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import CausalLMOutputWithPast

from latent_trainer.compat import (
    CACHE,
    get_attention,
    keep_weights,
    keeps_weights,
    set_attention,
    take_state,
    takes_either_cache,
)
from latent_trainer.data.thought_tokens import add_thought_tokens
from latent_trainer.errors import InputError
from latent_trainer.methods.step import Needs, make_step
from latent_trainer.model.backbone import WithBackbone
from latent_trainer.model.configuration import LatentConfig
from latent_trainer.model.forward_arguments import refuse_beside_views
from latent_trainer.model.generation_doors import GenerationDoors
from latent_trainer.model.gguf import load_base
from latent_trainer.model.heads import causal_lm_loss
from latent_trainer.model.loading import adapter_at, generation_config, load_adapter, refuse_pickled_adapter
from latent_trainer.model.parts import WithParts
from latent_trainer.model.step_decoder import StepDecoder
from latent_trainer.model.tokens import fill_new_rows
from latent_trainer.model.views import ViewOutput, forward_views
from latent_trainer.model.wrapped_base import WrappedBase
from latent_trainer.rollout.checkpointing import RolloutCheckpointing
from latent_trainer.rollout.output import RolloutOutput
from latent_trainer.sharding import whole_shape


class LatentForCausalLM(  # type: ignore[misc]  # its parts have fewer arguments than stock methods of the same name
    WithBackbone, WrappedBase, WithParts, GenerationDoors, RolloutCheckpointing, PreTrainedModel, GenerationMixin
):
    """A causal language model that thinks in continuous latents.

    ``input_ids`` holds the placeholder ``<|latent|>`` where a thought goes; `forward` replaces its embedding by
    ``feedback(hidden state of the column before)``. Everything that calls a causal language model works unchanged.

    Args:
        config: a `LatentConfig`; its ``base_config`` says which model is wrapped.

    Source: Hao et al. 2024 (Coconut); the wrapped model's own code is never touched.
    """

    config_class = LatentConfig
    main_input_name = "input_ids"
    accepts_loss_kwargs = True
    _tied_weights_keys = {}  # none but the base model's own; PEFT reads them from a dictionary only
    supports_gradient_checkpointing = True
    config: LatentConfig
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    fast = True  # False takes the plain path through a rollout, with the same results; not saved

    def __init__(self, config: LatentConfig, base: PreTrainedModel | None = None):
        attention = get_attention(config)  # None where the base model is to choose: not every one has sdpa
        super().__init__(config)
        if base is None:
            set_attention(config.base_config, attention)
            base = AutoModelForCausalLM.from_config(config.base_config)
            set_attention(config, get_attention(base.config))
        else:
            keep_weights(base)  # `post_init` must not draw them anew
        self.base = base
        self.make_parts()
        self.step_decoder = StepDecoder(config.base_config, config.step_decoder == "shared") if config.step_decoder else None
        self.keep_parts()
        self._no_split_modules = base._no_split_modules
        take_state(self, base)
        self.post_init()

    @classmethod
    def from_base(
        cls,
        base: str | os.PathLike | PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase | None = None,
        *,
        latent_token_id: int | None = None,
        bot_token_id: int | None = None,
        eot_token_id: int | None = None,
        bot_token: str = "<|bot|>",
        eot_token: str = "<|eot|>",
        feedback: str = "hidden",
        feedback_options: dict | None = None,
        backprop: str | int = "full",
        rollout: str = "sequential",
        rollout_options: dict | None = None,
        **kwargs,
    ) -> "LatentForCausalLM":
        """Wrap a causal language model.

        Args:
            base: a model, or the name or folder of one, or of a GGUF file (``FOLDER/NAME.gguf``, ``org/repo:NAME.gguf``).
            tokenizer: gets ``<|latent|>`` and the two thought tokens where they are missing, and pads on the left; the
                embedding grows to fit and every new row starts at the mean of the old ones.
            latent_token_id, bot_token_id, eot_token_id: without a tokenizer, existing rows of the vocabulary.
            bot_token, eot_token: text of the thought tokens; existing ones such as ``<think>`` are taken as they are.
            feedback: a key of ``FEEDBACKS``.
            feedback_options: keyword arguments of the feedback.
            backprop: "full", "last", "none" or the number of last latents gradient flows through.
            rollout: one of ``ROLLOUTS``.
            rollout_options: keyword arguments of the rollout.
            kwargs: passed on to ``AutoModelForCausalLM.from_pretrained`` when ``base`` is a name.

        Raises:
            ValueError: neither a tokenizer nor the three ids, both, or ids outside the vocabulary.
        """
        ids: dict[str, Any] = {
            "latent_token_id": latent_token_id,
            "bot_token_id": bot_token_id,
            "eot_token_id": eot_token_id,
        }
        if (tokenizer is None) == any(value is None for value in ids.values()):
            raise InputError(
                "from_base takes either a tokenizer or all of latent_token_id, bot_token_id and eot_token_id; "
                f"got tokenizer={'given' if tokenizer is not None else None}, "
                + ", ".join(f"{name}={value}" for name, value in ids.items())
            )
        if isinstance(base, str | os.PathLike):
            base = os.fspath(base)
            refuse_pickled_adapter(base, kwargs)
            base = load_base(base, **kwargs)
        if isinstance(base, LatentForCausalLM):
            raise InputError("from_base got a LatentForCausalLM; pass the model it wraps, model.base")
        known = None
        if tokenizer is not None:
            # a tokenizer may have the tokens already, from an earlier call
            known = min(len(tokenizer), _table_rows(base))
            ids = add_thought_tokens(tokenizer, bot_token, eot_token)
            fill_new_rows(base, known, len(tokenizer))
        vocab_size = _table_rows(base)
        for name, value in ids.items():
            if not 0 <= value < vocab_size:
                raise InputError(f"{name}={value} is outside the vocabulary of {vocab_size} rows")
        attention = get_attention(base.config)  # a composite configuration resets that of its parts
        config = LatentConfig(
            base_config=base.config,
            base_name_or_path=base.config.name_or_path or "",
            feedback=feedback,
            feedback_options=feedback_options,
            backprop=backprop,
            rollout=rollout,
            rollout_options=rollout_options,
            dtype=base.dtype,
            known_tokens=known,
            **ids,
        )
        set_attention(config, attention)
        model = cls(config, base=base)
        model.feedback.to(device=base.device, dtype=base.dtype)
        model.generation_config = generation_config(base, config)
        return model.tried()

    @classmethod
    def from_pretrained(  # type: ignore[override]  # the stock arguments are among ``kwargs``
        cls, pretrained_model_name_or_path: str, *args, **kwargs
    ) -> "LatentForCausalLM":
        """Load a saved latent model, or an adapter merged into the model it was trained on.

        Args:
            pretrained_model_name_or_path: folder or Hub name of either.
            args, kwargs: as for any `PreTrainedModel`.

        Raises:
            ValueError: an adapter whose base model has no name to load it by.
        """
        name = pretrained_model_name_or_path
        kwargs = {"use_safetensors": True, **kwargs}  # weights in a pickle are never opened unless somebody insists
        where = adapter_at(name, kwargs)
        if where is None:
            return super().from_pretrained(name, *args, **kwargs)
        return load_adapter(cls, name, where, args, kwargs)

    def _next_embedding(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the latent (B, H) that follows ``hidden`` (B, H)."""
        return self.runner.next_embedding(hidden)

    def _init_weights(self, module: nn.Module) -> None:
        """Initialise the layers that a class made of this one adds; `start_parts` has filled the parts, the base its own."""
        loaded = all(keeps_weights(parameter) for parameter in module.parameters(recurse=False))
        if isinstance(module, (nn.Linear, nn.LayerNorm)) and not loaded:
            module.reset_parameters()

    def run(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None,
        position_ids: torch.Tensor | None = None,
        past_key_values=None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool = False,
        **kwargs,
    ) -> RolloutOutput:
        """Return hidden states and latents; as `latent_trainer.model.runner.Runner.run`, which takes ``kwargs`` too."""
        return self.runner.run(input_ids, attention_mask, position_ids, past_key_values, inputs_embeds, use_cache, **kwargs)

    @takes_either_cache
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values=None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        shift_labels: torch.LongTensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        output_hidden_states: bool | int | list[int] | None = None,
        latents: torch.Tensor | None = None,
        views: dict[str, dict[str, torch.Tensor]] | None = None,
        steps: dict[str, torch.Tensor] | None = None,
        needs: Needs | None = None,
        scored: dict | None = None,
        **kwargs,
    ) -> CausalLMOutputWithPast | tuple | dict[str, ViewOutput]:
        """Run the model over tokens and latents.

        Args:
            input_ids: (B, T), with ``<|latent|>`` where a thought goes.
            attention_mask: (B, P + T), or (B, 1, T, P + T) for a base model that takes a ready mask.
            position_ids: (B, T) or (1, T). Where they begin anew within a row, another document begins, which neither sees
                nor thinks from what is before it (`latent_trainer.rollout.packing`).
            past_key_values: cache of the P columns before, extended in place; it also carries the thought.
            inputs_embeds: (B, T, H) instead of ``input_ids``; such a call has no latents.
            labels: (B, T), -100 where nothing is scored; gives the mean cross-entropy over scored tokens, or their sum over
                ``num_items_in_batch``.
            use_cache: whether to return a cache; by default outside training, and wherever one was handed in.
            logits_to_keep: as in any causal language model: the last n columns, or the columns at these indices.
            shift_labels: (B, T) instead of ``labels``: column t is what the logits of column t predict.
            num_items_in_batch: scored tokens of the whole accumulated batch.
            output_hidden_states: whether to return every layer's hidden states, or which of them.
            latents: (B, K, H) embeddings that stand in for the thoughts: the k-th replaces the k-th latent of its row; where
                it is NaN the model thinks itself. A call that continues a thought takes none.
            views: continuations of the prompt in ``input_ids`` (docs/shapes.md); returns a `ViewOutput` for each.
            steps: with ``views``, what the step decoder reads; adds the output "steps".
            needs: with ``views``, what is returned of them (`latent_trainer.methods.step.Needs`); by default losses alone.
            scored: with ``views``, the ``rows`` (B,), ``seeds``, ``counts`` and ``sums`` of a
                `latent_trainer.methods.step.Step`, with which an objective that is a part of the model computes its terms;
                adds the output "terms".
            kwargs: ``return_dict``, ``output_attentions`` and what says where packed documents begin; see docs/clients.md.
                With ``views``, ``label_smoothing``.

        Raises:
            ValueError: a latent with no column before it; arguments that clash or that nobody knows; a base model with a
                loss of its own.
        """
        if views is not None or labels is not None or shift_labels is not None:
            self.refuse_router_losses()
        if views is not None:
            refuse_beside_views(locals(), kwargs)
            beside = {"label_smoothing": kwargs.get("label_smoothing", 0.0)}
            results = forward_views(
                self.runner,
                input_ids,  # type: ignore[arg-type]  # views come with both
                attention_mask,  # type: ignore[arg-type]
                views,
                steps,
                self.step_decoder,
                needs,
                **beside,
            )
            if scored is not None:
                batch = {"input_ids": input_ids, "attention_mask": attention_mask, "views": views}
                batch |= {"rows": scored["rows"], "seeds": scored.get("seeds")}
                step = make_step(results, batch, scored["counts"], scored["sums"], self)
                results["terms"] = self.objective(step)  # type: ignore[misc]  # the trainer asks only a model that has one
            return results
        for name, value in (("steps", steps), ("needs", needs), ("scored", scored)):
            if value is not None:
                raise InputError(f"{name} need views; give views too, or leave {name} out")
        return_dict = kwargs.pop("return_dict", None)
        output = self.backbone(
            input_ids,
            attention_mask,
            position_ids,
            past_key_values,
            inputs_embeds,
            use_cache,
            output_hidden_states,
            latents=latents,
            logits_to_keep=logits_to_keep,
            **kwargs,
        )
        logits = self.logits_of(output.last_hidden_state)  # (B, kept, V)
        result = CausalLMOutputWithPast(
            loss=causal_lm_loss(logits, labels, shift_labels, num_items_in_batch),
            logits=logits,
            hidden_states=output.hidden_states,
            attentions=output.attentions,
            **{CACHE: getattr(output, CACHE)},
        )
        return result if (self.config.return_dict if return_dict is None else return_dict) else result.to_tuple()


def _table_rows(base: PreTrainedModel) -> int:
    """Return the rows of the token embedding."""
    return whole_shape(base.get_input_embeddings().weight)[0]  # type: ignore[arg-type]


AutoConfig.register("latent", LatentConfig)
AutoModelForCausalLM.register(LatentConfig, LatentForCausalLM)
