"""Single steps: one latent is set to something else. What becomes of the later latents, and of the answer?"""

from collections.abc import Callable

import torch

from latent_trainer.analysis.audit.arms import donors_of, lengths, row
from latent_trainer.analysis.audit.battery import FORCED, Batch, Battery
from latent_trainer.analysis.audit.verdicts import LOSS
from latent_trainer.analysis.patching import WAYS, patched
from latent_trainer.evaluation.statistics import mean_and_error

KINDS = {"zero": "the zero vector", "mean": "its mean over problems", "donor": "another problem's"}


def measure(battery: Battery, rows: list[int]) -> dict:
    """Return what setting one latent does: do(z_t), for every t, by three values, the later latents kept or thought anew.

    Answers are forced. ``graph[kind][t][u]`` is how far latent u moves, relative to its length, where latent t is set and
    the later ones are thought anew; ``answers`` has a row per kind, t and way, compared with the intact answers.

    Args:
        battery: of the model.
        rows: numbers of the problems that are asked.

    Source: Li et al. 2026 (arXiv 2602.08783), step-wise interventions do(z_t).
    """
    number = battery.num_latents
    replacements = _replacements(battery)
    moves = {kind: [[[] for _ in range(number)] for _ in range(number)] for kind in replacements}
    for batch in battery.batches(rows):
        own = battery.thoughts.latents[batch.rows]  # (b, K, H)
        for kind, values in replacements.items():
            for place in range(number):
                kept, anew = (_set(own, values()[batch.rows], place, way) for way in ("kept", "rethought"))
                rethought = _think_on(batch, own, anew, place)
                for later in range(place + 1, number):
                    moves[kind][place][later] += _moved(own[:, later], rethought[:, later])
                batch.answer(f"steps/{kind}-{place + 1}-kept", FORCED, lambda given=kept: given)
                batch.answer(f"steps/{kind}-{place + 1}-rethought", FORCED, lambda given=rethought: given)
    problems = [battery.problems[one] for one in rows]
    intact = battery.answers("forced/intact")
    intact = [intact[one] for one in rows]
    found = []
    for kind in replacements:
        for place in range(1, number + 1):
            for way in WAYS:
                compared = row(intact, battery.answers(f"steps/{kind}-{place}-{way}", problems))
                found.append({"set_to": kind, "latent": place, "others": way, **compared})
    graph = {kind: [[_mean(cell) for cell in own] for own in table] for kind, table in moves.items()}
    return {"problems": len(rows), "answers": found, "graph": graph}


def _replacements(battery: Battery) -> dict[str, Callable[[], torch.Tensor]]:
    """Return the values (N, K, H) that a latent is set to."""
    latents = battery.thoughts.latents
    made: dict[str, Callable[[], torch.Tensor]] = {
        "zero": lambda: torch.zeros_like(latents),
        "mean": lambda: latents.mean(0, keepdim=True).expand_as(latents),
    }
    if len(battery.problems) > 1:
        made["donor"] = lambda: latents[donors_of(battery.problems, battery.seed)]
    return made


def _set(own: torch.Tensor, values: torch.Tensor, place: int, way: str) -> torch.Tensor:
    """Return latents (b, K, H) of which number ``place`` is another value (see `latent_trainer.analysis.patching`)."""
    rows = len(own)
    return patched(torch.cat([own, values]), [*range(rows, 2 * rows)] * 2, place, way)[:rows]


def _think_on(batch: Batch, own: torch.Tensor, anew: torch.Tensor, place: int) -> torch.Tensor:
    """Return the latents (b, K, H) after one was set: those before it as they were, those after it thought anew."""
    if place + 1 == own.shape[1]:
        return torch.cat([own[:, :place], anew[:, place:]], 1)
    return batch.think(torch.cat([own[:, :place], anew[:, place:]], 1)).latents


def _moved(before: torch.Tensor, after: torch.Tensor) -> list[float]:
    """Return how far vectors (b, H) have moved, relative to the length they had."""
    return ((after - before).norm(dim=-1) / before.norm(dim=-1).clamp(min=1e-12)).tolist()


def _mean(values: list[float]) -> dict | None:
    if not values:
        return None
    mean, error = mean_and_error(values)
    return {"moved": mean, "moved_stderr": error}


def early_decoding(measured: dict, num_latents: int) -> dict:
    """Return the accuracy of the answer forced after the first m latents, and from which m on it is there.

    Args:
        measured: what `latent_trainer.analysis.audit.arms.measure` returns.
        num_latents: K.
    """
    forced = measured["forced"]
    names = {0: "removed", **{length: f"keep-{length}" for length in lengths(num_latents)}, num_latents: "intact"}
    keys = ("accuracy", "accuracy_low", "accuracy_high", "unchanged")
    curve = [{"latents": length, **{key: forced[name][key] for key in keys}} for length, name in names.items()]
    final = forced["intact"]["accuracy"]
    there = next(point["latents"] for point in curve if point["accuracy"] >= final - LOSS)
    return {"curve": curve, "decodable_from": there, "threshold_loss": LOSS}
