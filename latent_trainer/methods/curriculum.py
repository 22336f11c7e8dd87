"""Curricula: how many latents a problem gets and which written steps it loses, stage by stage.

A curriculum is a dataclass of its options and a pure function of (stage, row, a random source), so the same row at the same
stage is the same on every process, worker and resumed run. Without a random source a row is as its stage schedules it:
evaluation compares weights, which it could not over rows drawn anew each time.

What all rows of an optimizer step are to share may be drawn too: an optional ``drawn(rng)`` returns the curriculum of one
step, and the same step draws the same on every process and resumed run. Two more optional attributes say that latents have
their inputs in training (``gives_inputs``), and that a thought ends where the model says so at generation
(``open_thoughts``; ``latents(stage)`` are then the most it may think).

It has ``num_stages`` and three functions: ``plan(stage, row, rng=None)`` of a row, ``plans(row)``, all it may get or the
longest of them, and ``latents(stage)`` of a prompt at generation. It sees the token ids of a row, so that latents may stand
for tokens as well as for steps.
"""

import inspect
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, ClassVar, Protocol

from latent_trainer.errors import InputError
from latent_trainer.options import Positive
from latent_trainer.registry import Registry

EVERYTHING = 10**9  # more steps or tokens than any problem has


@dataclass(frozen=True)
class Compression:
    """How the written steps become latents: each stands for a group of their tokens.

    Args:
        factor: r, tokens of a group; the last one may have fewer.
        chosen: of each group the place of the token that its column is to predict.
        root: whether the sum of a group of n embeddings is divided by the root of n, not by n.
    """

    factor: int
    chosen: tuple[int, ...]
    root: bool = True


@dataclass(frozen=True)
class Plan:
    """What one row looks like at one stage.

    Args:
        latents: number of latents K.
        skip_steps: leading written steps that are dropped.
        skip_tokens: leading tokens of the written steps that are dropped (iCoT by token).
        compression: how the latents get their inputs from the written steps, which are dropped; None where the model thinks.
    """

    latents: int = 0
    skip_steps: int = 0
    skip_tokens: int = 0
    compression: Compression | None = None


class Row(Protocol):
    """What a curriculum sees of a problem: token ids (`latent_trainer.data.encoding.EncodedProblem` is one).

    Args:
        prompt: of the question with its template text.
        steps: one sequence a written step.
        answer: of the answer and the end of text.
    """

    prompt: Sequence[int]
    steps: Sequence[Sequence[int]]
    answer: Sequence[int]


@dataclass(frozen=True)
class Blank:
    """A row of which only the number of steps is known; each has one token."""

    num_steps: int = 0
    prompt: Sequence[int] = (0,)
    answer: Sequence[int] = (0,)

    @property
    def steps(self) -> list[list[int]]:
        """One list a step."""
        return [[0]] * self.num_steps


def writes_steps(curriculum) -> bool:
    """Return whether a run that starts at the first stage learns to write steps."""
    plan = curriculum.plan(0, Blank())
    return plan.skip_steps == 0


@dataclass(frozen=True)
class FixedCurriculum:
    """The same K latents at every stage, with all written steps kept or all dropped.

    Args:
        num_latents: K.
        keep_steps: whether the written steps stay in the row.
    """

    num_latents: int = 0
    keep_steps: bool = False
    num_stages: ClassVar[int] = 1

    def plan(self, stage: int, row: Row, rng: random.Random | None = None) -> Plan:
        """Return the row's plan; the stage plays no part."""
        return self.plans(row)[0]

    def plans(self, row: Row) -> list[Plan]:
        """Return every plan a row may get."""
        return [Plan(self.num_latents, 0 if self.keep_steps else EVERYTHING)]

    def latents(self, stage: int) -> int:
        """Return the latents of a prompt at generation."""
        return self.num_latents


@dataclass(frozen=True)
class StagedCurriculum:
    """Coconut's curriculum: at stage s the first s steps become s x c latents.

    Stage ``max_stage + 1`` keeps the latents of stage ``max_stage`` and drops every remaining step.

    Args:
        latents_per_step: c, the latents that replace one step.
        max_stage: the last stage that replaces steps one by one.
        pad_latent_to_max: in the last stage give every row ``max_stage`` x c latents, also rows with fewer steps.
        uniform_prob: probability that a row is drawn at a uniformly random stage of its own instead.
        mixed_stages: draw every row's stage i <= s with probability proportional to i + 1, so that earlier stages stay in
            the data.

    Source: Hao et al. 2024, "Training Large Language Models to Reason in a Continuous Latent Space", section 3; for
    mixed stages arXiv 2602.22441.
    """

    latents_per_step: int = 1
    max_stage: int = 3
    pad_latent_to_max: bool = False
    uniform_prob: float = 0.0
    mixed_stages: bool = False

    @property
    def num_stages(self) -> int:
        """Stages 0 .. max_stage + 1."""
        return self.max_stage + 2

    def plan(self, stage: int, row: Row, rng: random.Random | None = None) -> Plan:
        """Return the row's plan at ``stage`` (with ``rng``, that or an earlier one where stages are mixed)."""
        if rng is not None and self.uniform_prob and rng.random() < self.uniform_prob:
            stage = rng.randint(0, len(row.steps))
        elif rng is not None and self.mixed_stages:
            (stage,) = rng.choices(range(stage + 1), range(1, stage + 2))
        return self._at(stage, len(row.steps))

    def plans(self, row: Row) -> list[Plan]:
        """Return every plan a row may get, at any stage."""
        return [self._at(stage, len(row.steps)) for stage in range(self.num_stages)]

    def _at(self, stage: int, num_steps: int) -> Plan:
        if stage > self.max_stage:
            groups = self.max_stage if self.pad_latent_to_max else min(num_steps, self.max_stage)
            return Plan(groups * self.latents_per_step, EVERYTHING)
        return Plan(stage * self.latents_per_step, stage)

    def latents(self, stage: int) -> int:
        """Return the latents of a prompt at generation, where the number of steps is not known."""
        return min(stage, self.max_stage) * self.latents_per_step


@dataclass(frozen=True)
class InternalizeCurriculum:
    """iCoT's curriculum: every stage drops more of the written steps from the left, and nothing replaces them.

    Args:
        per_stage: how much each stage drops.
        unit: ``"step"`` or ``"token"``.
        max_stage: the last stage that drops by count; the one after it drops everything.
        smoothing: lambda of the removal offset o >= 0, drawn with probability proportional to exp(-lambda o) and added
            to what is dropped; 0 turns it off.

    Source: Deng, Choi & Shieber 2024, "From Explicit CoT to Implicit CoT", section 3.
    """

    per_stage: int = 1
    unit: str = "step"
    max_stage: int = 3
    smoothing: float = 0.0

    @property
    def num_stages(self) -> int:
        """Stages 0 .. max_stage + 1."""
        return self.max_stage + 2

    def plan(self, stage: int, row: Row, rng: random.Random | None = None) -> Plan:
        """Return the row's plan at ``stage``; the removal offset is drawn from ``rng``, and 0 without one."""
        if stage > self.max_stage:
            return Plan(skip_steps=EVERYTHING)
        drop = stage * self.per_stage
        if rng is not None and self.smoothing:  # at stage 0, too, as in the published code
            drop += int(-math.log(1.0 - rng.random()) / self.smoothing)
        return Plan(skip_tokens=drop) if self.unit == "token" else Plan(skip_steps=drop)

    def plans(self, row: Row) -> list[Plan]:
        """Return the plan that keeps most, which is that of stage 0; all others are shorter."""
        return [Plan()]

    def latents(self, stage: int) -> int:
        """Return 0: nothing replaces what is dropped."""
        return 0


@dataclass(frozen=True)
class CompressedCurriculum:
    """CoLaR's curriculum: every r tokens of the written steps become one latent, r drawn anew for every optimizer step.

    A group's label is one of its tokens, drawn for every row and epoch; without a random source it is the first.

    Args:
        max_compression: the largest r that training draws.
        min_compression: the smallest; the same as the largest for one r.
        compression: r of evaluation, and of prompts at generation; None takes the largest.
        max_latents: latents a thought may have at generation, where the model ends it.
        root: whether a group of n tokens is divided by the root of n, not by n.

    Source: Tan et al. 2025, "Think Silently, Think Fast: Dynamic Latent Compression of LLM Reasoning Chains", section 3.2.
    """

    max_compression: Positive = 5
    min_compression: Positive = 1
    compression: Positive | None = None
    max_latents: Positive = 64
    root: bool = True
    num_stages: ClassVar[int] = 1
    gives_inputs: ClassVar[bool] = True
    open_thoughts: ClassVar[bool] = True

    def __post_init__(self):
        if self.min_compression > self.max_compression:
            raise InputError(
                f"min_compression={self.min_compression} is above max_compression={self.max_compression}; change one"
            )

    @property
    def factor(self) -> int:
        """r where nothing is drawn."""
        return self.max_compression if self.compression is None else self.compression

    def drawn(self, rng: random.Random) -> "CompressedCurriculum":
        """Return the curriculum of one optimizer step: with an r of its own, the same for all rows."""
        return replace(self, compression=rng.randint(self.min_compression, self.max_compression))

    def plan(self, stage: int, row: Row, rng: random.Random | None = None) -> Plan:
        """Return the row's plan; the stage plays no part, and ``rng`` chooses the labels."""
        return self._at(self.factor, row, rng)

    def plans(self, row: Row) -> list[Plan]:
        """Return the plan of every r, with the labels of one draw: those of all others are as many."""
        return [self._at(r, row) for r in sorted({self.factor, *range(self.min_compression, self.max_compression + 1)})]

    def _at(self, r: int, row: Row, rng: random.Random | None = None) -> Plan:
        tokens = sum(map(len, row.steps))
        sizes = [min(r, tokens - start) for start in range(0, tokens, r)]
        chosen = tuple(0 if rng is None else rng.randrange(size) for size in sizes)
        return Plan(len(sizes), EVERYTHING, compression=Compression(r, chosen, self.root))

    def latents(self, stage: int) -> int:
        """Return the latents of a prompt at generation, at most."""
        return self.max_latents


def take_curriculum(name: str, entry) -> type:
    """Return a curriculum that a plug-in registers, an `InputError` in one line where it breaks the contract."""
    if not isinstance(entry, type) or not is_dataclass(entry):
        raise InputError(f"curriculum '{name}' must be a dataclass of its options; got {entry!r}")
    at = f"curriculum '{name}': {entry.__name__}"
    if not hasattr(entry, "num_stages") and "num_stages" not in {one.name for one in fields(entry)}:
        raise InputError(f"{at} has no num_stages; say how many stages there are")
    for call, taken in (("plan", "stage, row, rng=None"), ("plans", "row"), ("latents", "stage")):
        if not callable(getattr(entry, call, None)):
            raise InputError(f"{at} has no {call}({taken}); write it")
        if len(inspect.signature(getattr(entry, call)).parameters) != 2 + taken.count(","):
            raise InputError(f"{at}.{call} must take ({taken})")
    if hasattr(entry, "drawn") and len(inspect.signature(entry.drawn).parameters) != 2:
        raise InputError(f"{at}.drawn must take (rng)")
    return entry


CURRICULA = Registry(
    "curriculum",
    {
        "fixed": FixedCurriculum,
        "staged": StagedCurriculum,
        "internalize": InternalizeCurriculum,
        "compressed": CompressedCurriculum,
    },
    take_curriculum,
)


def row_rng(seed: int, epoch: int, row: int) -> random.Random:
    """Return the random source of one row in one epoch: independent of batch, process, worker and resume."""
    return random.Random(f"{seed}/{epoch}/{row}")


def row_seed(seed: int, epoch: int, row: int) -> int:
    """Return the seed of what an objective draws for one row in one epoch, apart from what its plan draws."""
    return random.Random(f"{seed}/{epoch}/{row}/objective").getrandbits(63)


def of_step(curriculum: Any, seed: int, step: int) -> Any:
    """Return the curriculum that all rows of one optimizer step share: as ``drawn``, where it draws."""
    return curriculum.drawn(random.Random(f"{seed}/step/{step}")) if hasattr(curriculum, "drawn") else curriculum
