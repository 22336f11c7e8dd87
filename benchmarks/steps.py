"""Training steps to be measured: ours, and what they are measured against."""

import random
from collections.abc import Callable

import torch
from accelerate.utils import send_to_device
from common import DEVICE
from transformers import DynamicCache

from latent_trainer.data.collator import LatentCollator
from latent_trainer.data.encoding import View
from latent_trainer.methods.objectives import build_objective
from latent_trainer.methods.step import make_step

QUESTION, STEPS, ANSWER = 64, 30, 10


def make_batch(
    model, batch: int, latents: int | list[int] = 0, prompt: int | list[int] = QUESTION, views: tuple[str, ...] = ("latent",)
) -> dict:
    """Return a batch of random tokens with the views an objective needs, on the device.

    Args:
        model: says which tokens there are.
        batch: rows.
        latents: of every row, or of each.
        prompt: tokens of every question, or of each.
        views: "latent", "explicit", "targets": a token of the steps for each latent, as far as they reach.
    """
    generator = torch.Generator().manual_seed(0)
    latent_id, vocabulary = model.config.latent_token_id, model.config.vocab_size

    def draw(number: int) -> list[int]:
        return torch.randint(1, vocabulary - 3, (number,), generator=generator).tolist()

    made = []
    for row in range(batch):
        width, thoughts = (of if isinstance(of, int) else of[row] for of in (prompt, latents))
        question, steps, answer = draw(width), draw(STEPS), draw(ANSWER)
        given = [latent_id + 1, *[latent_id] * thoughts, latent_id + 2]
        own = {
            "latent": View(given + answer, [-100] * len(given) + answer, len(given) + 1),
            "explicit": View(steps + answer, steps + answer, len(steps) + 1, len(steps)),
            "targets": View([0, *steps[:thoughts]], [-100, *range(len(steps[:thoughts]))], 0),
        }
        made.append((question, {name: own[name] for name in views}))
    made = LatentCollator(0)(made)
    made["rows"] = torch.ones(batch, dtype=torch.bool)
    return send_to_device(made, DEVICE)


def ragged(batch: int) -> dict[str, list[int]]:
    """Return numbers of latents from 0 to 12 and prompt widths from 32 to 96 for a batch; on average 6 and 64."""
    rng = random.Random(0)
    return {"latents": [rng.randint(0, 12) for _ in range(batch)], "prompt": [rng.randint(32, 96) for _ in range(batch)]}


def positions(batch: dict) -> int:
    """Return the tokens and latents of a batch, padding left out; the prompt counts once."""
    views = [view for name, view in batch["views"].items() if name != "targets"]  # which no model reads
    masks = [batch["attention_mask"], *(view["attention_mask"] for view in views)]
    return int(sum(mask.sum() for mask in masks))


def labelled(batch: dict) -> int:
    """Return the labelled tokens of a batch, those that latents are to predict included."""
    return int(sum((view["labels"] != -100).sum() for view in batch["views"].values()))


def useful_operations(model, batch: dict) -> int:
    """Return the floating-point operations of a step that no method can do without, attention left out.

    Six for every weight of the decoder's matrices and position, and for every weight of the head and labelled token.
    """
    decoder = sum(weight.numel() for name, weight in model.get_decoder().named_parameters() if weight.dim() == 2)
    decoder -= model.get_input_embeddings().weight.numel()
    head = model.get_output_embeddings().weight.numel()
    return 6 * (decoder * positions(batch) + head * labelled(batch))


def whole_rows(batch: dict, view: str) -> dict[str, torch.Tensor]:
    """Return what a stock model is called with: prompt and continuation in one row."""
    own = batch["views"][view]
    ids = torch.cat([batch["input_ids"], own["input_ids"]], 1)
    mask = torch.cat([batch["attention_mask"], own["attention_mask"]], 1)
    labels = torch.cat([torch.full_like(batch["input_ids"], -100), own["labels"]], 1)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


class Step:
    """A step of training.

    Args:
        optimizer: of what is trained.
        loss: returns the loss.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, loss: Callable[[], torch.Tensor]):
        self.optimizer, self.loss = optimizer, loss

    def __call__(self) -> None:
        """Make it."""
        self.loss().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


class Bench:
    """A model in training and the steps that can be made with it; the optimizer's cost does not depend on the method.

    Args:
        model: the latent model; the plain steps use the stock model in it.
    """

    def __init__(self, model):
        self.model = model.train()
        self.optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)

    def _step(self, loss: Callable[[], torch.Tensor]) -> "Step":
        return Step(self.optimizer, loss)

    def plain(self, batch: dict, view: str = "latent") -> Callable[[], None]:
        """Return a step of plain fine-tuning: the stock model over the same rows and labels, every position in one pass."""
        rows = whole_rows(batch, view)
        return self._step(lambda: self.model.base(**rows).loss)

    def latent(self, batch: dict, objective: str = "answer", rollout="sequential", backprop="full", **options):
        """Return a step of a latent method through the model's training path."""
        objective = build_objective(objective)
        counts = {"rows": len(batch["rows"]), **objective.count(batch)}
        counts |= {f"{name}_tokens": int((view["labels"] != -100).sum()) for name, view in batch["views"].items()}

        def loss():
            self.model.configure("hidden", None, rollout, backprop, options)
            outputs = self.model(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                views=batch["views"],
                needs=objective.needs,
            )
            step = make_step(outputs, batch, counts, model=self.model)
            if objective.sums_needs is not None:
                step.sums = objective.sums(step)
            return sum(objective(step).values())

        return self._step(loss)

    def cached(self, batch: dict, latents: int) -> Callable[[], None]:
        """Return a step of the stock decoder that reads as many plain tokens one by one through a stock cache.

        The head runs on the labelled tokens alone, so that what is left to compare is the cost of a position.
        """
        rows, decoder = whole_rows(batch, "latent"), self.model.get_decoder()
        width = batch["input_ids"].shape[1] + 1
        ends = [*range(width, width + latents + 1), rows["input_ids"].shape[1]]
        scored = rows["labels"] != -100

        def loss():
            cache, hidden, start = DynamicCache(), [], 0
            for end in ends:
                ids, mask = rows["input_ids"][:, start:end], rows["attention_mask"][:, :end]
                output = decoder(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True)
                hidden, start = [*hidden, output.last_hidden_state], end
            logits = self.model.logits_of(torch.cat(hidden, 1)[:, :-1][scored[:, 1:]])
            return torch.nn.functional.cross_entropy(logits, rows["labels"][scored])

        return self._step(loss)

    def naive(self, batch: dict, latents: int) -> Callable[[], None]:
        """Return a step as it is often published: everything read anew for every latent, logits for every position."""
        rows, base = whole_rows(batch, "latent"), self.model.base
        first = batch["input_ids"].shape[1] + 1

        def loss():
            embeds = base.get_input_embeddings()(rows["input_ids"])
            for column in range(first, first + latents):
                read = {"inputs_embeds": embeds[:, :column], "attention_mask": rows["attention_mask"][:, :column]}
                hidden = base(**read, output_hidden_states=True, use_cache=False).hidden_states[-1]
                embeds = torch.cat([embeds[:, :column], hidden[:, -1:], embeds[:, column + 1 :]], 1)
            return base(inputs_embeds=embeds, attention_mask=rows["attention_mask"], labels=rows["labels"]).loss

        return self._step(loss)
