"""Every objective: terms are shares of a global sum, fillers have none; self-distillation against a plain version."""

import itertools

import pytest
import torch
from conftest import make_latent, sharpen
from reference import assert_close, gradients
from scoring import terms_of
from test_rollout import record_passes
from training import batch_of, make_trainer, uneven_problems

from latent_trainer import LatentForCausalLM
from latent_trainer.data.collator import LatentCollator
from latent_trainer.data.encoding import View
from latent_trainer.errors import InputError
from latent_trainer.methods.objectives import OBJECTIVES, build_objective
from latent_trainer.methods.step import make_step
from latent_trainer.model.views import ViewOutput

CASES = {
    "answer": {},
    "self_distillation": {},
    "self_distillation codi": {"factor": 20.0, "drop_last_step": True},
    "self_distillation pccot": {"embedding_layer": False},
    "self_distillation plain": {"normalise": False, "distance": "l2", "teacher_weight": 0.0},
    "self_distillation l2": {"distance": "l2", "factor": 0.5, "teacher_weight": 0.25},
    "kv_distillation": {"importance": 0.5},
    "kv_distillation random": {"eviction": "random", "kv_distance": "mse", "normalise": False},
}
DISTILLATIONS = [case for case in CASES if case.startswith("self_distillation")]
# They call the model, and put more into a batch: tests/test_latent_tokens.py, tests/test_compression.py.
ELSEWHERE = {"latent_tokens", "compression"}


def make_objective(case: str):
    return build_objective(case.split()[0], CASES[case])


def row(number: int, scored: bool = True):
    """Return a row with its own number of latents, step tokens and answer tokens."""
    prompt = list(range(5, 6 + number % 3))
    thought = [98, *[97] * (number % 4), 99]
    steps, answer = list(range(30, 31 + number % 5)), list(range(60 + number, 62 + number + number % 2))
    views = {}
    for name, given, written in (("latent", thought, answer), ("explicit", [], steps + answer)):
        ids = given + written
        labels = [-100] * len(given) + written if scored else [-100] * len(ids)
        views[name] = View(ids, labels, len(ids) - len(answer))
    return prompt, views


def make_batch(objective, rows: list, fillers: int = 0) -> dict:
    rows = rows + [row(number, scored=False) for number in range(fillers)]
    rows = [(prompt, {name: views[name] for name in objective.needs.views}) for prompt, views in rows]
    scored = [True] * (len(rows) - fillers) + [False] * fillers
    return {**LatentCollator(pad_token_id=0)(rows), "rows": torch.tensor(scored)}


def make() -> LatentForCausalLM:
    return sharpen(make_latent()).train()


ROWS = [row(number) for number in range(6)]


def test_every_objective_has_a_case():
    assert {case.split()[0] for case in CASES} | ELSEWHERE == set(OBJECTIVES)


@pytest.mark.parametrize("case", CASES)
def test_interface(case):
    """What the trainer reads: the view with latents first, and sums over a view that the batch has."""
    objective = make_objective(case)
    assert objective.needs.views[0] == "latent"
    assert objective.sums_needs is None or set(objective.sums_needs.views) <= set(objective.needs.views)
    assert not objective.in_model and not objective.has_longer_views
    terms = terms_of(make(), objective, [make_batch(objective, ROWS)])
    assert terms and all(term.ndim == 0 and term.isfinite() for term in terms.values())


@pytest.mark.parametrize("parts", [[3, 3], [1, 4, 1], [1] * 6], ids=str)
@pytest.mark.parametrize("case", CASES)
def test_micro_batches_add_up(case, parts):
    """However a batch is split, terms and gradients add up to those of the whole."""
    objective, model = make_objective(case), make()
    whole = terms_of(model, objective, [make_batch(objective, ROWS)])
    starts = [sum(parts[:index]) for index in range(len(parts))]
    pieces = [ROWS[start : start + size] for start, size in zip(starts, parts, strict=True)]
    split = terms_of(model, objective, [make_batch(objective, piece) for piece in pieces])
    assert_close(split, whole)
    ours, expected = (sum(weight * term for weight, term in enumerate(terms.values(), 1)) for terms in (split, whole))
    assert_close(gradients(model, ours), gradients(model, expected))


@pytest.mark.parametrize("case", CASES)
def test_fillers_change_nothing(case):
    """Rows that only make a batch whole have no part in terms, counts or statistics."""
    objective, model = make_objective(case), make()
    whole = terms_of(model, objective, [make_batch(objective, ROWS)])
    expected = gradients(model, sum(whole.values()))
    filled = terms_of(model, objective, [make_batch(objective, ROWS, fillers=3)])
    assert_close(filled, whole)
    assert_close(gradients(model, sum(filled.values())), expected)
    alone = [make_batch(objective, ROWS), make_batch(objective, [], fillers=2)]  # a micro-batch of nothing else
    filled = terms_of(model, objective, alone)
    assert_close(filled, whole)
    assert_close(gradients(model, sum(filled.values())), expected)


def test_answer_is_the_mean_over_labelled_tokens():
    objective, losses = build_objective("answer"), torch.tensor([1.0, 2.0, 6.0])
    outputs = {"latent": ViewOutput(token_loss=losses)}
    assert objective(make_step(outputs, {}, {"latent_tokens": 6})) == {"answer": torch.tensor(1.5)}


# ---- self-distillation ----


def random_outputs(rows: int = 5, layers: int = 3, hidden: int = 8) -> dict[str, ViewOutput]:
    """Return outputs of both views as no model made them, with gradients to everything in them."""
    torch.manual_seed(0)
    outputs = {}
    for name, tokens in (("latent", 7), ("explicit", 11)):
        states = [3 * torch.randn(rows, hidden, dtype=torch.float64) for _ in range(layers)]
        outputs[name] = ViewOutput(
            token_loss=torch.rand(tokens, dtype=torch.float64).requires_grad_(),
            hidden_states={"answer": tuple(state.requires_grad_() for state in states)},
        )
    return outputs


def naive_distillation(outputs, distance="smooth_l1", embedding_layer=True, normalise=True):
    """One layer after the other, with the library's unbiased standard deviation."""
    losses = []
    layers = (outputs[name].hidden_states["answer"] for name in ("latent", "explicit"))
    for student, teacher in zip(*layers, strict=True):
        difference = (student - teacher.detach()).abs()
        square = difference.pow(2)
        loss = square if distance == "l2" else torch.where(difference < 1, 0.5 * square, difference - 0.5)
        losses.append(loss.mean() / (torch.std(teacher.detach()) if normalise else 1.0))
    losses = losses if embedding_layer else losses[1:]
    return sum(losses) / len(losses)


@pytest.mark.parametrize("distance", ["smooth_l1", "l2"])
@pytest.mark.parametrize("embedding_layer", [True, False])
@pytest.mark.parametrize("normalise", [True, False])
def test_self_distillation_equals_the_plain_version(distance, embedding_layer, normalise):
    options = {"distance": distance, "embedding_layer": embedding_layer, "normalise": normalise}
    objective = build_objective("self_distillation", {"factor": 3.0, "teacher_weight": 0.5, **options})
    outputs, batch = random_outputs(), {"rows": torch.ones(5, dtype=torch.bool)}
    counts = {"rows": 5, "latent_tokens": 7, "explicit_tokens": 11}
    assert (objective.sums_needs is not None) == normalise
    step = make_step(outputs, batch, counts)
    if normalise:
        step.sums = objective.sums(step)
    terms = objective(step)
    expected = {
        "student": outputs["latent"].token_loss.mean(),
        "teacher": 0.5 * outputs["explicit"].token_loss.mean(),
        "distill": 3.0 * naive_distillation(outputs, **options),
    }
    assert_close(terms, expected)
    assert all(term > 0 for term in terms.values())
    leaves = [outputs["latent"].token_loss, outputs["explicit"].token_loss, *outputs["latent"].hidden_states["answer"]]
    for ours, plain in zip(*(_gradients_of(sum(one.values()), leaves) for one in (terms, expected)), strict=True):
        assert_close(ours, plain)


def _gradients_of(loss, leaves):
    grads = torch.autograd.grad(loss, leaves, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(leaf) if grad is None else grad for leaf, grad in zip(leaves, grads, strict=True)]


@pytest.mark.parametrize("case", DISTILLATIONS)
def test_the_teacher_learns_from_its_tokens_only(case):
    """The distance moves the student alone; the first layer counts unless it is left out."""
    objective, outputs, batch = make_objective(case), random_outputs(), {"rows": torch.ones(5, dtype=torch.bool)}
    step = make_step(outputs, batch, {"rows": 5, "latent_tokens": 7, "explicit_tokens": 11})
    if objective.options.normalise:
        step.sums = objective.sums(step)
    sum(objective(step).values()).backward()
    assert all(layer.grad is None for layer in outputs["explicit"].hidden_states["answer"])
    moved = [layer.grad is not None and bool(layer.grad.any()) for layer in outputs["latent"].hidden_states["answer"]]
    assert moved == [CASES[case].get("embedding_layer", True), True, True]
    assert bool(outputs["explicit"].token_loss.grad.any()) == (CASES[case].get("teacher_weight", 1.0) > 0)


def test_a_single_row_has_a_deviation():
    """Over the units of one row, as the published code takes it for a batch of one."""
    objective, outputs, batch = make_objective("self_distillation"), random_outputs(rows=1), {"rows": torch.tensor([True])}
    step = make_step(outputs, batch, {"rows": 1, "latent_tokens": 7, "explicit_tokens": 11})
    step.sums = objective.sums(step)
    assert_close(objective(step)["distill"], naive_distillation(outputs))


def test_drop_last_step(tmp_path):
    """The teacher of CODI reads every step but the last; rows with one step have none left."""
    for drop in (False, True):
        options = {"drop_last_step": drop}
        trainer = make_trainer(tmp_path, method="codi", objective_options=options, latents_per_step=None, max_stage=None)
        for encoded in trainer.rows:
            view = trainer.batches.views(encoded, trainer.batches.plan(encoded, 0))["explicit"]
            steps = encoded.steps[:-1] if drop else encoded.steps
            assert view.input_ids == [*itertools.chain(*steps), *encoded.answer_prefix, *encoded.answer]
            assert view.labels == view.input_ids
            assert view.input_ids[view.answer_start :] == encoded.answer
    assert {len(encoded.steps) for encoded in trainer.rows} == {1, 2, 3, 4}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"distance": "l3"}, "distance='l3' is not one of smooth_l1, l2"),
        ({"factor": -1.0}, "factor=-1.0"),
        ({"teacher_weight": -0.5}, "teacher_weight=-0.5"),
    ],
)
def test_options_are_checked(options, says):
    with pytest.raises(InputError, match=says):
        build_objective("self_distillation", options)


# ---- the work of a step ----


def widths(trainer) -> tuple[int, int, int]:
    """Return the columns read of the prompt, the latent and the explicit view of all rows in one batch."""
    batch = batch_of(trainer, list(range(len(trainer.rows))))
    views = (batch["views"][name]["input_ids"] for name in ("latent", "explicit"))
    return batch["input_ids"].shape[1], *(ids.shape[1] - 1 for ids in views)  # the last predicts nothing


@pytest.mark.parametrize(("method", "passes_of_the_student"), [("codi", 6 + 1), ("pccot", 3 + 1)])
def test_the_question_is_encoded_once(tmp_path, method, passes_of_the_student):
    """Student and teacher share one encoding of the prompt; the head runs on labelled positions only."""
    preset = {"method": method, "latents_per_step": None, "max_stage": None}
    trainer = make_trainer(tmp_path, number=8, max_steps=1, **preset)
    prompt, student, teacher = widths(trainer)
    passes = record_passes(trainer.model)
    trainer.train()
    assert len(passes) == passes_of_the_student  # the teacher's columns are read beside the first of them
    assert passes[0]["positions"] > prompt + teacher and all(one["gradient"] for one in passes)
    assert all(one["cached"] >= prompt for one in passes[1:])
    if method == "codi":
        assert sum(one["positions"] for one in passes) == prompt + student + teacher
    else:  # the latents are read once more in pass 0 and in each iteration but the last
        iterations, latents = trainer.args.rollout_options["iterations"], trainer.args.num_latents
        again = iterations * latents - iterations * (iterations + 1) // 2  # a pass reads no column that is known
        assert sum(one["positions"] for one in passes) == prompt + student + teacher + again


def test_the_work_of_sums(tmp_path):
    """A term that depends on batches to come costs one pass without gradient over prompt and teacher, and only then."""
    changes = {"number": 8, "max_steps": 1, "objective": "self_distillation", "first_stage": 3}
    changes |= {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    trainer = make_trainer(tmp_path / "normalised", **changes)
    batches = [batch_of(trainer, list(rows)) for rows in (range(4), range(4, 8))]
    passes = record_passes(trainer.model)
    trainer.args.train_sampling_strategy = "sequential"
    trainer.train()
    before = [one["positions"] for one in passes if not one["gradient"]]
    widths = [batch["input_ids"].shape[1] + batch["views"]["explicit"]["input_ids"].shape[1] for batch in batches]
    assert before == [width - 1 for width in widths]  # the last column predicts nothing
    plain = make_trainer(tmp_path / "plain", objective_options={"normalise": False}, **changes)
    passes = record_passes(plain.model)
    plain.train()
    assert passes and all(one["gradient"] for one in passes)


@pytest.mark.parametrize("case", CASES)
def test_evaluation_loss_does_not_depend_on_the_batch(tmp_path, case):
    losses = []
    for size in (1, 4, 9):
        changes = {"objective": case.split()[0], "objective_options": CASES[case], "generate_in_eval": False}
        trainer = make_trainer(tmp_path, dtype=torch.float64, per_device_eval_batch_size=size, first_stage=3, **changes)
        losses.append(trainer.evaluate(uneven_problems(9))["eval_loss"])
    assert losses[1:] == pytest.approx([losses[0]] * 2, rel=1e-6)
