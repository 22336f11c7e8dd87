"""Thinking at generation: a thought whose length the model decides, through stock ``generate``."""

import torch
from transformers import LogitsProcessor

from latent_trainer.errors import InputError
from latent_trainer.model.asked_latents import say_other_number, trained_latents
from latent_trainer.model.configuration import LatentConfig


class ThinkingProcessor(LogitsProcessor):
    """Let every row think for up to K latents, then close its thought.

    Pass it to ``generate(logits_processor=[...])`` with prompts that end in ``<|bot|>``. While a row thinks it "writes"
    ``<|latent|>``, which the model fills from the thought in the cache. The row stops when ``<|eot|>`` is the likeliest
    token, when the entropy of the next token has stayed under ``entropy_threshold`` for ``patience`` latents (the model is
    sure), or after K latents.

    Args:
        config: says which tokens are meant.
        num_latents: K, or one number a row (B,).
        entropy_threshold: in nats; None never stops on entropy.
        patience: latents in a row under the threshold.

    Source: Zhang et al. 2025 (Soft Thinking), section 3.3, "Cold Stop".
    """

    def __init__(
        self,
        config: LatentConfig,
        num_latents: int | list[int],
        entropy_threshold: float | None = None,
        patience: int = 1,
    ):
        most, least = (num_latents, num_latents) if isinstance(num_latents, int) else (max(num_latents), min(num_latents))
        if least < 0 or patience < 1:
            raise InputError(f"num_latents={num_latents} must be at least 0 and patience={patience} at least 1")
        if most > (trained_latents(config) or 0):  # fewer are for the model to decide
            say_other_number(config, most)
        self.latent, self.bot, self.eot = config.latent_token_id, config.bot_token_id, config.eot_token_id
        self.num_latents = num_latents
        self.threshold = entropy_threshold
        self.patience = patience
        self._sure: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the scores (B, V), with the next token of every row that thinks decided."""
        place = torch.arange(input_ids.shape[1], device=input_ids.device)
        last_bot = torch.where(input_ids == self.bot, place, -1).amax(1)
        last_eot = torch.where(input_ids == self.eot, place, -1).amax(1)
        thinking = last_bot > last_eot  # (B,)
        so_far = ((input_ids == self.latent) & (place > last_bot.unsqueeze(1))).sum(1)  # latents of the last thought
        log_probs = scores.log_softmax(-1)
        finite = torch.where(log_probs.isfinite(), log_probs, 0.0)
        entropy = -(finite.exp() * finite * log_probs.isfinite()).sum(-1)  # (B,)
        if self._sure is None or self._sure.shape != entropy.shape:
            self._sure = torch.zeros_like(entropy)
        sure = entropy < (float("-inf") if self.threshold is None else self.threshold)
        self._sure = torch.where(sure, torch.where(so_far == 0, 0, self._sure) + 1, 0)  # a thought starts unsure
        limit = torch.as_tensor(self.num_latents, device=scores.device)
        if limit.ndim:
            limit = limit.repeat_interleave(len(scores) // len(limit))  # (B * beams,)
        stop = (self._sure >= self.patience) | (scores.argmax(-1) == self.eot) | (so_far >= limit)
        token = torch.where(stop, self.eot, self.latent)  # (B,)
        forced = torch.full_like(scores, float("-inf")).scatter(1, token.unsqueeze(1), 0.0)
        return torch.where(thinking.unsqueeze(1), forced, scores)
