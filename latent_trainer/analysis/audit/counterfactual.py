"""Counterfactuals: one thing in the question is changed. Does the answer follow, and do the latents carry the change?"""

import random
from collections.abc import Callable
from dataclasses import replace

from transformers import Cache

from latent_trainer.analysis.audit.arms import share
from latent_trainer.analysis.audit.battery import FORCED, Batch, Battery
from latent_trainer.data.encoding import Encoder
from latent_trainer.data.problem import Problem
from latent_trainer.data.variants import Variants
from latent_trainer.errors import InputError
from latent_trainer.evaluation.answers import is_equivalent
from latent_trainer.rollout.cache import RolloutLayer, ThoughtLayer, branch


def measure(battery: Battery, rows: list[int], variants: Variants) -> dict:
    """Return whether forced answers follow a changed question, and what swapping the thoughts of the two does.

    Pairs are a question and the same with one thing changed, which has as many tokens and another answer. Over the pairs
    of which the model answers both right:

    - sufficiency: the old question with the new thought gets the new answer;
    - necessity: the new question with the old thought no longer gets the new answer;
    - selectivity: the old question with the thought of another problem of the same answer keeps its answer, so that what a
      swap changes is the answer and not what else differs.

    Each is taken ``by_latents``, where the embeddings are swapped and the model reads them after its own question, and
    ``by_values``, where the keys and values of the thought are, in every layer.

    Args:
        battery: of the model.
        rows: numbers of the problems that are asked.
        variants: the oracle (`latent_trainer.data.VARIANTS`).

    Raises:
        InputError: no problem has such a pair.
    """
    pairs = _pairs(battery, rows, variants)
    if not pairs:
        raise InputError("no question of the data set has a variant of as many tokens and another answer")
    rows, new = [row for row, _ in pairs], [problem for _, problem in pairs]
    old, intact = [battery.problems[row] for row in rows], battery.answers("forced/intact")
    number = battery.num_latents
    thoughts = battery.think(new).latents if number else None
    before = [intact[row] for row in rows]
    for batch in battery.batched(new):
        batch.answer("counterfactual/new", FORCED, (lambda own=batch.rows: thoughts[own]) if number else None)
    after = battery.answers("counterfactual/new", new)
    follows = [one.correct for one, first in zip(after, before, strict=True) if first.correct]
    solved = [first.correct and one.correct for one, first in zip(after, before, strict=True)]
    result: dict = {"pairs": len(pairs), "asked_right": len(follows), "solved": sum(solved)}
    result |= share("follows", follows) if follows else {}
    fault = values_fault(battery) if number else "the model thinks no latents"
    if fault:
        result["by_values_missing"] = fault
    donors = _same_answer(battery, rows)
    counts = dict.fromkeys(("sufficiency", "necessity"), solved)
    counts["selectivity"] = [one and row != donor for one, row, donor in zip(solved, rows, donors, strict=True)]
    own = battery.thoughts.latents
    swaps = {
        "sufficiency": (old, new, thoughts),
        "necessity": (new, old, own[rows]),
        "selectivity": (old, [battery.problems[row] for row in donors], own[donors]),
    }
    for way in [] if not number else ["by_latents"] if fault else ["by_latents", "by_values"]:
        result[way] = {}
        for name, (asked, donated, latents) in swaps.items():
            sheet = f"counterfactual/{name}-{way}"
            places = {problem.id: place for place, problem in enumerate(asked)}
            for batch in battery.batched(asked):
                if way == "by_latents":
                    batch.answer(sheet, FORCED, lambda own=batch.rows, latents=latents: latents[own])
                else:
                    batch.answer(sheet, FORCED, cache=_swapping(donated, places))
            wanted = old if name == "selectivity" else new
            outcomes = [
                is_equivalent(answer.strict, problem.answer) != (name == "necessity")
                for answer, problem, counted in zip(battery.answers(sheet, asked), wanted, counts[name], strict=True)
                if counted
            ]
            result[way][name] = {"pairs": len(outcomes)} | (share("share", outcomes) if outcomes else {})
    return result


def _pairs(battery: Battery, rows: list[int], variants: Variants) -> list[tuple[int, Problem]]:
    """Return the numbers of problems and what each becomes."""
    found = []
    for row in rows:
        problem = battery.problems[row]
        other = _change(battery.encoder, problem, variants, random.Random(f"{battery.seed}/{problem.id}"))
        if other is not None:
            found.append((row, other))
    return found


def _change(encoder: Encoder, problem: Problem, variants: Variants, rng: random.Random) -> Problem | None:
    """Return the first variant that has another answer and as many tokens; None where there is none."""
    tokens = len(encoder.question(problem.question))
    for variant in variants(problem, rng):
        as_long = len(encoder.question(variant.question)) == tokens
        if as_long and not is_equivalent(variant.answer, problem.answer):
            return replace(variant, id=f"{problem.id} > {variant.question}")
    return None


def _same_answer(battery: Battery, rows: list[int]) -> list[int]:
    """Return for each problem another one with the same answer and as many tokens; itself where there is none."""
    lengths = [len(battery.encoder.question(problem.question)) for problem in battery.problems]
    alike: dict[tuple, list[int]] = {}
    for number, problem in enumerate(battery.problems):
        alike.setdefault((problem.answer, lengths[number]), []).append(number)
    donors = []
    for row in rows:
        group = alike[battery.problems[row].answer, lengths[row]]
        donors.append(group[(group.index(row) + 1) % len(group)])
    return donors


def values_fault(battery: Battery) -> str | None:
    """Return why the keys and values of a thought cannot be swapped, None where they can."""
    encoder = Encoder(battery.tokenizer, battery.templates[FORCED])
    if encoder.prompt_end(battery.num_latents)[-1] == encoder.latent:
        return "the template has nothing between the thought and the answer, which would be read after a swap"
    batch = next(battery.batched(battery.problems[:1]))
    layers = batch.think(use_cache=True).layers
    if any(type(layer) not in (RolloutLayer, ThoughtLayer) for layer in layers):
        return "the base model's cache holds more than the keys and values of every column"
    return None


def _swapping(thought_of: list[Problem], numbers: dict[str, int]) -> Callable[[Batch], Cache]:
    """Return what makes the cache of a batch's questions followed by the thoughts of other problems.

    Args:
        thought_of: the problems whose thoughts are put in.
        numbers: id of a problem -> its place in ``thought_of``.
    """

    def spliced(batch: Batch) -> Cache:
        donors = [thought_of[numbers[problem.id]] for problem in batch.problems]
        own, other = batch.think(use_cache=True), Batch(batch.battery, donors, batch.rows).think(use_cache=True)
        questions = batch.questions[0].shape[1]
        cache = branch(own, questions)
        width = own.get_seq_length() - questions  # columns of the thought, up to the last latent
        for layer, donor in zip(cache.layers, other.layers, strict=False):  # one of them has a thought's state too
            layer.update(donor.keys[:, :, -width:], donor.values[:, :, -width:])
        return cache

    return spliced
