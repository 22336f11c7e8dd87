"""Arms: what stands in place of the latents, and what that costs in right answers."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import torch

from latent_trainer.analysis.audit.battery import FLOOR, FORCED, FREE, Battery
from latent_trainer.data.problem import Problem
from latent_trainer.evaluation.answers import is_equivalent
from latent_trainer.evaluation.controls import CONTROLS
from latent_trainer.evaluation.generation import Answer
from latent_trainer.evaluation.statistics import bootstrap_interval, mcnemar, mean_and_error
from latent_trainer.evaluation.summary import summarise

FILLERS = (" ...", "...", " .", ".")  # the first that is one token of the model's vocabulary
MOST_LENGTHS = 32  # points of the curve over truncated thoughts
TITLES = {
    "intact": "as the model thinks them",
    "zero": "zero vectors",
    "frozen": "mean over all problems",
    "noise": "random directions, same length",
    "orthogonal": "at right angles, same length",
    "shuffle": "another problem's",
    "first": "the first, repeated",
    "filler": "filler tokens, as many",
    "removed": "none, markers kept",
    "floor": "no thought at all",
    "pause": "pause model",
}
SHOWN = (
    "accuracy",
    "accuracy_stderr",
    "accuracy_low",
    "accuracy_high",
    "accuracy_flexible",
    "invalid",
    "tokens_written",
    "latents",
)


SHORT = {"frozen": "mean"}  # what an arm is called where its name is a control's


@dataclass(frozen=True)
class Arm:
    """One thing that stands in place of the latents.

    Args:
        name: of its answers.
        num_latents: latents of the prompt.
        make: returns the embeddings (N, K', H) of all problems; None where the model thinks or nothing stands there.
    """

    name: str
    num_latents: int
    make: Callable[[], torch.Tensor] | None = None


def orthogonal(latents: torch.Tensor, problems: list[Problem], seed: int) -> torch.Tensor:
    """Every latent becomes a random vector of the same length at right angles to it."""
    drawn = torch.empty_like(latents)
    for row, problem in enumerate(problems):
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}/orthogonal/{problem.id}".encode()))
        drawn[row] = torch.randn(latents.shape[1:], generator=generator)
    lengths = latents.norm(dim=-1, keepdim=True)
    own = latents / lengths.clamp(min=1e-12)
    across = drawn - (drawn * own).sum(-1, keepdim=True) * own
    return across * lengths / across.norm(dim=-1, keepdim=True)


def first_repeated(latents: torch.Tensor, problems: list[Problem], seed: int) -> torch.Tensor:
    """Every latent becomes the first one of its problem."""
    return latents[:, :1].expand_as(latents)


def donors_of(problems: list[Problem], seed: int) -> list[int]:
    """Return whose latents every problem has under the control "shuffle"."""
    numbers = torch.arange(len(problems), dtype=torch.float64)[:, None, None]
    return CONTROLS["shuffle"](numbers, problems, seed).flatten().long().tolist()


def filler(battery: Battery) -> tuple[str, torch.Tensor]:
    """Return a filler token of the model's vocabulary and its embedding (H,): dots, else the end of text."""
    tokenizer = battery.tokenizer
    token = tokenizer.eos_token_id
    for text in FILLERS:
        ids = tokenizer(text, add_special_tokens=False).input_ids
        if len(ids) == 1 and ids[0] != tokenizer.unk_token_id and tokenizer.decode(ids).strip() == text.strip():
            token = ids[0]
            break
    table = battery.model.get_input_embeddings()
    with torch.no_grad():
        vector = table(torch.tensor([token], device=battery.model.device))[0].cpu()
    return tokenizer.convert_ids_to_tokens(token), vector


def lengths(num_latents: int) -> list[int]:
    """Return the lengths of truncated thoughts, 1 to K - 1, at most ``MOST_LENGTHS`` of them, evenly spaced."""
    every = list(range(1, num_latents))
    if len(every) <= MOST_LENGTHS:
        return every
    return sorted({every[round(place * (len(every) - 1) / (MOST_LENGTHS - 1))] for place in range(MOST_LENGTHS)})


def arms(battery: Battery) -> list[Arm]:
    """Return the arms that a model's number of latents allows; the first is the model as it is."""
    number = battery.num_latents
    if number == 0:
        return [Arm("intact", 0)]

    def own() -> torch.Tensor:
        return battery.thoughts.latents

    def changed(change) -> Callable[[], torch.Tensor]:
        return lambda: change(own(), battery.problems, battery.seed)

    # a rollout that reads its columns several times leaves other states behind than one pass over its latents
    thinks_once = battery.model.config.rollout == "sequential"
    made = [Arm("intact", number, own if thinks_once else None)]
    made += [
        Arm(name, number, changed(CONTROLS[name])) for name in CONTROLS if name != "shuffle" or len(battery.problems) > 1
    ]
    made.append(Arm("orthogonal", number, changed(orthogonal)))
    made.append(Arm("filler", number, lambda: filler(battery)[1].expand_as(own())))
    if number > 1:
        made.append(Arm("first", number, changed(first_repeated)))
    made.append(Arm("removed", 0))
    made += [Arm(f"keep-{length}", length, lambda length=length: own()[:, :length]) for length in lengths(number)]
    return made


def measure(battery: Battery, paused: Battery | None = None) -> dict:
    """Return the rows of every arm, answered freely and with the answer forced.

    Args:
        battery: of the model.
        paused: of a model with pause tokens, over the same problems.

    Returns:
        ``free`` and ``forced``: a row an arm; ``filler``, the filler token.
    """
    chosen = arms(battery)
    modes = (FORCED,) if battery.always_forced else (FREE, FORCED)
    made: dict[str, torch.Tensor] = {}

    def latents(arm: Arm, rows: list[int]) -> Callable[[], torch.Tensor] | None:
        if arm.make is None:
            return None

        def of_batch() -> torch.Tensor:
            if arm.name not in made:
                made[arm.name] = arm.make()
            return made[arm.name][rows]

        return of_batch

    for batch in battery.batches():
        for mode in modes:
            for arm in chosen:
                batch.answer(f"{mode}/{arm.name}", mode, latents(arm, batch.rows), arm.num_latents)
        batch.answer("forced/floor", FLOOR, num_latents=0)
    result: dict = {"problems": len(battery.problems)}
    if battery.num_latents:
        result["filler"] = filler(battery)[0]
    donors = donors_of(battery.problems, battery.seed) if len(battery.problems) > 1 else []
    for mode in modes:
        names = [arm.name for arm in chosen] + (["floor"] if mode == FORCED else [])
        answers = {name: battery.answers(f"{mode}/{name}") for name in names}
        if paused is not None:
            answers["pause"] = _paused(paused, mode)
        result[mode] = {name: row(answers["intact"], own) for name, own in answers.items()}
        if "shuffle" in answers:
            result[mode]["shuffle"] |= followed(answers["intact"], answers["shuffle"], donors)
    if battery.always_forced:
        result[FREE] = result[FORCED]
    return result


def _paused(paused: Battery, mode: str) -> list[Answer]:
    """Return the answers of a pause model."""
    for batch in paused.batches():
        batch.answer(f"{mode}/pause", mode)
    return paused.answers(f"{mode}/pause")


def same_answer(one: Answer, other: Answer) -> bool:
    """Return whether two answers say the same; two that say nothing do where their texts are equal."""
    if one.strict is None and other.strict is None:
        return one.text == other.text
    return is_equivalent(one.strict, other.strict)


def share(name: str, values: list[bool]) -> dict[str, float]:
    """Return a share with its standard error and its interval, under a name."""
    mean, error = mean_and_error(values)
    low, high = bootstrap_interval(values)
    return {name: mean, f"{name}_stderr": error, f"{name}_low": low, f"{name}_high": high}


def row(intact: list[Answer], changed: list[Answer]) -> dict[str, float]:
    """Return what an arm's answers are worth, and how they compare with the intact model's, problem by problem."""
    summary = summarise(changed)
    pair = [[answer.correct for answer in own] for own in (intact, changed)]
    lost = [float(before) - float(after) for before, after in zip(*pair, strict=True)]
    low, high = bootstrap_interval(lost)
    unchanged = [same_answer(before, after) for before, after in zip(intact, changed, strict=True)]
    return {
        **{name: summary[name] for name in SHOWN},
        **mcnemar(*pair),
        "difference_low": low,
        "difference_high": high,
        **share("unchanged", unchanged),
    }


def followed(intact: list[Answer], shuffled: list[Answer], donors: list[int]) -> dict[str, float]:
    """Return how often the answer is the one the model gives to the problem whose latents it got.

    Counted are the problems whose donor has another answer.
    """
    values = [
        same_answer(own, intact[donor])
        for own, before, donor in zip(shuffled, intact, donors, strict=True)
        if intact[donor].strict is not None and not same_answer(before, intact[donor])
    ]
    return {"pairs": len(values), **(share("follows", values) if values else {})}
