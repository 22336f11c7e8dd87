"""Self-distillation, sequential (CODI) and by Jacobi iterations (PCCoT): the published losses, terms and gradients."""

import parity
import pytest
import scoring
import torch
from parity import BOT, EOT, LATENT, cases
from reference import gradients

from latent_trainer import LatentForCausalLM
from latent_trainer.data.collator import LatentCollator
from latent_trainer.data.encoding import View
from latent_trainer.methods.objectives import build_objective

FIXTURES = {
    "codi.json": ["codi-gpt2", "codi-gpt2-noprojection", "codi-gpt2-x20"],
    "pccot.json": ["pccot-gpt2", "pccot-gpt2-projection"],
}
CODI, PCCOT = FIXTURES.values()
# names of the published projections, in the order of ours: Linear, Linear, LayerNorm
PROJECTIONS = {"codi": ["1", "3", "ln"], "pccot": ["prj.0", "prj.2", "prj.3"]}
TERMS = {"student": "student_ce", "teacher": "teacher_ce", "distill": "distill"}


def make(case: dict) -> LatentForCausalLM:
    options = {}
    if case["projection"] is not None:
        inner = {"codi": 48, "pccot": 32}[case["method"]]
        assert f"Linear(32,{inner})-GELU-Linear({inner},32)-LayerNorm(32)" in case["projection"]["layers"]
        options = {"feedback": "projection", "feedback_options": {"size": inner}}
    if case["method"] == "pccot":
        options |= {"rollout": "jacobi", "rollout_options": {"iterations": case["iterations"]}}
    return parity.make(case, **options).train()


def batch_of(case: dict, numbers=None) -> dict:
    """Return the training batch of some rows of a case, all of them by default."""
    given = [BOT, *[LATENT] * case["num_latents"], EOT]
    rows = []
    for row in case["rows"]:
        written, steps = case["answer_prefix"] + row["answer"], row["cot"]
        views = {
            "latent": View(given + written, [-100] * len(given) + written, len(given) + len(case["answer_prefix"])),
            "explicit": View(steps + written, steps + written, len(steps) + len(case["answer_prefix"])),
        }
        rows.append((row["question"], views))
    rows = rows if numbers is None else [rows[number] for number in numbers]
    return {**LatentCollator(pad_token_id=0)(rows), "rows": torch.ones(len(rows), dtype=torch.bool)}


def terms_of(model, case: dict, batches: list[dict]) -> dict[str, torch.Tensor]:
    """Return the objective's terms added up over micro-batches."""
    options = {"factor": case.get("distill_factor", 1.0), "embedding_layer": case["method"] == "codi"}
    return scoring.terms_of(model, build_objective("self_distillation", options), batches)


def compare(case: dict, model, terms: dict[str, torch.Tensor]) -> None:
    """Assert that loss, terms and every sum of absolute gradients are those of the fixture.

    The published PCCoT takes its cross-entropies in float32, so what they enter is equal to a millionth only.
    """
    expected = case["expected"]
    exact = case["method"] == "codi"
    near = {"rel": 0, "abs": 1e-9 if exact else 1e-6}
    loss = sum(terms.values())
    assert terms.keys() == TERMS.keys()
    for name, published in TERMS.items():
        limits = {"rel": 0, "abs": 1e-9} if name == "distill" else near
        assert terms[name].item() == pytest.approx(expected[published], **limits), name
    assert loss.item() == pytest.approx(expected["loss"], **near)

    found = gradients(model.base, loss)
    sums = dict(expected["grad_abs_sum"])
    if case["projection"] is not None:
        layers = PROJECTIONS[case["method"]]
        ours = [name for name, _ in model.feedback.projection.named_parameters()]
        theirs = [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]
        named = dict(zip(ours, theirs, strict=True))
        found |= {named[name]: parameter.grad for name, parameter in model.feedback.projection.named_parameters()}
        sums |= expected.get("projection_grad_abs_sum") or {}
    assert found.keys() == sums.keys()
    for name, gradient in found.items():
        value = sums[name]
        limits = {"rel": 0, "abs": 1e-9} if exact else {"rel": 1e-6, "abs": 0}
        assert gradient.abs().sum().item() == pytest.approx(value, **limits), name


def test_every_case_is_compared():
    for file, names in FIXTURES.items():
        assert [case["name"] for case in cases(file)] == names


@pytest.mark.parametrize("name", CODI + PCCOT)
def test_loss_terms_and_gradients(name):
    case = parity.read(FIXTURES, name)
    model = make(case)
    compare(case, model, terms_of(model, case, [batch_of(case)]))


@pytest.mark.parametrize("name", CODI + PCCOT)
def test_one_row_at_a_time(name):
    """Micro-batches of one row with the global counts and statistics give the same published numbers."""
    case = parity.read(FIXTURES, name)
    model = make(case)
    assert len(case["rows"]) > 1
    compare(case, model, terms_of(model, case, [batch_of(case, [number]) for number in range(len(case["rows"]))]))


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [("codi-gpt2", "rollout", "jacobi"), ("pccot-gpt2", "iterations", 2), ("pccot-gpt2", "iterations", 4)],
)
def test_other_settings_miss_the_published_loss(name, option, value):
    """The fixtures tell rollouts and numbers of iterations apart."""
    case = parity.read(FIXTURES, name)
    model = make(case)
    if option == "rollout":
        model.config.rollout, model.config.rollout_options = value, {"iterations": 2}
    else:
        model.config.rollout_options = {option: value}
    loss = sum(terms_of(model, case, [batch_of(case)]).values()).item()
    assert abs(loss - case["expected"]["loss"]) > 1e-5
