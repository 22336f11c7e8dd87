"""Looking at latents: probes over collected traces, and figures.

A probe is one file with ``measure(subject) -> dict`` and a function a figure, ``draw(result, figure)``, and one line below.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from latent_trainer.analysis import attention, lens, linear, norms, patching, pca, pursuit, similarity
from latent_trainer.errors import InputError
from latent_trainer.registry import Registry


@dataclass
class Subject:
    """What every probe is given.

    Args:
        traces: `latent_trainer.analysis.traces.Traces` of N problems with K latents each.
        model: the `LatentForCausalLM` they are of.
        tokenizer: the tokenizer saved with it.
        latents_per_step: latents that stand for a written step.
        continued: (problem, number of a step from 0, its value) -> the answer the rest of the problem gives from there; None
            where the data set cannot tell.
        most: problems of the probes that take long for each.
        batch_size: problems per pass.
        seed: decides folds, shuffled labels and donors.
    """

    traces: object
    model: object
    tokenizer: object
    latents_per_step: int = 1
    continued: Callable | None = None
    most: int = 200
    batch_size: int = 32
    seed: int = 0

    @property
    def values(self) -> list[list[str | None]]:
        """Return, per problem and latent, the value of the step that latent stands for; None where there is none."""
        places = [number // self.latents_per_step for number in range(self.traces.num_latents)]
        return [
            [step_value(problem.steps[place]) if place < len(problem.steps) else None for place in places]
            for problem in self.traces.problems
        ]


def step_value(step: str) -> str:
    """Return the value a written step arrives at: what follows its last "=", or all of it.

    >>> step_value("<<48/2=24>>"), step_value("7")
    ('24', '7')
    """
    return step.rpartition("=")[2].strip(" <>.$")


class Probe(NamedTuple):
    """A measurement and its figures.

    Args:
        measure: `Subject` -> numbers, as they stand in the record.
        figures: name of a file -> function that draws these numbers into an empty matplotlib figure.
    """

    measure: Callable[[Subject], dict]
    figures: dict[str, Callable]


def take_probe(name: str, entry) -> Probe:
    """Return a probe that a plug-in registers, or of a function that measures without drawing."""
    if callable(entry) and not isinstance(entry, Probe | type):
        entry = Probe(entry, {})
    if not isinstance(entry, Probe) or not callable(entry.measure) or not all(map(callable, entry.figures.values())):
        raise InputError(f"probe '{name}' must be Probe(measure, figures), or the function measure(subject); got {entry!r}")
    return entry


OWN = {
    "lens": Probe(lens.measure, {"lens": lens.draw}),
    "pursuit": Probe(pursuit.measure, {"pursuit": pursuit.draw}),
    "similarity": Probe(similarity.measure, {"similarity": similarity.draw}),
    "norms": Probe(norms.measure, {"norms": norms.draw}),
    "linear": Probe(linear.measure, {"linear": linear.draw, "linear-steps": linear.draw_steps}),
    "patching": Probe(patching.measure, {"patching": patching.draw}),
    "pca": Probe(pca.measure, {"pca": pca.draw}),
    "attention": Probe(
        attention.measure, {"attention-answer": attention.draw, "attention-question": attention.draw_question}
    ),
}
PROBES = Registry("probe", OWN, take_probe)
