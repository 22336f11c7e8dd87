"""The checks of contracts: the library's own parts keep them, and each catches a part that is wrong in one way."""

import itertools
import random
from dataclasses import dataclass, replace

import pytest
import torch
from reader_objective import ReaderObjective
from torch import nn

from latent_trainer.analysis import PROBES, Probe
from latent_trainer.analysis.norms import measure as measure_norms
from latent_trainer.data import TEMPLATES, Template
from latent_trainer.data.problem import Problem
from latent_trainer.evaluation.controls import CONTROLS
from latent_trainer.methods.curriculum import CURRICULA, EVERYTHING, Plan
from latent_trainer.methods.feedback import FEEDBACKS
from latent_trainer.methods.feedback.hidden import HiddenFeedback
from latent_trainer.methods.objectives import OBJECTIVES, Objective
from latent_trainer.methods.objectives.answer import AnswerObjective
from latent_trainer.methods.objectives.self_distillation import SelfDistillationObjective
from latent_trainer.methods.step import Needs
from latent_trainer.registry import REGISTRIES
from latent_trainer.rollout import ROLLOUTS
from latent_trainer.rollout.sequential import SequentialRollout
from latent_trainer.testing import (
    CurriculumContract,
    ObjectiveContract,
    check_control,
    check_curriculum,
    check_dataset,
    check_feedback,
    check_objective,
    check_probe,
    check_rollout,
    check_template,
)

GENERATED = ("arithmetic", "combinatorics", "convex", "countdown", "game24", "prontoqa", "prosqa", "stories")
COLAR = {"settings": {"method": "colar"}}
ONLY_WITH = {"compression": COLAR, "gaussian": COLAR}  # what trains with one another alone
OWN = [
    *((check_objective, name, ONLY_WITH.get(name, {})) for name in OBJECTIVES),
    (check_objective, "self_distillation", {"options": {"normalise": False, "distance": "l2"}}),
    (check_objective, "answer", {"settings": {"step_decoder": "copy"}}),
    *((check_feedback, name, ONLY_WITH.get(name, {})) for name in FEEDBACKS),
    (check_feedback, "hidden", {"options": {"norm": "embedding"}}),
    *((check_rollout, name, {}) for name in ROLLOUTS),
    *((check_curriculum, name, {}) for name in CURRICULA),
    (check_curriculum, "staged", {"options": {"uniform_prob": 0.5, "pad_latent_to_max": True}}),
    (check_curriculum, "internalize", {"options": {"smoothing": 0.5, "unit": "token"}}),
    *((check_dataset, name, {"options": {"size": 40}}) for name in GENERATED),
    *((check_template, name, {}) for name in TEMPLATES),
    *((check_probe, name, {}) for name in PROBES),
    *((check_control, name, {}) for name in CONTROLS),
]


@pytest.mark.parametrize(("check", "name", "given"), OWN, ids=[f"{one[1]} {number}" for number, one in enumerate(OWN)])
def test_what_the_library_has(check, name, given):
    given = dict(given)
    check(name, **given.pop("settings", {}), **given)


def test_data_sets_that_read_files(tmp_path):
    rows = "".join(f'{{"question": "q{n}", "steps": ["{n}"], "answer": "{n}"}}\n' for n in range(60))
    (tmp_path / "rows.jsonl").write_text(rows)
    check_dataset("jsonl", str(tmp_path / "rows.jsonl"))


class TestReader(ObjectiveContract):
    """One with weights, as a test of pytest's."""

    objective = ReaderObjective


class TestStaged(CurriculumContract):
    curriculum, options = "staged", {"max_stage": 2}


# ---- what is caught ----


def caught(check, entry, *given, **settings) -> str:
    """Return the sentence a check fails with; nothing it tried stays registered."""
    before = {kind: list(one) for kind, one in REGISTRIES.items()}
    with pytest.raises(AssertionError) as failed:
        check(entry, *given, **settings)
    assert {kind: list(one) for kind, one in REGISTRIES.items()} == before
    assert len(str(failed.value).splitlines()) == 1
    return str(failed.value)


class BatchMean(Objective):
    """A mean over the batch, not over the step."""

    def forward(self, step):
        return {"answer": step.views["latent"].token_loss.mean()}


class BatchRows(Objective):
    """Divides by the rows of the batch, fillers among them."""

    needs = Needs(hidden_states=("answer",))

    def forward(self, step):
        last = step.views["latent"].hidden_states["answer"][-1]  # (B, H)
        extra = last[step.rows].square().mean(1).sum() / step.counts["rows"]
        return {"answer": step.views["latent"].token_loss.sum() / step.counts["latent_tokens"], "extra": extra}


class Fillers(BatchRows):
    """Counts rows that only fill up a batch."""

    def forward(self, step):
        last = step.views["latent"].hidden_states["answer"][-1]  # (B, H)
        return {**super().forward(step), "extra": last.square().mean(1).sum() / step.counts["rows"]}


class Padding(Objective):
    """Reads columns of padding."""

    needs = Needs(hidden_states=("columns",))

    def forward(self, step):
        last = step.views["latent"].hidden_states["columns"][-1][step.rows]  # (B, Tv, H)
        return {"answer": last.square().mean(2).sum() / step.counts["latent_tokens"]}


class Sum(Objective):
    """Grows with the rows of a step."""

    def forward(self, step):
        return {"answer": step.views["latent"].token_loss.sum()}


class Neighbours(BatchRows):
    """Compares a row with those beside it."""

    def forward(self, step):
        last = step.views["latent"].hidden_states["answer"][-1][step.rows]
        apart = (last - last.mean(0)).square().mean(1).sum() / step.counts["rows"]
        return {"answer": step.views["latent"].token_loss.sum() / step.counts["latent_tokens"], "apart": apart}


class Random(AnswerObjective):
    """Another loss every time."""

    numbers = itertools.count(1)

    def forward(self, step):
        return {"answer": super().forward(step)["answer"] * next(self.numbers)}


class Detached(AnswerObjective):
    def forward(self, step):
        return {"answer": super().forward(step)["answer"].detach()}


class NoDictionary(AnswerObjective):
    def forward(self, step):
        return super().forward(step)["answer"]


class Rowwise(AnswerObjective):
    def forward(self, step):
        return {"answer": step.views["latent"].token_loss / step.counts["latent_tokens"]}


class CountsFillers(AnswerObjective):
    def count(self, batch):
        return {"all": len(batch["rows"])}


class CountsBatches(AnswerObjective):
    def count(self, batch):
        return {"batches": 1}


class Idle(AnswerObjective):
    """A weight nobody uses."""

    def __init__(self, options=None, config=None):
        super().__init__(options, config)
        self.idle = nn.Linear(2, 2)


class Growing(AnswerObjective):
    """Weights that depend on what was built before."""

    sizes = itertools.count(2)

    def __init__(self, options=None, config=None):
        super().__init__(options, config)
        self.weight = nn.Parameter(torch.ones(next(self.sizes)))

    def forward(self, step):
        return {"answer": super().forward(step)["answer"] * self.weight.mean()}


class BatchSums(SelfDistillationObjective):
    """Takes its standard deviation of the batch at hand."""

    def forward(self, step):
        step.sums = self.sums(step)
        return super().forward(step)


def test_an_objective_by_rows_of_the_batch_is_fine():
    check_objective(BatchRows)


@pytest.mark.parametrize(
    ("objective", "says"),
    [
        (BatchMean, "when the 7 rows of the step come in 2 batches"),
        (Fillers, "when two rows that only fill up the batch are added; leave out the rows where step.rows"),
        (Padding, "columns whose attention_mask is 0"),
        (Sum, "when every row of the step is there twice; divide the sum by a count"),
        (Neighbours, "no row may depend on the rows beside it"),
        (Random, "when it is computed again"),
        (Detached, "no term has a gradient"),
        (NoDictionary, "return a dictionary of terms"),
        (Rowwise, "return a tensor with one number"),
        (CountsFillers, "it counts 8 all instead of 7 when a row that only fills up the batch is added"),
        (CountsBatches, "it counts 1 batches in a batch and 2 in two batches"),
        (Idle, "its weight idle.weight gets no gradient"),
        (Growing, "built again from its options and the configuration it has other weights"),
        (BatchSums, "when the 7 rows of the step come in 2 batches"),
    ],
)
def test_objectives(objective, says):
    assert says in caught(check_objective, objective)


def test_what_is_no_objective():
    assert "must be a class derived from" in caught(check_objective, nn.Linear)
    assert "did you mean 'answer'?" in caught(check_objective, "answr")
    assert "has no option 'fctor'" in caught(check_objective, "self_distillation", {"fctor": 2})


class Mixes(HiddenFeedback):
    """Takes the mean over rows away."""

    def forward(self, hidden, embed, head):
        return hidden - hidden.mean(0)


class NoGradient(HiddenFeedback):
    def forward(self, hidden, embed, head):
        return hidden.detach() + 0.0 * embed(torch.zeros(1, dtype=torch.long)).sum()


class Cut(HiddenFeedback):
    def forward(self, hidden, embed, head):
        return hidden.detach()


class InPlace(HiddenFeedback):
    def forward(self, hidden, embed, head):
        return hidden.detach().mul_(2) + hidden


class Wide(HiddenFeedback):
    def forward(self, hidden, embed, head):
        return torch.cat([hidden, hidden], 1)


class Precise(HiddenFeedback):
    def forward(self, hidden, embed, head):
        return hidden.double()


class Blind(HiddenFeedback):
    def forward(self, hidden, embed, head):
        return embed.weight[:1].expand(len(hidden), -1)


class Noisy(HiddenFeedback):
    def forward(self, hidden, embed, head):
        return hidden + torch.randn_like(hidden)


class Unused(HiddenFeedback):
    def __init__(self, hidden_size):
        super().__init__(hidden_size)
        self.weight = nn.Parameter(torch.ones(hidden_size))


@pytest.mark.parametrize(
    ("feedback", "says"),
    [
        (Mixes, "gives a row another latent alone than among other rows"),
        (NoGradient, "gives no gradient back to the hidden states"),
        (Cut, "returns latents without a gradient"),
        (InPlace, "changes the hidden states it is given"),
        (Wide, "returns (5, 64) for hidden states (5, 32)"),
        (Precise, "returns torch.float64 for hidden states in torch.bfloat16"),
        (Blind, "gives two different hidden states the same latent"),
        (Noisy, "returns other latents in evaluation when it is called again"),
        (Unused, "its weight weight gets no gradient"),
        (nn.Linear, "must say sequential = True or False"),
    ],
)
def test_feedbacks(feedback, says):
    assert says in caught(check_feedback, feedback)


class NoThought(SequentialRollout):
    """Latents that are constants."""

    def fill(self, columns, reading):
        return super().fill(columns, replace(reading, backprop="none"))


class RowByRow(SequentialRollout):
    """Adds the mean of all rows to every column."""

    def fill(self, columns, reading):
        mean = columns.embeds.mean((0, 1), keepdim=True)
        return super().fill(replace(columns, embeds=columns.embeds + mean), reading)


class OnlyFast(SequentialRollout):
    """Gives something else where it must read plainly."""

    def fill(self, columns, reading):
        return super().fill(columns if reading.fast else replace(columns, embeds=2 * columns.embeds), reading)


class OnlyPrompts(SequentialRollout):
    """Changes what is read together, and not a single column."""

    def fill(self, columns, reading):
        several = columns.embeds.shape[1] > 1
        return super().fill(replace(columns, embeds=-2 * columns.embeds) if several else columns, reading)


@pytest.mark.parametrize(
    ("rollout", "says"),
    [
        (RowByRow, "other logits alone than among longer ones"),
        (OnlyFast, "gives other logits with model.fast=False"),
        (OnlyPrompts, "writes another text with a cache than without one"),
        (NoThought, "no gradient reaches what makes the latents"),
        (nn.Linear, "must be a class derived from latent_trainer.rollout.contract.Rollout"),
    ],
)
def test_rollouts(rollout, says):
    assert says in caught(check_rollout, rollout)


@dataclass(frozen=True)
class Curriculum:
    """One latent a step, at most ``most``."""

    most: int = 2
    num_stages = 2

    def plan(self, stage, row, rng=None):
        return Plan(min(stage * len(row.steps), self.most), EVERYTHING if stage else 0)

    def plans(self, row):
        return [self.plan(stage, row) for stage in range(self.num_stages)]

    def latents(self, stage):
        return stage * self.most


class Short(Curriculum):
    """Its ``plans`` lack the last stage's."""

    def plans(self, row):
        return [self.plan(0, row)]


class Drawn(Curriculum):
    """Draws from the source of the whole process."""

    def plan(self, stage, row, rng=None):
        return Plan(stage * random.randint(0, 2), 0)

    def plans(self, row):
        return [Plan(2)]


class Remembers(Curriculum):
    """Gives every row one latent more than the one before."""

    seen = itertools.count()

    def plan(self, stage, row, rng=None):
        return Plan(next(self.seen), 0)

    def plans(self, row):
        return [Plan(EVERYTHING)]


class Alternates(Remembers):
    """Comes back to the same latents after every third row."""

    def plan(self, stage, row, rng=None):
        return Plan(next(self.seen) % 3, 0)


class Fails(Curriculum):
    """Reads the first step of a row that has none."""

    def plan(self, stage, row, rng=None):
        return Plan(len(row.steps[0]), 0)


class Pair(Curriculum):
    def plan(self, stage, row, rng=None):
        return (stage, 0)


class Half(Curriculum):
    def latents(self, stage):
        return stage * self.most / 2


class NoStage(Curriculum):
    num_stages = 0


def test_a_curriculum_is_fine():
    check_curriculum(Curriculum, {"most": 3})


@pytest.mark.parametrize(
    ("curriculum", "says"),
    [
        (Short, "and plans(row) holds nothing as long"),
        (Drawn, "changes when it is asked for again"),
        (Remembers, "changes when it is asked for again"),
        (Alternates, "changes when it is asked for again"),
        (Fails, "curriculum 'checked-Fails' fails: IndexError: tuple index out of range (test_checks.py, line "),
        (Pair, "return a Plan of whole numbers"),
        (Half, "latents(0) is 0.0"),
        (NoStage, "num_stages is 0"),
        (nn.Linear, "must be a dataclass of its options"),
    ],
)
def test_curricula(curriculum, says):
    assert says in caught(check_curriculum, curriculum)


def rows(split: str, number: int = 5, **changes) -> list[dict]:
    """Return problems of a split."""
    return [
        {"question": f"{split} {n}", "steps": ["1"], "answer": str(n), "id": f"{split}/{n}", **changes}
        for n in range(number)
    ]


def overlapping(split, path=None, seed=0):
    """One question of the test split is a training question, written otherwise."""
    return rows(split) + ([{"question": "Train  0", "steps": [], "answer": "1"}] if split == "test" else [])


def shuffled(split, path=None, seed=0):
    return random.sample(rows(split, 50), 5)


def same_ids(split, path=None, seed=0):
    return rows(split, id="one")


def empty_step(split, path=None, seed=0):
    return [Problem(split, ("1", " "), "1")]


def not_gradable(split, path=None, seed=0):
    return rows(split, answer="1 ### 2")


def nothing(split, path=None, seed=0):
    return []


def fine(split, path=None, seed=0, number: int = 5):
    return rows(split, number)


@pytest.mark.parametrize(
    ("dataset", "says"),
    [
        (overlapping, "row 5 of split test asks the question of row 0 of split train"),
        (shuffled, "other problems when they are loaded again"),
        (same_ids, "two problems have the same id"),
        (empty_step, "field 'steps' has a blank text as item 2"),
        (not_gradable, "would be graded wrong"),
        (nothing, "split train: dataset 'checked-nothing', split 'train' (no path) is empty"),
        (Problem, "must be a function load(split, path=None, seed=0"),
    ],
)
def test_data_sets(dataset, says):
    check_dataset(fine, options={"number": 7})
    assert says in caught(check_dataset, dataset)


@pytest.mark.parametrize(
    ("template", "says"),
    [
        (Template(step="### {step}\n"), "holds the answer prefix '### '"),
        (Template(answer_prefix=""), "the template has no answer prefix"),
        (Template(question="{question} or {question}?\n"), "write {question} once"),
        (Template(answer_prefix="so "), "a step holds the answer prefix 'so '"),
        ({"question": "{question}"}, "must be a Template"),
    ],
)
def test_templates(template, says):
    check_template(Template(question="Q: {question}\nA: ", step="- {step}\n", answer_prefix="So: "))
    assert says in caught(check_template, template)


def tensors(subject):
    return {"norm": torch.tensor(1.0)}


def unfinished(subject):
    return {"lens": {"norm": float("nan")}}


def restless(subject):
    return {"draw": random.random()}


def harmful(subject):
    with torch.no_grad():
        subject.model.base.lm_head.weight.mul_(2)
    return {"done": True}


@pytest.mark.parametrize(
    ("probe", "says"),
    [
        (tensors, ", norm is Tensor; return plain numbers"),
        (unfinished, ", lens, norm is nan; return None"),
        (restless, "returns other numbers when it measures again"),
        (harmful, "changes the model's weights"),
        (Probe(measure_norms, {"none": lambda result, figure: None}), "draws an empty figure"),
        (lambda subject: 3, "returns int; return a dictionary of numbers"),
    ],
)
def test_probes(probe, says):
    assert says in caught(check_probe, probe)


@pytest.mark.parametrize(
    ("control", "says"),
    [
        (lambda latents, problems, seed: latents, "returns the latents as they were"),
        (lambda latents, problems, seed: latents.mul_(2), "changes the latents it is given"),
        (lambda latents, problems, seed: latents[:, :1], "for latents (6, 3, 8)"),
        (lambda latents, problems, seed: latents.double(), "for latents (6, 3, 8)"),
        (lambda latents, problems, seed: torch.randn_like(latents), "returns other latents for the same seed"),
        (lambda latents, problems, seed: latents / 0, "not finite"),
        (lambda latents: latents, "must be a function (latents, problems, seed)"),
    ],
)
def test_controls(control, says):
    check_control(lambda latents, problems, seed: -latents)
    assert says in caught(check_control, control)
