"""Thinking at generation: a thought whose length the model decides, through stock ``generate``."""

import torch
from torch.nn.functional import logsigmoid
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
        thinking, so_far = self._thoughts(input_ids)
        log_probs = scores.log_softmax(-1)
        finite = torch.where(log_probs.isfinite(), log_probs, 0.0)
        entropy = -(finite.exp() * finite * log_probs.isfinite()).sum(-1)  # (B,)
        if self._sure is None or self._sure.shape != entropy.shape:
            self._sure = torch.zeros_like(entropy)
        sure = entropy < (float("-inf") if self.threshold is None else self.threshold)
        self._sure = torch.where(sure, torch.where(so_far == 0, 0, self._sure) + 1, 0)  # a thought starts unsure
        limit = self._limit(scores)
        stop = (self._sure >= self.patience) | (scores.argmax(-1) == self.eot) | (so_far >= limit)
        token = torch.where(stop, self.eot, self.latent)  # (B,)
        forced = torch.full_like(scores, float("-inf")).scatter(1, token.unsqueeze(1), 0.0)
        return torch.where(thinking.unsqueeze(1), forced, scores)

    def _thoughts(self, input_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return which rows (B,) of ``input_ids`` (B, T) think, and how many latents their last thought has (B,)."""
        place = torch.arange(input_ids.shape[1], device=input_ids.device)
        last_bot = torch.where(input_ids == self.bot, place, -1).amax(1)
        last_eot = torch.where(input_ids == self.eot, place, -1).amax(1)
        so_far = ((input_ids == self.latent) & (place > last_bot.unsqueeze(1))).sum(1)
        return last_bot > last_eot, so_far

    def _limit(self, scores: torch.Tensor) -> torch.Tensor:
        """Return the most latents of every row of ``scores`` (B, V): one number, or (B,)."""
        limit = torch.as_tensor(self.num_latents, device=scores.device)
        return limit.repeat_interleave(len(scores) // len(limit)) if limit.ndim else limit  # (B * beams,)


class StopHeadProcessor(ThinkingProcessor):
    """Let every row think until the model's stop head ends its thought, or for K latents.

    The head's log-odds of stopping are those of ``<|eot|>`` to ``<|latent|>``, and no other token is possible: greedy
    generation stops where stopping is the likelier, sampling draws it.

    Args:
        model: the latent model that generates.
        num_latents: K, or one number a row (B,).
    """

    def __init__(self, model, num_latents: int | list[int]):
        super().__init__(model.config, num_latents)
        self.model = model

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the scores (B, V), of two tokens alone where a row thinks, and of one where it has to stop."""
        thinking, so_far = self._thoughts(input_ids)
        limited = so_far >= self._limit(scores)
        odds = self.model.stop_scores.to(scores.dtype)
        own = torch.full_like(scores, float("-inf"))
        own[:, self.eot] = torch.where(limited, 0.0, logsigmoid(odds))  # log-probabilities, which beams add up
        own[:, self.latent] = torch.where(limited, float("-inf"), logsigmoid(-odds))
        return torch.where(thinking.unsqueeze(1), own, scores)


def thought_processor(model, num_latents: int | list[int]) -> ThinkingProcessor:
    """Return what ends the open thoughts of a model as it was trained to.

    Args:
        model: a latent model.
        num_latents: the most it may think, or one number a row (B,).
    """
    if getattr(model, "stop_head", None) is not None:
        return StopHeadProcessor(model, num_latents)
    return ThinkingProcessor(model.config, num_latents, getattr(model.config, "stop_entropy", None))
