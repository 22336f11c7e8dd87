"""The doors of stock generation: what a latent model changes there, and those it refuses."""

from latent_trainer.errors import InputError
from latent_trainer.sharding import is_sharded


class GenerationDoors:
    """What a latent model answers to stock generation; comes before `PreTrainedModel` and `GenerationMixin`."""

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

    def init_continuous_batching(self, *args, **kwargs):
        """Refuse continuous batching, behind `generate_batch` and ``transformers serve --continuous-batching`` too.

        Its paged cache holds the columns of all requests in one row and reads tokens only; a thought needs several passes
        and the hidden state before it.

        Raises:
            InputError: always.
        """
        raise InputError(
            "continuous batching (generate_batch, transformers serve --continuous-batching) has no place for a thought "
            "between two tokens; use model.generate over a left-padded batch"
        )

    generate_batch = continuous_batching_context_manager = init_continuous_batching
