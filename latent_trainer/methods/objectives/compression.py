"""Compression: every group of step tokens predicts one token of the next group, and the next group's embedding."""

import math
from dataclasses import dataclass
from typing import Literal

import torch

from latent_trainer.methods.objectives.contract import Objective
from latent_trainer.methods.step import Needs, Step
from latent_trainer.options import Weight
from latent_trainer.sharding import Lookup


@dataclass
class CompressionOptions:
    """Options of compression.

    Args:
        weight: factor of the embedding term.
        embedding_loss: "mse" of a sample of the latent head, or "nll", its negative log-likelihood.
    """

    weight: Weight = 1.0
    embedding_loss: Literal["mse", "nll"] = "mse"


class CompressionObjective(Objective):
    """loss = CE(labels of groups, answer) + weight x mean over groups g of D(head(h_g), sg x_(g+1) / u).

    h_g is the last hidden state at group g, x_(g+1) the input embedding of the column after it, sg detaches, and the head
    and its unit u are those of the feedback. D is averaged over the H numbers of an embedding: (mean + noise x std -
    target)^2 for "mse", with standard normal noise, or minus the log-density of Normal(mean, std) at the target for "nll".
    In evaluation there is no noise.

    Reads ``token_loss`` (N,), ``last_hidden["groups"]`` and ``inputs["after_groups"]`` (B, G, H). Where the
    `AnswerObjective` leaves a latent to be thought, here its input is given and the feedback learns to predict it.

    Source: Tan et al. 2025 (CoLaR), equations 2 to 4.
    """

    Options = CompressionOptions
    needs = Needs(last_hidden=("groups",), inputs=("after_groups",), model=True)
    teaches_feedback = True

    def fault(self, feedback: type, curriculum) -> str | None:
        """Return why there is nothing to score: latents without given inputs, or a feedback without a distribution."""
        if not getattr(curriculum, "gives_inputs", False):
            return "it needs latents that stand for tokens; take curriculum=compressed"
        if not hasattr(feedback, "distribution"):
            return "it teaches a distribution of the next embedding; take feedback=gaussian"
        return None

    def count(self, batch: dict) -> dict[str, int]:
        """Return the groups of the rows that count."""
        columns = batch["views"]["latent"]["group_columns"][batch["rows"]]
        return {"groups": int((columns >= 0).sum())}

    def noise(self, step: Step, groups: torch.Tensor, size: int) -> torch.Tensor:
        """Return standard normal noise (B, G, H), each row's from its own seed; zeros in evaluation.

        Args:
            step: the step.
            groups: (B, G) bool, True where there is a group.
            size: H.
        """
        noise = torch.zeros(*groups.shape, size)
        if step.seeds is not None:
            for row, (seed, number) in enumerate(zip(step.seeds.tolist(), groups.sum(1).tolist(), strict=True)):
                generator = torch.Generator().manual_seed(seed)
                noise[row, :number] = torch.randn(number, size, generator=generator)
        return noise.to(groups.device)

    def distances(self, step: Step) -> torch.Tensor:
        """Return D (B, G) of every group of a row; it means nothing behind the last one."""
        view, feedback = step.views["latent"], step.model.feedback
        mean, log_std = feedback.distribution(view.last_hidden["groups"])  # (B, G, H)
        unit = feedback.unit(Lookup(step.model.get_input_embeddings()), mean.device)
        target = view.inputs["after_groups"].detach() / unit  # (B, G, H)
        if self.options.embedding_loss == "mse":
            noise = self.noise(step, _groups(step), mean.shape[-1]).to(mean.dtype)
            each = (mean + noise * log_std.exp() - target).square()
        else:
            each = 0.5 * ((target - mean) / log_std.exp()).square() + log_std + 0.5 * math.log(2 * math.pi)
        return each.mean(-1)

    def forward(self, step: Step) -> dict[str, torch.Tensor]:
        """Return the terms ``answer`` and ``embedding``."""
        counted = _groups(step) & step.rows.unsqueeze(1)  # (B, G)
        embedding = torch.where(counted, self.distances(step), 0.0).sum() / step.counts["groups"]
        answer = step.views["latent"].token_loss.sum() / step.counts["latent_tokens"]
        return {"answer": answer, "embedding": self.options.weight * embedding}


def _groups(step: Step) -> torch.Tensor:
    """Return (B, G) bool, True where a row has a group."""
    return step.batch["views"]["latent"]["group_columns"] >= 0
