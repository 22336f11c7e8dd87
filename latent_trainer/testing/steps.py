"""Training steps of a tiny model that must all give the same: split otherwise, with fillers, with padding."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from latent_trainer.testing.tiny import TOLERANCE, make_tokenizer, other_seeds, require, tiny_model, uneven_problems
from latent_trainer.training.trainer import LatentTrainer
from latent_trainer.training.training_args import LatentTrainingArguments

ROWS = 7
SETTINGS = {
    "template": "plain",
    "max_new_tokens": 6,
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    "use_cpu": True,
}
STAGED = {"curriculum": "staged", "latents_per_step": 1, "max_stage": 2}
Found = tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]


class Steps:
    """The steps of a trainer over `ROWS` rows.

    Args:
        trainer: as it was made, before its first step.
        what: begins every message, "objective 'mine'".
    """

    def __init__(self, trainer: LatentTrainer, what: str):
        self.trainer, self.what, self.rows = trainer, what, trainer.rows
        require(len(self.rows) == ROWS, f"{what}: {ROWS - len(self.rows)} of {ROWS} short problems do not fit 128 tokens")
        last = trainer.curriculum.num_stages - 1
        self.stages = sorted({min(1, last), last})
        trainer.model.eval()

    def batch(self, indices: list[int], stage: int) -> dict:
        """Return a batch; an index past the last row stands for a filler."""
        return self.trainer.batches.batch(indices, self.rows, stage, None)

    def measured(self, batches: list[dict]) -> Found:
        """Return terms and gradients of one optimizer step over batches."""
        trainer, model = self.trainer, self.trainer.model
        model.zero_grad(set_to_none=True)
        terms: dict[str, torch.Tensor] = {}
        totals = trainer._totals(model, batches, one_by_one=True)
        for batch in batches:
            with other_seeds(0):
                _, own = trainer._scored(model, batch, totals)
            self._check_terms(own)
            sum(own.values()).backward()
            terms = {name: terms.get(name, 0.0) + term.detach() for name, term in own.items()}
        gradients = {
            name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None
        }
        return terms, gradients

    def _check_terms(self, terms) -> None:
        for name, term in terms.items():
            require(
                bool(torch.isfinite(term)), f"{self.what}: term '{name}' is {term.item()} on a step of {ROWS} short rows"
            )
        require(
            sum(terms.values()).requires_grad, f"{self.what}: no term has a gradient; compute them from what step.views hold"
        )

    def same(self, found: Found, expected: Found, when: str, advice: str, tolerance: float = TOLERANCE) -> None:
        """Require the same terms and gradients."""
        for name, value in expected[0].items():
            other = found[0].get(name)
            require(other is not None, f"{self.what}: term '{name}' is missing {when}; return the same terms at every step")
            require(
                _close(other, value, tolerance),
                f"{self.what}: term '{name}' is {value.item():.10g}, and {other.item():.10g} {when}; {advice}",
            )
        for name, gradient in expected[1].items():
            other = found[1].get(name)
            require(
                other is not None and _close(other, gradient, tolerance),
                f"{self.what}: the gradient of {name} is another one {when}; {advice}",
            )

    def check(self) -> None:
        """Require that nothing of how a step is put together changes its terms and gradients."""
        everything = list(range(ROWS))
        for stage in self.stages:
            whole = self.measured([self.batch(everything, stage)])
            again = self.measured([self.batch(everything, stage)])
            self.same(again, whole, "when it is computed again", "keep nothing between steps and draw nothing at random")
            self.same(
                self.measured([self.batch([*everything, ROWS, ROWS + 1], stage)]),
                whole,
                "when two rows that only fill up the batch are added",
                "leave out the rows where step.rows (batch['rows']) is False, in every term, count and sum",
            )
            pad = self.trainer.batches.encoder.pad
            self.same(
                self.measured([widened(self.batch(everything, stage), pad)]),
                whole,
                "when columns of padding are added",
                "leave out the columns whose attention_mask is 0, or whose labels are -100",
            )
            for parts in ([[0, 1, 2], [3, 4, 5, 6]], [[row] for row in everything]):
                self.same(
                    self.measured([self.batch(part, stage) for part in parts]),
                    whole,
                    f"when the {ROWS} rows of the step come in {len(parts)} batches",
                    "every term must be a sum over rows or tokens divided by a count of the whole step (step.counts), and "
                    "no row may depend on the rows beside it",
                )

    def check_normalised(self) -> None:
        """Require that a step over the same rows twice gives about the same terms."""
        once, twice = ([*range(ROWS)] * times for times in (1, 2))
        for stage in self.stages:
            self.same(
                (self.measured([self.batch(twice, stage)])[0], {}),
                (self.measured([self.batch(once, stage)])[0], {}),
                "when every row of the step is there twice",
                "divide the sum by a count of the whole step (step.counts)",
                tolerance=0.05,  # what is estimated from n rows may change by 1/n
            )


def _close(one: torch.Tensor, other: torch.Tensor, tolerance: float) -> bool:
    scale = max(float(other.abs().max()), 1e-6)
    return one.shape == other.shape and float((one - other).abs().max()) <= tolerance * scale


def widened(batch: dict, pad: int, columns: int = 3) -> dict:
    """Return a batch with columns of padding, at the left of its prompts and at the right of its views."""

    def more(tensor: torch.Tensor, value: int, left: bool) -> torch.Tensor:
        extra = tensor.new_full((len(tensor), columns), value)
        return torch.cat([extra, tensor] if left else [tensor, extra], 1)

    fill = {"input_ids": pad, "attention_mask": 0, "labels": -100}
    views = {
        name: {key: more(value, fill[key], False) if key in fill else value for key, value in view.items()}
        for name, view in batch["views"].items()
    }
    prompt = {key: more(batch[key], fill[key], True) for key in ("input_ids", "attention_mask")}
    return {**batch, **prompt, "views": views}


@contextmanager
def tiny_steps(what: str, **settings) -> Iterator[Steps]:
    """Give the steps of a tiny model under training arguments, by default a staged curriculum of sequential latents."""
    if not {"method", "curriculum"} & settings.keys():
        settings = {**STAGED, **settings}
    with tempfile.TemporaryDirectory() as folder, other_seeds(0):
        args = LatentTrainingArguments(folder, **{**SETTINGS, **settings})
        tokenizer = make_tokenizer()
        model = tiny_model(tokenizer)
        yield Steps(LatentTrainer(model, args, train_dataset=uneven_problems(ROWS), processing_class=tokenizer), what)
