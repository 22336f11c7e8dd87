"""What an objective may give back, in one line where it cannot be right; what is taken trains."""

import pytest
import torch
from training import make_trainer

from latent_trainer import register_objective
from latent_trainer.data.encoding import View
from latent_trainer.data.lengths import Room
from latent_trainer.errors import InputError, TrainingError
from latent_trainer.methods.curriculum import Plan
from latent_trainer.methods.objectives import OBJECTIVES
from latent_trainer.methods.objectives.answer import AnswerObjective
from latent_trainer.methods.step import Needs

LAST, EXTRA = Needs(hidden_states=("answer",)), Needs(views=("latent", "extra"))


def gives(**own) -> type:
    """Return an objective with methods and needs of its own; a method that is no function returns what stands for it."""
    own = {
        name: one if callable(one) or isinstance(one, Needs) else lambda self, *given, one=one: one
        for name, one in own.items()
    }
    return type("Given", (AnswerObjective,), own)


def answer(step):
    return step.views["latent"].token_loss.sum() / step.counts["latent_tokens"]


def views(more):
    """Return ``make_views`` with the latent view and what ``more`` makes of encoder, row and plan."""
    return lambda self, encoder, row, plan: {"latent": encoder.latent_view(row, plan), **more(encoder, row, plan)}


def extra(*view):
    return views(lambda *given: {"extra": View(*view)})


REFUSED = {
    "no dictionary": (gives(forward=lambda self, step: answer(step)), "returns Tensor; return a dictionary of terms"),
    "no terms": (gives(forward={}), "returns no terms"),
    "a vector": (gives(forward=lambda self, step: {"a": step.views["latent"].token_loss}), "term 'a' is a tensor ("),
    "one entry": (gives(forward=lambda self, step: {"a": answer(step)[None]}), "term 'a' is a tensor (1,)"),
    "a number": (gives(forward={"a": 0.5}), "term 'a' is float"),
    "no gradient": (gives(forward={"a": torch.ones(())}), "no term has a gradient"),
    "count none": (gives(count=None), "count(batch) returns None"),
    "count half": (gives(count={"n": 0.5}), "count(batch) returns {'n': 0.5}; return a dictionary of whole numbers"),
    "count text": (gives(count={"n": "x"}), "return a dictionary of whole numbers"),
    "count nan": (gives(count={"n": float("nan")}), "return a dictionary of whole numbers"),
    "count rows": (gives(count={"rows": 3}), "returns 'rows', which is counted already"),
    "count tokens": (gives(count={"latent_tokens": 3}), "returns 'latent_tokens', which is counted already"),
    "sums number": (
        gives(sums={"n": 3.0}, sums_needs=LAST),
        "sums(step) returns {'n': float}; return a dictionary of tensors",
    ),
    "sums list": (gives(sums=[], sums_needs=LAST), "sums(step) returns list"),
    "no sums": (gives(sums_needs=LAST), "has sums_needs and no sums(self, step)"),
    "sums model": (gives(sums={}, sums_needs=Needs(model=True)), "sums(step) has no model"),
    "no such view": (gives(needs=Needs(views=("latent", "explicti"))), "needs the view 'explicti', and make_views returns"),
    "list of views": (gives(make_views=lambda self, encoder, row, plan: []), "make_views returns list"),
    "too few labels": (gives(make_views=extra([1, 2], [1], 0)), "view 'extra' has 2 input_ids, 1 labels"),
    "no tokens": (gives(make_views=extra([], [], 0), needs=EXTRA), "view 'extra' has 0 input_ids"),
    "no answer": (gives(make_views=extra([1], [1], 1)), "answer_start=1"),
    "steps after the answer": (
        gives(make_views=views(lambda encoder, row, plan: {"extra": View([1, 2], [1, 2], 0, steps_end=1)})),
        "view 'extra' has steps_end=1 and answer_start=0",
    ),
    "latents in another": (
        gives(make_views=views(lambda encoder, row, plan: {"extra": encoder.latent_view(row, plan)}), needs=EXTRA),
        "view 'extra' holds latents; name it first in needs",
    ),
    "views of some rows": (
        gives(make_views=views(lambda encoder, row, plan: {"b": encoder.explicit_view(row)} if row.steps[1:] else {})),
        "make_views returns several sets of views (latent; latent, b)",
    ),
}


@pytest.fixture
def named():
    """Return a function that registers an objective for a test, and gives its name."""

    def name(objective):
        register_objective("given", objective)
        return "given"

    yield name
    if "given" in OBJECTIVES:
        OBJECTIVES.forget("given")


@pytest.mark.parametrize(("objective", "says"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(tmp_path, named, objective, says):
    given = {"curriculum": "fixed", "num_latents": 2, "max_steps": 1, "objective": named(objective)}
    with pytest.raises(InputError) as error:
        make_trainer(tmp_path, **given).train()
    assert says in str(error.value) and str(error.value).startswith("objective 'given'")
    assert len(str(error.value).splitlines()) == 1


def test_what_is_taken(tmp_path, named):
    """Counts as tensors, a view that nobody reads, terms that only some steps have."""

    def forward(self, step):
        some = {"first": 0.1 * answer(step)} if step.counts["rows"] == 8 else {}
        return {"answer": answer(step) * step.counts["n"], **some}

    taken = gives(
        forward=forward, count=lambda self, batch: {"n": batch["rows"].sum()}, make_views=extra([1, 2], [-100, 2], 0)
    )
    trainer = make_trainer(tmp_path, number=12, max_steps=2, objective=named(taken))
    assert trainer.train().global_step == 2


def test_sums_that_nobody_asks_for(named):
    with pytest.raises(InputError, match=r"has sums\(step\), which is asked only with sums_needs"):
        named(gives(sums={}))


def test_needs_in_a_text():
    with pytest.raises(ValueError, match=r"write \('latent',\)"):
        Needs(views="latent")


def test_a_term_with_the_step_decoders_name(tmp_path, named):
    objective = named(gives(forward=lambda self, step: {"steps": answer(step)}))
    with pytest.raises(InputError, match="term 'steps' has the name of the step decoder's"):
        make_trainer(tmp_path, max_steps=1, objective=objective, step_decoder="copy").train()


def test_which_term_is_not_finite(tmp_path, named):
    objective = named(gives(forward=lambda self, step: {"good": answer(step), "bad": answer(step) * float("nan")}))
    with pytest.raises(TrainingError, match=r"the loss is nan at step 1 \(of bad\), problems"):
        make_trainer(tmp_path, max_steps=1, objective=objective).train()


def test_rows_with_more_latents_than_a_prompt(tmp_path):
    """A curriculum may give a row more latents than it gives a prompt; what does not fit then is left out."""
    trainer = make_trainer(tmp_path)
    room = Room(trainer.batches.encoder, max(row.longest for row in trainer.rows) + 2, 2, 6)
    assert room.read(trainer.rows, lambda row: [Plan(2)]) == (trainer.rows, 0)
    kept, dropped = room.read(trainer.rows, lambda row: [Plan(12)])
    assert dropped > 0 and all(len(row.prompt) + 12 < room.context for row in kept)
