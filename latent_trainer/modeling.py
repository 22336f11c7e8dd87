"""`LatentForCausalLM`: any causal language model, with latents filled in where `<|latent|>` stands."""

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.utils.peft_utils import find_adapter_config_file

from latent_trainer.cache import read_thought, with_room, write_thought
from latent_trainer.checkpointing import RolloutCheckpointing
from latent_trainer.configuration import LatentConfig
from latent_trainer.errors import InputError
from latent_trainer.feedback import FEEDBACKS
from latent_trainer.heads import cross_entropy
from latent_trainer.jacobi import jacobi_rollout
from latent_trainer.loading import generation_config, load_adapter
from latent_trainer.ranks import agree, with_feedback
from latent_trainer.rollout import RolloutOutput, count_positions, rollout
from latent_trainer.sharding import is_sharded, whole_shape
from latent_trainer.step_decoder import StepDecoder
from latent_trainer.tokens import add_thought_tokens, fill_new_rows, place_latents, thinking_columns
from latent_trainer.views import ViewOutput, forward_views
from latent_trainer.wrapped_base import WrappedBase

ROLLOUTS = {"sequential": rollout, "jacobi": jacobi_rollout}


class LatentForCausalLM(WrappedBase, RolloutCheckpointing, PreTrainedModel, GenerationMixin):
    """A causal language model that thinks in continuous latents.

    ``input_ids`` holds the placeholder ``<|latent|>`` where a thought goes; `forward` replaces its embedding by
    ``feedback(hidden state of the column before)``. Everything that calls a causal language model works unchanged.

    Args:
        config: a `LatentConfig`; its ``base_config`` says which model is wrapped.

    Source: Hao et al. 2024 (Coconut); the wrapped model's own code is never touched.
    """

    config_class = LatentConfig
    base_model_prefix = "base"
    main_input_name = "input_ids"
    accepts_loss_kwargs = True
    _tied_weights_keys = {}  # none but the base model's own; PEFT reads them from a dictionary only
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    def __init__(self, config: LatentConfig, base: PreTrainedModel | None = None):
        attention = config._attn_implementation  # None where the base model is to choose: not every one has sdpa
        super().__init__(config)
        if base is None:
            config.base_config._attn_implementation = attention
            base = AutoModelForCausalLM.from_config(config.base_config)
            config._attn_implementation = base.config._attn_implementation
        else:
            for module in base.modules():
                module._is_hf_initialized = True  # `post_init` must not draw its weights anew
        self.base = base
        self.feedback = FEEDBACKS[config.feedback](config.hidden_size, **config.feedback_options)
        self.step_decoder = StepDecoder(config.base_config, config.step_decoder == "shared") if config.step_decoder else None
        self._no_split_modules = base._no_split_modules
        self._is_stateful = base._is_stateful  # stock generation asks for it
        self.post_init()

    @classmethod
    def from_base(
        cls,
        base: str | PreTrainedModel,
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
            base: a model, or the name or folder of one.
            tokenizer: gets ``<|latent|>`` and the two thought tokens where they are missing; the embedding grows to fit and
                every new row starts at the mean of the old ones.
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
        ids = {"latent_token_id": latent_token_id, "bot_token_id": bot_token_id, "eot_token_id": eot_token_id}
        if (tokenizer is None) == any(value is None for value in ids.values()):
            raise InputError(
                "from_base takes either a tokenizer or all of latent_token_id, bot_token_id and eot_token_id; "
                f"got tokenizer={'given' if tokenizer is not None else None}, "
                + ", ".join(f"{name}={value}" for name, value in ids.items())
            )
        if isinstance(base, str):
            base = AutoModelForCausalLM.from_pretrained(base, **{"use_safetensors": True, **kwargs})
        if isinstance(base, LatentForCausalLM):
            raise InputError("from_base got a LatentForCausalLM; pass the model it wraps, model.base")
        known = None
        if tokenizer is not None:
            # a tokenizer may have the tokens already, from an earlier call
            known = min(len(tokenizer), whole_shape(base.get_input_embeddings().weight)[0])
            ids = add_thought_tokens(tokenizer, bot_token, eot_token)
            fill_new_rows(base, known, len(tokenizer))
        vocab_size = whole_shape(base.get_input_embeddings().weight)[0]
        for name, value in ids.items():
            if not 0 <= value < vocab_size:
                raise InputError(f"{name}={value} is outside the vocabulary of {vocab_size} rows")
        attention = base.config._attn_implementation  # a composite configuration resets that of its parts
        config = LatentConfig(
            base_config=base.config,
            base_name_or_path=base.config._name_or_path or "",
            feedback=feedback,
            feedback_options=feedback_options,
            backprop=backprop,
            rollout=rollout,
            rollout_options=rollout_options,
            dtype=base.dtype,
            known_tokens=known,
            **ids,
        )
        config._attn_implementation = attention
        model = cls(config, base=base)
        model.feedback.to(device=base.device, dtype=base.dtype)
        model.generation_config = generation_config(base, config)
        return model.tried()

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str, *args, **kwargs) -> "LatentForCausalLM":
        """Load a saved latent model, or an adapter merged into the model it was trained on.

        Args:
            pretrained_model_name_or_path: folder or Hub name of either.
            args, kwargs: as for any `PreTrainedModel`.

        Raises:
            ValueError: an adapter whose base model has no name to load it by.
        """
        name = pretrained_model_name_or_path
        kwargs = {"use_safetensors": True, **kwargs}  # weights in a pickle are never opened unless somebody insists
        where = {
            key: kwargs[key] for key in ("revision", "subfolder", "token", "cache_dir", "local_files_only") if key in kwargs
        }
        if find_adapter_config_file(name, **where) is None:
            return super().from_pretrained(name, *args, **kwargs)
        return load_adapter(cls, name, where, args, kwargs)

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
        if (feedback, feedback_options) != (config.feedback, config.feedback_options):
            config.feedback = feedback
            config.feedback_options = feedback_options
            self.feedback = FEEDBACKS[feedback](config.hidden_size, **config.feedback_options)
            self.feedback.to(device=self.device, dtype=self.dtype)
        config.rollout, config.rollout_options, config.backprop = rollout, rollout_options or {}, backprop

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

    @staticmethod
    def create_masks_for_generate(config, inputs_embeds, attention_mask, **kwargs):
        """Leave the mask (B, P + T) as it is: a static cache changes its width from one pass of a rollout to the next."""
        return attention_mask

    def generate(self, *args, synced_gpus: bool | None = None, **kwargs):
        """Generate as any causal language model does; ranks that share out the parameters write until the last one is done.

        transformers 5.23 knows that of ZeRO-3 but not of a model that accelerate has sharded with FSDP2.
        """
        synced_gpus = is_sharded(self) if synced_gpus is None else synced_gpus
        return super().generate(*args, synced_gpus=synced_gpus, **kwargs)

    def _next_embedding(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the latent (B, H) that follows ``hidden`` (B, H)."""
        return self.feedback(hidden, self.get_input_embeddings(), self._thought_logits)

    def _thought_logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits without the tokens that are never written, so that a soft latent does not mix them in."""
        never = torch.tensor([self.config.latent_token_id, self.config.bot_token_id], device=hidden.device)
        return self.logits_of(hidden).index_fill(-1, never, torch.finfo(hidden.dtype).min)

    def _init_weights(self, module: nn.Module) -> None:
        """Initialise the feedback's layers; the base model initialises its own."""
        loaded = all(getattr(parameter, "_is_hf_initialized", False) for parameter in module.parameters(recurse=False))
        if isinstance(module, (nn.Linear, nn.LayerNorm)) and not loaded:
            module.reset_parameters()

    def thought_columns(self, input_ids: torch.Tensor, closed: torch.Tensor | None = None) -> tuple:
        """Return the columns (B, T) the rollout fills and those at which a thought is open.

        Args:
            input_ids: (B, T).
            closed: (B,) whether the thought was closed before the first column; None means it was open.
        """
        thinking = thinking_columns(input_ids, self.config.bot_token_id, self.config.eot_token_id, closed)
        return thinking & (input_ids == self.config.latent_token_id) & self.feedback.sequential, thinking

    def run(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None,
        position_ids: torch.Tensor | None = None,
        past_key_values=None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool = False,
        latents: torch.Tensor | None = None,
        least: tuple[int, int] | None = None,
        **kwargs,
    ) -> RolloutOutput:
        """Embed, fill the latents and return hidden states: what training and generation share.

        Args:
            input_ids: (B, T).
            attention_mask: (B, P + T), 1 for real columns; None means all are.
            position_ids: (B, T); by default counted over the real columns of each row.
            past_key_values: cache of the P columns before.
            inputs_embeds: (B, T, H); by default those of ``input_ids``.
            use_cache: return a cache that also carries the thought.
            latents: (B, K, H) as in `forward`.
            least: what the ranks agreed on for these tokens (`latent_trainer.ranks.agree`).
            kwargs: passed on to `latent_trainer.rollout.rollout`.
        """
        if self.training:
            self.refuse_base_checkpointing()
        form = self.form
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)  # (B, T, H)
        thought, closed = read_thought(past_key_values)
        latent_mask, thinking = self.thought_columns(input_ids, closed)
        if latents is not None and thought is None:
            places = thinking & (input_ids == self.config.latent_token_id)  # those of learned embeddings too
            inputs_embeds, left = place_latents(inputs_embeds, places, latents)
            latent_mask = latent_mask & left
        if position_ids is None:
            position_ids = count_positions(attention_mask, past_key_values, inputs_embeds)
        if form.first_position:
            position_ids = position_ids + form.first_position
        output = ROLLOUTS[self.config.rollout](
            self.get_decoder(),
            self._next_embedding,
            inputs_embeds,
            latent_mask,
            attention_mask,
            position_ids,
            cache=with_room(past_key_values),
            thought=thought,
            backprop=self.config.backprop,
            use_cache=use_cache,
            checkpoint=self.gradient_checkpointing and self.training,
            least=least,
            form=form,
            token_ids=input_ids if form.reads_ids else None,
            **self.config.rollout_options,
            **kwargs,
        )
        if self.feedback.sequential:
            output.hidden = with_feedback(self.feedback, self._next_embedding, output.hidden)
        if use_cache:
            write_thought(output.cache, output.hidden, ~thinking)
        return output

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values=None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        views: dict[str, dict[str, torch.Tensor]] | None = None,
        steps: dict[str, torch.Tensor] | None = None,
        latents: torch.Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        output_hidden_states: bool | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        **kwargs,
    ) -> CausalLMOutputWithPast | dict[str, ViewOutput]:
        """Run the model over tokens and latents.

        Args:
            input_ids: (B, T), with ``<|latent|>`` where a thought goes.
            attention_mask: (B, P + T).
            position_ids: (B, T).
            past_key_values: cache of the P columns before; it also carries the thought.
            inputs_embeds: (B, T, H) instead of ``input_ids``; such a call has no latents.
            labels: (B, T), -100 where nothing is scored; gives the mean cross-entropy over scored tokens, or their sum over
                ``num_items_in_batch``.
            steps: with ``views``, what the step decoder reads; adds the output "steps".
            latents: (B, K, H) embeddings that stand in for the thoughts: the k-th replaces the k-th latent of its row; where
                it is NaN the model thinks itself. A call that continues a thought takes none.
            views: continuations of the prompt in ``input_ids`` (docs/shapes.md); returns a `ViewOutput` for each.
            use_cache: whether to return a cache; by default outside training.
            logits_to_keep: as in any causal language model: the last n columns, or the columns at these indices.
            output_hidden_states: whether to return every layer's hidden states.
            num_items_in_batch: scored tokens of the whole accumulated batch.

        Raises:
            ValueError: a latent with no column before it, or a base model with a loss of its own.
        """
        output_hidden_states = bool(output_hidden_states)
        if views is not None or labels is not None:
            self.refuse_router_losses(**kwargs)
        if views is not None:
            return forward_views(self, input_ids, attention_mask, views, steps, output_hidden_states)
        use_cache = (self.config.use_cache and not self.training) if use_cache is None else use_cache
        cache = past_key_values if use_cache else None
        if input_ids is None:
            input_ids = torch.full(inputs_embeds.shape[:2], -1, device=inputs_embeds.device)  # (B, T): no token of any kind
        output = self.run(
            input_ids,
            attention_mask,
            position_ids,
            cache,
            inputs_embeds,
            use_cache=use_cache,
            latents=latents,
            output_hidden_states=output_hidden_states,
            least=agree(self, [input_ids], cache)[0],
            **kwargs,
        )
        columns = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) and logits_to_keep else logits_to_keep
        hidden = output.hidden if isinstance(columns, int) else output.hidden[:, columns]
        logits = self.logits_of(hidden)  # (B, kept, V)
        loss = None
        if labels is not None:
            scored = labels[:, 1:] != -100  # the column before predicts the token
            losses = cross_entropy(logits[:, :-1][scored], labels[:, 1:][scored])
            loss = losses.sum() / (losses.numel() if num_items_in_batch is None else num_items_in_batch)
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=output.cache if use_cache else None,
            hidden_states=output.hidden_states,
        )


AutoConfig.register("latent", LatentConfig)
AutoModelForCausalLM.register(LatentConfig, LatentForCausalLM)
