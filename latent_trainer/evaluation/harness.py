"""lm-evaluation-harness on latent models: its ``hf`` loads them, and ``latent`` puts a thought into every prompt."""

import torch
from transformers import PreTrainedModel

from latent_trainer.data.encoding import Encoder
from latent_trainer.errors import InputError
from latent_trainer.model.asked_latents import say_other_number
from latent_trainer.model.modeling import LatentForCausalLM  # makes AutoModelForCausalLM know saved latent models

try:
    from lm_eval.__main__ import cli_evaluate as main
    from lm_eval.api.registry import register_model
    from lm_eval.models.huggingface import HFLM
except ModuleNotFoundError as error:
    package = error.name.partition(".")[0]
    raise InputError(f"the harness needs {package}; install it with pip install -e '.[harness]'") from None

__all__ = ["LatentLM", "main"]


@register_model("latent")
class LatentLM(HFLM):
    """The harness's Hugging Face model, with latents between every context and its continuation.

    Contexts stay as the task writes them; only the thought is added, as the template of the model says. An answer that is
    scored comes after the thought; one that is generated begins inside it where the model writes ``<|eot|>`` itself. Rolling
    log-likelihoods have no context and stay plain. A context too long for the model is cut on the left with the harness's
    warning, as of any model; the thought stays whole.

    Args:
        pretrained: folder or Hub name of a latent model or an adapter, or a `LatentForCausalLM`.
        num_latents: latents of every prompt; by default as trained.
        options: as for the harness's ``hf``.

    Raises:
        ValueError: a negative number of latents, a tokenizer without the thought tokens, a thought that fills the context,
            or a text that spells a thought token, as the model's own chat template does: drop ``--apply_chat_template``.
    """

    AUTO_MODEL_CLASS = LatentForCausalLM

    def __init__(self, pretrained: str | PreTrainedModel, num_latents: int | None = None, **options):
        super().__init__(pretrained, **options)
        config = self.model.config
        if config.open_thought:
            raise InputError(
                "the harness scores continuations of thoughts of a known length, and this model ends its thoughts itself; "
                "use latent-trainer evaluate"
            )
        number = config.num_latents if num_latents is None else num_latents
        if number < 0:
            raise InputError(f"num_latents={number} must be at least 0")
        say_other_number(config, number)
        self.encoder = encoder = Encoder(self.tokenizer, config.template or "coconut")
        self.thought = encoder.thought(number)
        open_thought = encoder.template.markers and self.thought[-1] != encoder.eot
        self.closed_thought = self.thought + [encoder.eot] * open_thought
        self.model.generation_config.max_new_tokens = None  # how many tokens are written is for the task to say

    def tok_batch_encode(self, strings, padding_side="left", left_truncate_len=None, truncation=False):
        """Return ids and mask (B, T) of contexts to continue, each with its thought at the end."""
        for context in strings:
            self.encoder.refuse_control(context)
        room = left_truncate_len and left_truncate_len - len(self.thought)
        if left_truncate_len and room < 1:
            raise InputError(
                f"num_latents leaves no room for a question: a thought of {len(self.thought)} tokens and what the task may "
                f"write fill the model's context of {self.max_length} tokens; lower num_latents or the task's max_gen_toks"
            )
        ids, mask = super().tok_batch_encode(strings, padding_side, room, truncation)
        thought = torch.tensor(self.thought, dtype=ids.dtype).expand(len(ids), -1)  # (B, thought)
        return torch.cat([ids, thought], 1), torch.cat([mask, torch.ones_like(thought)], 1)

    def _encode_pair(self, context, continuation):
        self.encoder.refuse_control(context)
        before, after = super()._encode_pair(context, continuation)
        if len(self.closed_thought) + len(after) > self.max_length:
            raise InputError(
                f"a thought of {len(self.closed_thought)} tokens and a continuation of {len(after)} do not fit the model's "
                f"context of {self.max_length} tokens; lower num_latents"
            )
        return before + self.closed_thought, after

    def _model_call(self, inps, attn_mask=None, labels=None):
        """Return the logits (B, T, V) of right-padded rows, thoughts moved to the same columns: K + 1 passes, not B x K."""
        first = (inps == self.model.config.latent_token_id).int().argmax(1)  # (B,): 0 where a row has none
        shift = (first.max() - first).unsqueeze(1)  # (B, 1)
        columns = torch.arange(inps.shape[1] + int(shift.max()), device=inps.device) - shift  # (B, T + most)
        moved = inps.gather(1, columns.clamp(0, inps.shape[1] - 1))
        with (
            torch.no_grad(),
            torch.autocast(self.device.type, self.mixed_precision_dtype, self.mixed_precision_dtype is not None),
        ):
            logits = self.model(moved, attention_mask=((columns >= 0) & (columns < inps.shape[1])).long()).logits
        back = torch.arange(inps.shape[1], device=inps.device) + shift  # (B, T)
        return logits[torch.arange(len(inps), device=inps.device).unsqueeze(1), back]
