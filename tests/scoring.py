"""Objectives by hand: what the trainer does around one, in a few lines."""

import torch

from latent_trainer.methods.step import Needs, make_step

AT_ANSWER = Needs(views=("latent", "explicit"), hidden_states=("answer",))


def run(model, objective, batch: dict) -> dict:
    """Return the model's outputs over the views of a batch."""
    return model(**{key: batch[key] for key in ("input_ids", "attention_mask", "views")}, needs=objective.needs)


def terms_of(model, objective, batches: list[dict]) -> dict[str, torch.Tensor]:
    """Return the terms added up over micro-batches, with the counts and sums of all of them."""
    counts = {"rows": sum(int(batch["rows"].sum()) for batch in batches)}
    for view in objective.needs.views:
        counts[f"{view}_tokens"] = sum(int((batch["views"][view]["labels"] != -100).sum()) for batch in batches)
    for batch in batches:
        counts |= {name: counts.get(name, 0) + number for name, number in objective.count(batch).items()}
    steps = [make_step(run(model, objective, batch), batch, counts, model=model) for batch in batches]
    if objective.sums_needs is not None:
        parts = [objective.sums(step) for step in steps]
        sums = {name: sum(part[name] for part in parts) for name in parts[0]}
        for step in steps:
            step.sums = sums
    parts = [objective(step) for step in steps]
    return {name: sum(part[name] for part in parts) for name in parts[0]}
