"""A thought of another length than a model was trained with, said in one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from transformers.utils import logging

from latent_trainer.model.configuration import LatentConfig

logger = logging.get_logger(__name__)
_on_purpose = ContextVar("_on_purpose", default=False)


@contextmanager
def other_numbers_on_purpose() -> Iterator[None]:
    """Ask models for thoughts of any length without the warning, as an experiment on the length of thoughts does."""
    before = _on_purpose.set(True)
    try:
        yield
    finally:
        _on_purpose.reset(before)


def trained_latents(config: LatentConfig) -> int | None:
    """Return the latents of a prompt that a model was trained with; None for one that nobody has trained."""
    return config.num_latents if config.num_latents or config.stage is not None else None


def say_other_number(config: LatentConfig, asked: int) -> bool:
    """Warn, once, where a thought is not as long as those a model was trained with; return whether that was said.

    Nothing is said under `other_numbers_on_purpose`.

    Args:
        config: of the model.
        asked: latents of the thought.
    """
    trained = trained_latents(config)
    if _on_purpose.get() or trained is None or asked == trained or (config.open_thought and asked < trained):
        return False
    stage = "" if config.stage is None else f", in stage {config.stage} of its curriculum"
    advice = f"ask with num_latents={trained}"
    if not trained:
        advice += ", or train it in a stage, or with a method, that has latents"
    logger.warning_once(f"{asked} latents are asked of a model that was trained with {trained}{stage}; {advice}")
    return True


def thought_lengths(ids: torch.Tensor, config: LatentConfig) -> list[int]:
    """Return the lengths of the last thoughts of prompts (B, T), each length once; an open thought has none yet."""
    is_latent = ids == config.latent_token_id  # (B, T)
    place = torch.arange(1, ids.shape[1] + 1, device=ids.device)
    last = torch.where(is_latent, place, 0).amax(1, keepdim=True)  # (B, 1)
    before = torch.where(~is_latent & (place < last), place, 0).amax(1, keepdim=True)
    lengths = (last - before)[ids[:, -1] != config.bot_token_id]
    return sorted(set(lengths.flatten().tolist()))
