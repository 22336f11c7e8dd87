"""CoLaR, reduced: latents that stand for groups of written tokens; the library itself has the whole (``method: colar``).

A latent head reads a hidden state and predicts the next *compressed embedding*: the embeddings of c consecutive tokens of
the written steps added up and divided by the square root of c. It predicts a normal distribution: its mean is the next
latent, and its variance says how sure it is. Beside the paper this leaves out teacher forcing (the model reads its own
latents while it trains), factors c drawn at random, and reinforcement learning.

Source: Tan et al. 2025, "Think Silently, Think Fast: Dynamic Latent Compression of LLM Reasoning Chains", section 3.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from latent_trainer import register_curriculum, register_feedback, register_method, register_objective
from latent_trainer.data.encoding import IGNORED, View
from latent_trainer.methods.curriculum import EVERYTHING, Plan
from latent_trainer.methods.objectives.contract import Objective
from latent_trainer.methods.presets import Method
from latent_trainer.methods.step import Needs, Step
from latent_trainer.options import Positive, Weight


@register_feedback("colar")
class LatentHead(nn.Module):
    """The mean of the latent head, z = W2 GELU(W1 h); needed to run the model, so it is saved and pushed with it.

    Args:
        hidden_size: H.
    """

    sequential = True

    def __init__(self, hidden_size: int):
        super().__init__()
        self.mean = nn.Sequential(nn.Linear(hidden_size, hidden_size), nn.GELU(), nn.Linear(hidden_size, hidden_size))

    def forward(self, hidden, embed, head):
        """Return the next latent (B, H) for hidden states (B, H)."""
        return self.mean(hidden)


@register_curriculum("grouped")
@dataclass(frozen=True)
class GroupedCurriculum:
    """One latent for every ``factor`` tokens of the written steps, which are dropped.

    Args:
        factor: c.
        most: latents of a row at most, and of every prompt at generation, where nobody knows the steps; the latents of a row
            with more tokens stand for more than c each.
    """

    factor: Positive = 4
    most: Positive = 8
    num_stages = 1

    def plan(self, stage, row, rng=None):
        """Return the row's plan."""
        tokens = sum(len(step) for step in row.steps)
        return Plan(min(math.ceil(tokens / self.factor), self.most), EVERYTHING)

    def plans(self, row):
        """Return every plan a row may get."""
        return [self.plan(0, row)]

    def latents(self, stage):
        """Return the latents of a prompt at generation."""
        return self.most


@dataclass
class ColarOptions:
    """Options of CoLaR's objective.

    Args:
        weight: of the latent head's term.
        loss: "nll", or "soft_mse": the expected squared distance, less ``entropy`` times the distribution's entropy.
        entropy: weight of the entropy in "soft_mse".
    """

    weight: Weight = 1.0
    loss: Literal["nll", "soft_mse"] = "nll"
    entropy: Weight = 0.1


@register_objective("colar")
class ColarObjective(Objective):
    """loss = CE(answer) + weight x mean over latents and units of L(mean, log variance, compressed embedding).

    It has a weight of its own, the half of the latent head that predicts log variances. Only training needs it, so it is
    saved in checkpoints and leaves the finished model.
    """

    Options = ColarOptions
    needs = Needs(hidden_states=("before_latents",), latents=True, model=True)

    def __init__(self, options=None, config=None):
        super().__init__(options, config)
        self.log_variance = nn.Linear(config.hidden_size, config.hidden_size)
        self.latent_token = config.latent_token_id

    def make_views(self, encoder, row, plan):
        """Return the latent view, and beside it the tokens of the steps, which only this objective reads."""
        chain = [token for step in row.steps for token in step] or [encoder.pad]
        return {"latent": encoder.latent_view(row, plan), "chain": View(chain, [IGNORED] * len(chain), 0)}

    def count(self, batch):
        """Return the latents of the rows that count; added up over the step, they divide the latent head's term."""
        ids = batch["views"]["latent"]["input_ids"][batch["rows"]]
        return {"latents": int((ids == self.latent_token).sum())}

    def forward(self, step: Step):
        """Return the terms ``answer`` and ``latent``."""
        mean, mask = step.latents, step.latent_mask & step.rows[:, None]  # (B, K, H) and (B, K)
        log_variance = self.log_variance(step.views["latent"].hidden_states["before_latents"][-1])  # (B, K, H)
        target = self.compressed(step).detach()  # (B, K, H)
        distance = (mean - target).square()
        if self.options.loss == "nll":
            each = 0.5 * (log_variance + distance / log_variance.exp())
        else:
            entropy = 0.5 * (log_variance + math.log(2 * math.pi * math.e))
            each = distance + log_variance.exp() - self.options.entropy * entropy
        latent = torch.where(mask, each.mean(-1), 0.0).sum() / max(step.counts["latents"], 1)
        answer = step.views["latent"].token_loss.sum() / step.counts["latent_tokens"]
        return {"answer": answer, "latent": self.options.weight * latent}

    def compressed(self, step: Step):
        """Return the compressed embeddings (B, K, H): of c tokens each, c = tokens of the row / its latents, rounded up."""
        chain, number = step.batch["views"]["chain"], step.latent_mask.sum(1)  # (B, Tc) and (B,)
        mask = chain["attention_mask"].bool()
        size = torch.ceil(mask.sum(1) / number.clamp(min=1)).long()  # (B,): c
        group = torch.arange(mask.shape[1], device=mask.device) // size[:, None]  # (B, Tc): the latent a token belongs to
        belongs = group[:, None] == torch.arange(step.latent_mask.shape[1], device=mask.device)[:, None]  # (B, K, Tc)
        belongs = belongs & mask[:, None]
        embeds = step.model.get_input_embeddings()(chain["input_ids"])  # (B, Tc, H)
        total = belongs.to(embeds.dtype) @ embeds  # (B, K, Tc) @ (B, Tc, H) -> (B, K, H)
        return total / belongs.sum(-1, keepdim=True).clamp(min=1).sqrt()


register_method(
    "colar_reduced",
    Method(
        "Tan et al. 2025, Think Silently, Think Fast: Dynamic Latent Compression of LLM Reasoning Chains (reduced)",
        {
            "objective": "colar",
            "feedback": "colar",
            "curriculum": "grouped",
            "curriculum_options": {"factor": 4, "most": 8},
        },
    ),
)
