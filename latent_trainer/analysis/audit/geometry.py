"""Geometry: how many directions of the latents matter, which, and whether a latent is more than its likeliest token."""

from collections.abc import Callable

import torch

from latent_trainer.analysis.audit.arms import row
from latent_trainer.analysis.audit.battery import FORCED, Batch, Battery
from latent_trainer.analysis.lens import lens_logits
from latent_trainer.data.encoding import IGNORED, Encoder, pad_rows
from latent_trainer.evaluation.mode import evaluating
from latent_trainer.evaluation.statistics import mean_and_error

DRAWS = 3  # random subspaces beside that of the gradients
SHOWN = ("accuracy", "accuracy_stderr", "accuracy_low", "accuracy_high", "unchanged", "difference", "p_value")


def ranks(most: int) -> list[int]:
    """Return 1, 2, 4 and so on below ``most``."""
    return [2**power for power in range(most.bit_length()) if 2**power < most]


def measure(battery: Battery, rows: list[int]) -> dict:
    """Return what few directions of the latents are worth, what is lost without the steepest, and divergences from tokens.

    Answers are forced. Everything is about what differs between problems: each latent's mean over problems stays.

    - ``rank``: latents kept only along their first r principal directions;
    - ``ablated``: latents without their part in the r directions along which the right answer's loss changes most, beside
      the mean of ``DRAWS`` random subspaces of r directions;
    - ``token``: Jensen-Shannon divergence, in bits, of what the model would write after a latent and after the embedding of
      the token it was likeliest to write in its place.

    Args:
        battery: of the model.
        rows: numbers of the problems that are asked.

    Source: low-rank directions with a causal effect after arXiv 2606.12689.
    """
    latents = battery.thoughts.latents.double()  # (N, K, H)
    mean = latents.mean(0, keepdim=True)  # (1, K, H)
    varied = latents - mean
    made: dict[str, Callable[[list[int]], torch.Tensor]] = {}
    principal = _directions(varied)
    for rank in ranks(principal.shape[1]):
        made[f"rank-{rank}"] = _part(mean, varied, principal[:, :rank], True)
    steepest = _directions(gradients(battery, rows))
    subspaces = ranks(steepest.shape[1])[:6]
    generator = torch.Generator().manual_seed(battery.seed)
    for rank in subspaces:
        made[f"without-{rank}"] = _part(mean, varied, steepest[:, :rank], False)
        for draw in range(DRAWS):
            drawn = torch.randn(len(steepest), rank, generator=generator, dtype=torch.double)
            made[f"without-random-{rank}-{draw}"] = _part(mean, varied, torch.linalg.qr(drawn).Q, False)
    divergences: list[list[float]] = [[] for _ in range(battery.num_latents)]
    for batch in battery.batches(rows):
        for name, make in made.items():
            batch.answer(f"geometry/{name}", FORCED, lambda make=make, own=batch.rows: make(own).float())
        for own, found in zip(divergences, token_divergence(batch), strict=True):
            own += found
    problems = [battery.problems[one] for one in rows]
    intact = battery.answers("forced/intact")
    intact = [intact[one] for one in rows]

    def shown(name: str) -> dict:
        found = row(intact, battery.answers(f"geometry/{name}", problems))
        return {key: found[key] for key in SHOWN}

    ablated = []
    for rank in subspaces:
        random = [shown(f"without-random-{rank}-{draw}") for draw in range(DRAWS)]
        means = {f"random_{key}": sum(one[key] for one in random) / DRAWS for key in ("accuracy", "unchanged")}
        ablated.append({"rank": rank, **shown(f"without-{rank}"), **means})
    spread = (varied.flatten(0, 1) @ principal).square().sum(0)  # (r,)
    return {
        "problems": len(rows),
        "rank": [
            {"rank": rank, "variance": float(spread[:rank].sum() / spread.sum()), **shown(f"rank-{rank}")}
            for rank in ranks(principal.shape[1])
        ],
        "ablated": ablated,
        "token": [
            {"latent": place, "divergence": found[0], "divergence_stderr": found[1]}
            for place, found in enumerate(map(mean_and_error, divergences), 1)
        ],
    }


def _directions(vectors: torch.Tensor) -> torch.Tensor:
    """Return the orthonormal directions (H, r) that vectors (N, K, H) span, the longest first."""
    _, lengths, directions = torch.linalg.svd(vectors.flatten(0, 1).double(), full_matrices=False)
    return directions[lengths > 1e-9 * lengths[0].clamp(min=1e-30)].T


def _part(mean: torch.Tensor, varied: torch.Tensor, directions: torch.Tensor, kept: bool) -> Callable:
    """Return what makes latents (n, K, H) of problems that vary along ``directions`` (H, r) alone, or along all others."""

    def make(rows: list[int]) -> torch.Tensor:
        along = varied[rows] @ directions @ directions.T
        return mean + (along if kept else varied[rows] - along)

    return make


def gradients(battery: Battery, rows: list[int]) -> torch.Tensor:
    """Return the gradient (n, K, H) of the right answer's loss, forced after the thought, in every latent."""
    model, number = battery.model, battery.num_latents
    encoder = Encoder(battery.tokenizer, battery.templates[FORCED])
    parts = []
    for batch in battery.batches(rows):
        encoded = encoder.problems(batch.problems)
        prompts = [encoder.prompt(problem.question, number) for problem in batch.problems]
        texts = [prompt + one.answer for prompt, one in zip(prompts, encoded, strict=True)]
        labels = [[IGNORED] * len(prompt) + one.answer for prompt, one in zip(prompts, encoded, strict=True)]
        padded = {name: value.to(model.device) for name, value in pad_rows(texts, encoder.pad, left=True).items()}
        scored = pad_rows(labels, IGNORED, left=True)["input_ids"].to(model.device)
        given = battery.thoughts.latents[batch.rows].to(model.device, model.dtype).requires_grad_()
        with evaluating(model), torch.enable_grad():
            loss = model(**padded, labels=scored, latents=given, use_cache=False).loss
            parts.append(torch.autograd.grad(loss * (scored != IGNORED).sum(), given)[0].float().cpu())
    return torch.cat(parts)


@torch.no_grad()
def token_divergence(batch: Batch) -> list[list[float]]:
    """Return, per latent and problem, how far what follows the latent is from what follows its likeliest token.

    Source: Lin 1991 (Jensen-Shannon divergence), in bits.
    """
    battery = batch.battery
    model, thoughts = battery.model, battery.thoughts
    own, hidden = thoughts.latents[batch.rows], thoughts.hidden[batch.rows]  # (b, K, H)
    never = torch.tensor([model.config.latent_token_id, model.config.bot_token_id], device=model.device)
    found = []
    for place in range(battery.num_latents):
        logits = lens_logits(model, hidden[:, place], model.config.num_hidden_layers)  # (b, V)
        token = logits.index_fill(-1, never, torch.finfo(logits.dtype).min).argmax(-1)  # (b,)
        written = model.get_input_embeddings()(token).cpu().to(own.dtype)  # (b, H)
        before = own[:, : place + 1]
        instead = torch.cat([own[:, :place], written[:, None]], 1)
        found.append(_divergence(_next(batch, before), _next(batch, instead)))
    return found


def _next(batch: Batch, latents: torch.Tensor) -> torch.Tensor:
    """Return the log-probabilities (b, V) of what would be written after some latents (b, k, H)."""
    model, cache = batch.battery.model, batch.cache
    ids, mask = batch.continued(batch.battery.opening(latents.shape[1]), cache)
    with evaluating(model):
        hidden = model.run(ids, mask, past_key_values=cache, latents=latents.to(model.device, model.dtype)).hidden
    return model.logits_of(hidden[:, -1]).double().log_softmax(-1)


def _divergence(one: torch.Tensor, other: torch.Tensor) -> list[float]:
    """Return the Jensen-Shannon divergence (b,) of log-probabilities (b, V), in bits."""
    middle = torch.stack([one, other]).logsumexp(0) - torch.tensor(2.0).log()
    halves = [(part.exp() * (part - middle)).sum(-1) for part in (one, other)]
    return ((halves[0] + halves[1]) / 2 / torch.tensor(2.0).log()).clamp(min=0).tolist()
