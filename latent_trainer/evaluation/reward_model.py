"""A small model that says how good an answer is, from the hidden states of its thought: best of N without a vote."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from latent_trainer.data.encoding import Encoder, pad_rows
from latent_trainer.data.problem import Problem
from latent_trainer.errors import InputError
from latent_trainer.evaluation.generation import Answer, generate_answers, thoughts_of
from latent_trainer.evaluation.mode import evaluating
from latent_trainer.model.drawn_latents import drawing_of

WEIGHTS, SETTINGS = "reward_model.safetensors", "reward_model.json"
STEPS, RATE, DECAY, PATIENCE = 400, 3e-3, 0.05, 60  # of training: full batches, AdamW, steps without a better held-out loss


@dataclass
class Graded:
    """Answers, with what a reward model reads of each.

    Args:
        answers: N graded answers; those to a problem stand together.
        features: (N, 2 H).
        samples: answers to a problem.
    """

    answers: list[Answer]
    features: torch.Tensor
    samples: int

    @property
    def right(self) -> torch.Tensor:
        """Which answers are right (N,)."""
        return torch.tensor([answer.correct for answer in self.answers])


class LatentRewardModel(nn.Module):
    """Two layers over the mean of the last hidden states at an answer's latents, and the one at its last token.

    Args:
        hidden_size: H of the latent model.
        width: of the layer between.

    Source: You et al. 2025, "Parallel Test-Time Scaling for Latent Reasoning Models" (LatentTTS, arXiv 2510.07745) scores
    latent thoughts by a trained model; what is read here, and how, is ours.
    """

    def __init__(self, hidden_size: int, width: int = 64):
        super().__init__()
        self.settings = {"hidden_size": hidden_size, "width": width}
        self.register_buffer("mean", torch.zeros(2 * hidden_size))
        self.register_buffer("deviation", torch.ones(2 * hidden_size))
        self.layers = nn.Sequential(nn.Linear(2 * hidden_size, width), nn.GELU(), nn.Linear(width, 1))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the log-odds (N,) that answers with ``features`` (N, 2 H) are right."""
        return self.layers((features - self.mean) / self.deviation).squeeze(-1)

    def save(self, folder: str | Path) -> None:
        """Write weights and settings into a folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.state_dict(), folder / WEIGHTS)
        (folder / SETTINGS).write_text(json.dumps(self.settings), encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> "LatentRewardModel":
        """Return what `save` has written; an `InputError` where there is nothing."""
        folder = Path(folder)
        if not (folder / WEIGHTS).is_file():
            raise InputError(f"'{folder}' holds no reward model; train one with latent-trainer reward")
        model = cls(**json.loads((folder / SETTINGS).read_text(encoding="utf-8")))
        model.load_state_dict(load_file(folder / WEIGHTS))
        return model.eval()


def graded_samples(
    model,
    tokenizer,
    problems: list[Problem],
    samples: int,
    thoughts: dict,
    sampling: dict | None,
    num_latents: int,
    max_new_tokens: int,
    batch_size: int = 128,
) -> Graded:
    """Answer every problem several times, grade the answers, and read what a reward model is shown of them.

    Args:
        model: a latent model.
        tokenizer: saved with it.
        problems: P problems.
        samples: answers to each.
        thoughts, sampling: as for `generate_answers`.
        num_latents: of every prompt.
        max_new_tokens: tokens written at most.
        batch_size: answers at a time.
    """
    rows = [problem for problem in problems for _ in range(samples)]
    numbers = [sample for _ in problems for sample in range(samples)]
    written: dict[int, list[int]] = {}
    answers = generate_answers(
        model,
        tokenizer,
        rows,
        num_latents,
        model.config.template or "coconut",
        batch_size=batch_size,
        max_new_tokens=max_new_tokens,
        samples=numbers,
        sampling=sampling,
        thoughts=thoughts,
        on_tokens=written.__setitem__,
    )
    encoder = Encoder(tokenizer, model.config.template or "coconut")
    texts = [encoder.prompt(row.question, num_latents) + written[place] for place, row in enumerate(rows)]
    names = [(row.id, number) for row, number in zip(rows, numbers, strict=True)]
    order = sorted(range(len(rows)), key=lambda place: -len(texts[place]))
    features = torch.zeros(len(rows), 2 * model.config.hidden_size)
    with torch.no_grad(), evaluating(model):
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            features[chosen] = _read(model, [texts[one] for one in chosen], thoughts, [names[one] for one in chosen])
    return Graded(answers, features, samples)


def _read(model, texts: list[list[int]], thoughts: dict, names: list[tuple[str, int]]) -> torch.Tensor:
    """Return the features (B, 2 H) of prompts with what was written after them, their thoughts drawn as they were."""
    options = thoughts_of(thoughts, names)
    seeds = options.pop("latent_seeds")
    drawn = options.pop("latent_do_sample")
    drawing = drawing_of(drawn, by=options.pop("latent_do_sample_by", None), **options)
    batch = pad_rows(texts, 0, left=True)
    ids, mask = (batch[name].to(model.device) for name in ("input_ids", "attention_mask"))  # (B, T) each
    with drawing.of(model, len(texts), seeds):
        hidden = model.run(ids, mask).hidden.float()  # (B, T, H)
    places = model.runner.latent_places(ids) & mask.bool()  # (B, T)
    mean = (hidden * places.unsqueeze(-1)).sum(1) / places.sum(1, keepdim=True).clamp(min=1)  # (B, H)
    return torch.cat([mean, hidden[:, -1]], -1).cpu()


def train_reward_model(graded: Graded, seed: int = 0) -> LatentRewardModel:
    """Return a model trained to tell right answers from wrong ones; a fifth of the problems is held out to stop in time.

    Raises:
        InputError: a single problem, or answers to train on that are all right or all wrong, in which there is nothing to
            tell.
    """
    right = graded.right.float()
    torch.manual_seed(seed)
    groups = torch.arange(len(right)) // graded.samples
    number = int(groups.max()) + 1
    if number < 2:
        raise InputError("a reward model is trained on some problems and stopped by others, and this is one; give more")
    held = (torch.randperm(number) % 5 == 0)[groups]
    for whose, own in (
        (f"all {len(right)} answers", right),
        (f"all {int((~held).sum())} answers to train on", right[~held]),
    ):
        if own.mean() in (0, 1):
            what = "right" if own[0] else "wrong"
            raise InputError(f"{whose} are {what}, so that no reward can be learned; sample other problems")
    model = LatentRewardModel(graded.features.shape[1] // 2)
    model.mean.copy_(graded.features[~held].mean(0))
    model.deviation.copy_(graded.features[~held].std(0).clamp(min=1e-6))
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    best, kept, since = float("inf"), model.state_dict(), 0
    for _ in range(STEPS):
        scores = model(graded.features)
        loss = nn.functional.binary_cross_entropy_with_logits(scores[~held], right[~held])
        outside = nn.functional.binary_cross_entropy_with_logits(scores[held], right[held]).item()
        if outside < best:
            best, since = outside, 0
            kept = {name: value.clone() for name, value in model.state_dict().items()}
        since += 1
        if since > PATIENCE:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.load_state_dict(kept)
    return model.eval()


@torch.no_grad()
def best_of(model: LatentRewardModel, graded: Graded) -> tuple[float | None, list[bool]]:
    """Return the area under the curve of right against wrong answers, and whether each problem's best-rewarded is right.

    The area is None where all answers are right, or all wrong.
    """
    scores, right = model(graded.features), graded.right
    best = scores.view(-1, graded.samples).argmax(1)
    return auroc(scores, right), right.view(-1, graded.samples).gather(1, best.unsqueeze(1))[:, 0].tolist()


def auroc(scores: torch.Tensor, right: torch.Tensor) -> float | None:
    """Return the chance that a right answer has a higher score than a wrong one, equal scores counting one half."""
    if right.all() or not right.any():
        return None
    good, bad = scores[right].double(), scores[~right].double().sort().values
    below, not_above = torch.searchsorted(bad, good), torch.searchsorted(bad, good, right=True)
    return ((below + not_above) / 2 / len(bad)).mean().item()
