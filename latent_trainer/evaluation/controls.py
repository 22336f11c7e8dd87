"""Controls: the same model and problems, other latents. Do the latents do anything?"""

import inspect
import random
import zlib
from collections.abc import Callable

import torch
from transformers import LogitsProcessorList, PreTrainedTokenizerBase

from latent_trainer.data.encoding import encode_prompts
from latent_trainer.data.problem import Problem
from latent_trainer.data.template import Template
from latent_trainer.errors import InputError
from latent_trainer.model.thinking import thought_processor
from latent_trainer.registry import Registry


@torch.no_grad()
def collect_latents(
    model,
    tokenizer: PreTrainedTokenizerBase,
    problems: list[Problem],
    num_latents: int,
    template: str | dict | Template,
    batch_size: int = 32,
) -> torch.Tensor:
    """Return the latents (N, K, H) a model thinks of each problem, on the CPU.

    Where it ends its thoughts itself, NaN stands behind the last latent of a shorter one.

    Args:
        model: a `LatentForCausalLM`.
        tokenizer: the tokenizer saved with the model.
        problems: N problems.
        num_latents: K.
        template: how prompts are written.
        batch_size: prompts per pass.
    """
    was_training = model.training
    model.eval()
    parts = []
    for start in range(0, len(problems), batch_size):
        questions = [problem.question for problem in problems[start : start + batch_size]]
        numbers = [num_latents] * len(questions)
        if model.config.open_thought:
            numbers = _lengths(model, encode_prompts(questions, tokenizer, None, template).to(model.device), num_latents)
        batch = encode_prompts(questions, tokenizer, numbers, template).to(model.device)
        filled = model.run(batch["input_ids"], batch["attention_mask"]).latents  # (B, T, H)
        own = filled[batch["input_ids"] == model.config.latent_token_id]  # (all latents, H)
        part = own.new_full((len(questions), num_latents, own.shape[-1]), torch.nan)
        part[torch.arange(num_latents) < torch.tensor(numbers).unsqueeze(1)] = own
        parts.append(part.cpu())
    model.train(was_training)
    return torch.cat(parts)


def _lengths(model, batch, most: int) -> list[int]:
    """Return how many latents a model thinks, of ``most``, after each prompt of a batch whose thoughts it ends itself."""
    thinks = LogitsProcessorList([thought_processor(model, most)])
    rows = model.generate(**batch, max_new_tokens=most + 1, do_sample=False, logits_processor=thinks)
    return (rows[:, batch["input_ids"].shape[1] :] == model.config.latent_token_id).sum(1).tolist()


def zeroed(latents: torch.Tensor, problems: list[Problem], seed: int) -> torch.Tensor:
    """Every latent becomes the zero vector."""
    return torch.where(latents.isnan(), latents, 0.0)


def noised(latents: torch.Tensor, problems: list[Problem], seed: int) -> torch.Tensor:
    """Every latent becomes a random direction of the same length."""
    noise = torch.empty_like(latents)
    for row, problem in enumerate(problems):
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}/{problem.id}".encode()))
        noise[row] = torch.randn(latents.shape[1:], generator=generator)
    return noise * latents.norm(dim=-1, keepdim=True) / noise.norm(dim=-1, keepdim=True)


def shuffled(latents: torch.Tensor, problems: list[Problem], seed: int) -> torch.Tensor:
    """Every problem gets the latents of another problem; nobody keeps their own."""
    order = list(range(len(latents)))
    random.Random(seed).shuffle(order)
    donors = dict(zip(order, order[1:] + order[:1], strict=True))  # one cycle through all problems
    return latents[[donors[row] for row in range(len(latents))]]


def frozen(latents: torch.Tensor, problems: list[Problem], seed: int) -> torch.Tensor:
    """Every latent becomes the mean of that latent over all problems that have it."""
    return torch.where(latents.isnan(), latents, latents.nanmean(0, keepdim=True))


Control = Callable[[torch.Tensor, list[Problem], int], torch.Tensor]


def take_control(name: str, entry) -> Control:
    """Return a control that a plug-in registers: a function (latents, problems, seed) -> latents."""
    if isinstance(entry, type) or not callable(entry) or len(inspect.signature(entry).parameters) != 3:
        raise InputError(f"control '{name}' must be a function (latents, problems, seed) -> latents; got {entry!r}")
    if name in ("all", "intact", "pause"):
        raise InputError(f"control '{name}' has another meaning in evaluate; give another name")
    return entry


CONTROLS = Registry("control", {"zero": zeroed, "noise": noised, "shuffle": shuffled, "frozen": frozen}, take_control)


def check_controls(names: list[str], num_latents: int, problems: int) -> None:
    """Raise an `InputError` where a control could not change anything."""
    if names and num_latents == 0:
        raise InputError(f"controls={','.join(names)} change latents, but prompts have none; give num_latents")
    if "shuffle" in names and problems < 2:
        raise InputError("control 'shuffle' needs at least two problems to exchange latents between")
