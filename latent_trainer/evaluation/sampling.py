"""Sampling that does not depend on the batch: every row draws from a generator of its own."""

import zlib

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)


class RowSampler(LogitsProcessor):
    """Turn greedy decoding into sampling by adding Gumbel noise to the scores, from one seeded generator a row.

    The largest of log p + Gumbel noise is a sample of p. A row's noise depends on its name alone, so that neither its batch
    nor an interruption changes what is sampled; the stock sampler draws for all rows of a batch from one stream.

    Args:
        names: a text per row.
        device: where the scores are.

    Source: Gumbel 1954; Maddison et al. 2014 (the Gumbel-max trick).
    """

    def __init__(self, names: list[str], device: torch.device | str):
        self.generators = [torch.Generator(device).manual_seed(zlib.crc32(name.encode())) for name in names]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the scores (B, V) with noise added."""
        width = scores.shape[-1]
        noise = torch.stack([torch.rand(width, generator=own, device=scores.device) for own in self.generators])
        return scores - (-noise.clamp(min=1e-20).log()).log().to(scores.dtype)


def sampler(
    names: list[str], device: torch.device | str, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0
) -> LogitsProcessorList:
    """Return the processors that make a greedy ``generate`` sample.

    Args:
        names: decides each row's noise: problem, sample and seed.
        device: where the scores are.
        temperature: divides the logits.
        top_k: tokens that remain, 0 for all.
        top_p: probability mass that remains.
    """
    processors = LogitsProcessorList()
    if temperature != 1.0:
        processors.append(TemperatureLogitsWarper(temperature))
    if top_k:
        processors.append(TopKLogitsWarper(top_k))
    if top_p < 1.0:
        processors.append(TopPLogitsWarper(top_p))
    return LogitsProcessorList([*processors, RowSampler(names, device)])
