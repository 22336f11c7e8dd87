"""The doors of stock generation: what a latent model changes there, and those it refuses."""

from collections.abc import Sequence
from functools import wraps

import torch
from transformers import GenerationMixin, LogitsProcessorList

from latent_trainer.errors import InputError
from latent_trainer.model.asked_latents import say_other_number, thought_lengths
from latent_trainer.model.context import refuse_prompts
from latent_trainer.model.drawn_latents import drawing_of
from latent_trainer.model.thinking import ThinkingProcessor, thought_processor
from latent_trainer.sharding import is_sharded

# stock generation reads them and hands them on to the model, whose forward has no such argument
OF_GENERATION = ("tokenizer", "assistant_tokenizer")
DRAWING = ("latent_do_sample", "latent_do_sample_by", "noise_std", "dropout_p", "latent_options", "latent_seeds")


class GenerationDoors:
    """What a latent model answers to stock generation; comes before `PreTrainedModel` and `GenerationMixin`."""

    _other_number_said = False

    @staticmethod
    def create_masks_for_generate(config, inputs_embeds, attention_mask, **kwargs):
        """Leave the mask (B, P + T) as it is: a static cache changes its width from one pass of a rollout to the next."""
        return attention_mask

    def generate(
        self,
        inputs: torch.Tensor | None = None,
        *args,
        synced_gpus: bool | None = None,
        latent_do_sample: bool = False,
        latent_do_sample_by: str | None = None,
        noise_std: float | None = None,
        dropout_p: float | None = None,
        latent_options: dict | None = None,
        latent_seeds: Sequence[int] | None = None,
        **kwargs,
    ):
        """Generate as any causal language model does; ranks that share out the parameters write until the last one is done.

        Thoughts of another length than the model was trained with are said in a warning, once a model. Where the model ends
        its thought itself, it thinks from ``<|bot|>`` on until it does, for as many latents as it was trained with at most;
        they count among new tokens.

        transformers 5.23 knows that of ZeRO-3 but not of a model that accelerate has sharded with FSDP2.

        Args:
            inputs, args, synced_gpus, kwargs: as for any model that generates.
            latent_do_sample: draw the latents, every row's from a generator of its own, beams and returned sequences
                included; without it a prompt has one thought.
            latent_do_sample_by, noise_std, dropout_p, latent_options: how (`latent_trainer.model.drawn_latents.Drawing`).
            latent_seeds: one a prompt, from which alone its thoughts are drawn; by default from torch's own generator.

        Raises:
            InputError: prompts longer than the context or padded on the right, a draft by the first layers alone or beside
                a stop head, guidance away from a latent, latents drawn in a way that does not fit the model, or settings of
                the drawing where they have no effect.
        """
        drawing = drawing_of(
            latent_do_sample, by=latent_do_sample_by, noise_std=noise_std, dropout_p=dropout_p, options=latent_options
        )
        if drawing is None and latent_seeds is not None:
            raise InputError("latent_seeds have no effect without latent_do_sample=True; set both or neither")
        refuse_prompts(self.config, (inputs,), kwargs)
        settings = kwargs.get("generation_config") or self.generation_config

        def asked(name: str):
            return kwargs.get(name, getattr(settings, name, None))

        for name in DRAWING:  # a generation config keeps whatever it is given
            if getattr(settings, name, None) is not None:
                raise InputError(f"generation_config has {name}, which nobody reads there; pass {name} to generate itself")
        if asked("assistant_early_exit") is not None:
            raise InputError(
                "assistant_early_exit: a latent is computed from the last layer; leave it out or use assistant_model"
            )
        drafts = kwargs.get("assistant_model") is not None or asked("prompt_lookup_num_tokens") is not None
        if drafts and self.config.open_thought and self.stop_head is not None:
            raise InputError(
                "assistant_model and prompt_lookup_num_tokens draft several tokens at once, of which a stop head judges the "
                "last alone; leave them out"
            )
        ids = kwargs.get("input_ids", inputs)
        guided = asked("guidance_scale") not in (None, 1) and kwargs.get("negative_prompt_ids") is None
        if guided and ids is not None and (ids[:, -1] == self.config.latent_token_id).any():
            raise InputError(
                "guidance_scale starts its other text at the prompt's last token, here <|latent|>, which has no column "
                "before it; end the prompt with <|eot|> or give negative_prompt_ids"
            )
        for asked_latents in () if ids is None or self._other_number_said else thought_lengths(ids, self.config):
            self._other_number_said |= say_other_number(self.config, asked_latents)
        if self.config.open_thought:
            given = list(kwargs.get("logits_processor") or [])
            if not any(isinstance(one, ThinkingProcessor) for one in given):
                kwargs["logits_processor"] = LogitsProcessorList([*given, thought_processor(self, self.config.num_latents)])
        synced_gpus = is_sharded(self) if synced_gpus is None else synced_gpus
        if drawing is None:
            return super().generate(inputs, *args, synced_gpus=synced_gpus, **kwargs)
        if ids is None:
            raise InputError("latent_do_sample=True draws the latents of input_ids; pass input_ids instead of inputs_embeds")
        with drawing.of(self, len(ids), latent_seeds):
            return super().generate(inputs, *args, synced_gpus=synced_gpus, **kwargs)

    # the signature says what `generate` may be given
    @wraps(GenerationMixin.prepare_inputs_for_generation, assigned=(), updated=())
    def prepare_inputs_for_generation(self, input_ids, *args, **kwargs):
        """Return the arguments of one step; refuse a prompt that ends in padding, after which nothing sensible is written.

        Raises:
            InputError: padding on the right.
        """
        mask = kwargs.get("attention_mask")
        first = kwargs.get("is_first_iteration") and mask is not None and mask.ndim == 2
        if first and not mask[:, -1].all():  # a device synchronisation, once
            raise InputError("a prompt ends in padding; set tokenizer.padding_side = 'left' before prompts are encoded")
        for name in OF_GENERATION:
            kwargs.pop(name, None)
        return super().prepare_inputs_for_generation(input_ids, *args, **kwargs)

    def init_continuous_batching(self, *args, **kwargs):
        """Refuse continuous batching, behind `generate_batch` and ``transformers serve --continuous-batching`` too.

        Its paged cache holds the columns of all requests in one row and reads tokens only; a thought needs several passes
        and the hidden state before it.

        Raises:
            InputError: always.
        """
        raise InputError(
            "continuous batching (generate_batch, transformers serve --continuous-batching) cannot compute a latent "
            "between two tokens; use model.generate over a left-padded batch"
        )

    generate_batch = continuous_batching_context_manager = init_continuous_batching
