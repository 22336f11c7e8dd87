"""The model's own output head on its latents: each is to predict tokens of the steps it stands for."""

import itertools
from dataclasses import dataclass
from typing import Literal

import torch

from latent_trainer.errors import InputError
from latent_trainer.methods.curriculum import Blank
from latent_trainer.methods.objectives.contract import Objective
from latent_trainer.methods.step import Needs, Step
from latent_trainer.options import Mass, Positive, Scale, Weight

VIEW = "targets"
UNSCORED = -100
RHO, TEMPERATURE = 0.9, 1.0


@dataclass
class LatentTokensOptions:
    """Options of the head on the latents.

    Args:
        targets: "step_tokens" gives token j of step k to slot j of the latents that stand for step k, "superposed" cuts the
            replaced steps into as many spans as there are latents.
        weight: lambda, factor of the term.
        latents_per_step: c, the slots of a step; "step_tokens" needs it, and a staged curriculum fills in its own.
        rho: decay of the weights within a span; None for 0.9. Of "superposed" alone.
        temperature: tau of the head's softmax; None for 1. Of "superposed" alone.
    """

    targets: Literal["step_tokens", "superposed"] = "step_tokens"
    weight: Weight = 1.0
    latents_per_step: Positive | None = None
    rho: Mass | None = None
    temperature: Scale | None = None

    def __post_init__(self):
        for name in ("rho", "temperature"):
            if self.targets == "step_tokens" and getattr(self, name) is not None:
                raise InputError(
                    f"objective_options.{name}={getattr(self, name)} has no effect with targets=step_tokens; leave it "
                    "out, or take targets=superposed"
                )


class LatentTokensObjective(Objective):
    """loss = CE(what is written) + weight x sum over targets / targets of the whole global batch.

    The head reads the last hidden state at the column that a latent **grows from**: the one before it, as of any token that
    a column predicts. What it is to predict there:

    - ``step_tokens``: the cross-entropy of token j of replaced step k at slot j of the c latents of step k. A step of more
      than c tokens is cut at c, one of fewer leaves the rest of its slots without target, a missing one all of them. Nothing
      spills into the slots of the next step. Divided by the number of tokens that have a slot.
    - ``superposed``: the tokens of all replaced steps are cut into K spans, as even as possible, longer ones first; with
      fewer tokens than latents the first latents get one each and the others none. KL(q || softmax(logits / tau)) with
      q = sum over j of a_j onehot(r_j), a_j ~ rho^j, j from 0, normalised over the span. Divided by the number of latents
      that have a target.

    Counts ``latent_targets``, what the sum is divided by, and ``cut_targets``, the replaced tokens that no latent has as a
    target; both are logged. Label smoothing is for written tokens alone: the targets of latents stay as they are. Only
    columns with a target go through the head.

    Reads ``step.views["latent"].token_loss`` (N,) and ``last_hidden["before_latents"]`` (B, K, H).

    Source: ``step_tokens``: Fan, Svete & Lee 2026 (LOTUS), arXiv 2606.31779, section 3, without the spill of its published
    code. ``superposed``: Suleymanzade et al. 2026 (MUX), arXiv 2607.18264, equations 2 to 4.
    """

    Options = LatentTokensOptions
    needs = Needs(last_hidden=("before_latents",), model=True)
    longer_views = False
    logged_counts = ("latent_targets", "cut_targets")

    def fault(self, feedback: type, curriculum) -> str | None:
        """Return why there is nothing to score: no latents, all steps written, or no slots for a step that needs them."""
        last = curriculum.num_stages - 1
        plan = curriculum.plan(last, Blank(1))
        if not curriculum.latents(last):
            return "there are no latents; choose a curriculum with latents, or another objective"
        if not plan.skip_steps and not plan.skip_tokens:
            return "latents learn the steps they replace, and every step is written; set keep_steps=False"
        if self.options.targets == "step_tokens" and self.options.latents_per_step is None:
            return (
                "the curriculum does not say how many latents stand for a step; give objective_options.latents_per_step, or "
                "take targets=superposed"
            )
        return super().fault(feedback, curriculum)

    def make_views(self, encoder, row, plan) -> dict:
        """Return the view that is read, and the replaced tokens, each labelled with the number of its latent."""
        slots = self._slots if self.options.targets == "step_tokens" else self._spans
        tokens, labels = slots(row.steps, plan)
        return {"latent": encoder.latent_view(row, plan), VIEW: encoder.targets(tokens, labels)}

    def _slots(self, steps, plan) -> tuple[list[int], list[int]]:
        """Return the tokens of replaced steps, and for each the latent at its place among those of its step."""
        replaced, size = steps[: plan.skip_steps], self.options.latents_per_step
        places = [(number * size + place, place) for number, step in enumerate(replaced) for place in range(len(step))]
        labels = [latent if place < size and latent < plan.latents else UNSCORED for latent, place in places]
        return [*itertools.chain(*replaced)], labels

    def _spans(self, steps, plan) -> tuple[list[int], list[int]]:
        """Return the tokens that are replaced, and for each the latent whose span it is in."""
        dropped, kept = (itertools.chain(*part) for part in (steps[: plan.skip_steps], steps[plan.skip_steps :]))
        tokens = [*dropped, *itertools.islice(kept, plan.skip_tokens)]
        spans = min(plan.latents, len(tokens))
        if not spans:
            return tokens, [UNSCORED] * len(tokens)
        size, longer = divmod(len(tokens), spans)
        labels = [span for span in range(spans) for _ in range(size + (span < longer))]
        return tokens, labels

    def count(self, batch: dict) -> dict[str, int]:
        """Return the targets of a batch, and the replaced tokens that are in none."""
        view = batch["views"][VIEW]
        labels, real = view["labels"], view["attention_mask"][batch["rows"], 1:]  # the first column is empty
        scored = labels >= 0  # nothing of a row that fills up the batch
        targets = scored.sum() if self.options.targets == "step_tokens" else (labels.amax(1) + 1).clamp(min=0).sum()
        return {"latent_targets": int(targets), "cut_targets": int(real.sum() - scored.sum())}

    def forward(self, step: Step) -> dict[str, torch.Tensor]:
        """Return the terms ``answer`` and ``latents``; the latter is zero where no latent of the step has a target."""
        latent, view = step.views["latent"], step.batch["views"][VIEW]
        rows, columns = (view["labels"] >= 0).nonzero(as_tuple=True)  # (N,), row by row
        tokens, places = view["input_ids"][rows, columns], view["labels"][rows, columns]  # (N,)
        losses = self._losses(step.model, latent.last_hidden["before_latents"], rows, places, tokens)
        return {
            "answer": latent.token_loss.sum() / step.counts["latent_tokens"],
            "latents": self.options.weight * losses.sum() / max(step.counts["latent_targets"], 1),
        }

    def _losses(self, model, hidden: torch.Tensor, rows, places, tokens) -> torch.Tensor:
        """Return one loss for each target.

        Args:
            model: the latent model.
            hidden: (B, K, H) before the latents.
            rows, places, tokens: (N,) of every token its row, its latent and its id, in order.
        """
        if self.options.targets == "step_tokens":
            return model.token_losses(hidden[rows, places], tokens)
        _, target, sizes = (rows * hidden.shape[1] + places).unique_consecutive(return_inverse=True, return_counts=True)
        starts = sizes.cumsum(0) - sizes  # (M,) of the M latents with a target
        place = torch.arange(len(tokens), device=tokens.device) - starts[target]  # (N,) j within the span
        width = int(place.max()) + 1 if len(tokens) else 1  # a device synchronisation
        span = tokens.new_zeros(len(sizes), width).index_put((target, place), tokens)  # (M, S)
        dtype = torch.promote_types(hidden.dtype, torch.float32)
        decay = (RHO if self.options.rho is None else self.options.rho) ** place.to(dtype)
        weights = hidden.new_zeros(len(sizes), width, dtype=dtype).index_put((target, place), decay)
        weights = weights / weights.sum(1, keepdim=True)
        return model.losses_of_logits(hidden[rows[starts], places[starts]], self._divergence, span, weights)

    def _divergence(self, logits: torch.Tensor, tokens: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Return KL(q || softmax(logits / tau)) (M,), of logits (M, V) and q given by tokens and weights (M, S)."""
        temperature = TEMPERATURE if self.options.temperature is None else self.options.temperature
        log_probs = (logits.to(weights.dtype) / temperature).log_softmax(-1)
        alike = tokens.unsqueeze(1) == tokens.unsqueeze(2)  # (M, S, S): a token that comes twice has the sum of its weights
        q = (alike * weights.unsqueeze(1)).sum(2)  # (M, S)
        return torch.xlogy(weights, q).sum(1) - (weights * log_probs.gather(1, tokens)).sum(1)
