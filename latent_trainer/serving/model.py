"""A latent model as vLLM runs it: vLLM's own base model, with the first column of a step filled in where it is a latent."""

from collections.abc import Iterable
from functools import cached_property

import torch
from torch import nn

from latent_trainer.methods.feedback import FEEDBACKS
from latent_trainer.serving.hooks import Step, load_into, make_base, never_written, step_at, thinks_in_steps, thought_tokens
from latent_trainer.serving.slots import ThoughtSlots
from latent_trainer.serving.steps import decided, open_latents, states_after


class LatentModel(nn.Module):
    """`latent_trainer.LatentForCausalLM` over vLLM's paged cache.

    Columns of many requests come as one row of tokens. `latent_trainer.serving.scheduler.LatentScheduler` sees to it that a
    latent is the first column of a request's step.

    Args:
        vllm_config: of the engine.
        prefix: of the names of layers.
    """

    def __init__(self, *, vllm_config, prefix: str = ""):
        super().__init__()
        config = vllm_config.model_config.hf_config
        self.tokens = thought_tokens(config)
        self.grows = thinks_in_steps(config)
        self.most = config.num_latents if config.open_thought else None
        self.base = make_base(vllm_config, config, prefix)
        self.feedback = FEEDBACKS[config.feedback](config.hidden_size, **config.feedback_options)
        self.block_size = vllm_config.cache_config.block_size
        device = vllm_config.device_config.device
        self.slots = ThoughtSlots(config.hidden_size, vllm_config.model_config.dtype, device)
        self.never = torch.tensor(never_written(vllm_config, self.tokens), device=device)
        self.unmixed = torch.tensor([self.tokens.latent, self.tokens.bot], device=device)
        self.table = TokenTable(self.base)
        self.states: torch.Tensor | None = None  # (R,) after a step, until its tokens are drawn

    def embed_input_ids(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Return the token embeddings (N, H)."""
        return self.base.embed_input_ids(input_ids)

    def forward(
        self,
        input_ids: torch.Tensor,
        positions: torch.Tensor,
        intermediate_tensors=None,
        inputs_embeds: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the last hidden states (N, H) of a step's columns.

        Args:
            input_ids: (N,) the tokens of all requests.
            positions: (N,).
            intermediate_tensors: always None; a model lies on one device.
            inputs_embeds: always None; a latent is known by its token.
        """
        embeds = self.embed_input_ids(input_ids)  # (N, H)
        step = step_at(positions, self.block_size)
        if step is None:
            return self.base(None, positions, inputs_embeds=embeds)
        count = len(step.slots)  # of columns that are not padding
        ids = input_ids[:count]
        before = self.slots.states_before(step.previous)  # (R,)
        after = states_after(ids, step.starts, before, self.tokens)  # (N,)
        if self.grows:
            embeds = self._with_latents(embeds, ids, step, before, after)
        hidden = self.base(None, positions, inputs_embeds=embeds)  # (N, H)
        self.slots.write(step.slots, hidden[:count], after)
        self.states = after[step.starts[1:] - 1]  # (R,)
        return hidden

    def _with_latents(self, embeds, ids, step: Step, before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        """Return the embeddings (N, H) with every latent filled in.

        Raises:
            RuntimeError: a latent after another column of its step, whose hidden state nobody has yet.
        """
        latents = open_latents(ids, step.starts, before, after, self.tokens.latent)  # (N,)
        first = latents[step.starts[:-1]]  # (R,)
        if latents.sum() != first.sum():
            raise RuntimeError("a step runs past a latent; the scheduler must be latent_trainer.serving.scheduler")
        if not first.any():
            return embeds
        hidden = self.slots.hidden[step.previous[first]]  # (n, H)
        return embeds.index_copy(0, step.starts[:-1][first], self._grown(hidden).to(embeds.dtype))

    def _grown(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the latents (n, H) that follow hidden states (n, H); as in `latent_trainer.model.runner.Runner`."""
        return self.feedback(hidden, self.table, self._thought_logits)

    def _thought_logits(self, hidden: torch.Tensor) -> torch.Tensor:
        logits = self.base.compute_logits(hidden)  # (n, V)
        return logits.index_fill(-1, self.unmixed, torch.finfo(logits.dtype).min)

    def compute_logits(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Return the logits (R, V) of last hidden states (R, H).

        After a step they are what the next tokens are drawn from: tokens that only a prompt may hold have none, and a model
        that ends its thought itself thinks on. Further logits of a step, of a prompt's own tokens, are left as they are.
        """
        logits, states = self.base.compute_logits(hidden_states), self.states
        self.states = None
        if states is None:
            return logits
        logits = logits.index_fill(-1, self.never, float("-inf"))
        return logits if self.most is None else decided(logits, states, self.tokens, self.most)

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
        """Load what a saved model holds; return the names."""
        return load_into(self, weights)


class TokenTable:
    """The token embeddings of a base model, as a feedback looks them up; read on first use, which not every feedback has.

    Args:
        base: a model of vLLM, whose own table has more rows than the vocabulary.
    """

    def __init__(self, base: nn.Module):
        self.base = base

    @cached_property
    def weight(self) -> torch.Tensor:
        """The embeddings (V, H) of all tokens."""
        tokens = torch.arange(self.base.config.vocab_size, device=next(self.base.parameters()).device)
        with torch.inference_mode(False), torch.no_grad():  # a number measured over it is kept while it is unchanged
            return self.base.embed_input_ids(tokens)

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the embeddings (.., H) of tokens (..)."""
        return self.weight[tokens]
