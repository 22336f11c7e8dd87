"""LOTUS: losses, terms, gradients and text of the published code, and its spill into the next block, which ours has not."""

import parity
import pytest
import scoring
import torch
from conftest import take_exact_norms
from parity import BOT, EOT, LATENT, cases
from reference import gradients

from latent_trainer import LatentForCausalLM
from latent_trainer.data.collator import LatentCollator
from latent_trainer.data.encoding import EncodedProblem, Encoder, pad_rows
from latent_trainer.data.problem import Problem
from latent_trainer.data.thought_tokens import add_thought_tokens
from latent_trainer.methods.curriculum import StagedCurriculum
from latent_trainer.methods.objectives import build_objective
from latent_trainer.testing.tiny import make_tokenizer

FIXTURES = {
    "lotus.json": [
        "lotus-gpt2-stage1",
        "lotus-llama-stage2",
        "lotus-gpt2-stage2-replace",
        "lotus-gpt2-stage2-spill",
    ],
}
(NAMES,) = FIXTURES.values()
SPILL = "lotus-gpt2-stage2-spill"


def read(name: str) -> dict:
    """Return one case of the fixtures."""
    return parity.read(FIXTURES, name)


def make(case: dict, iterations=None) -> LatentForCausalLM:
    options = {"iterations": iterations or case["iterations"], "injection": case["injection"]}
    if iterations == "stage":
        options["latents_per_step"] = case["c"]
    return parity.make(case, rollout="looped", rollout_options=options)


def make_objective(case: dict):
    options = {"targets": "step_tokens", "weight": case["lambda"], "latents_per_step": case["c"]}
    return build_objective("latent_tokens", options)


def make_encoder() -> Encoder:
    """Return an encoder with the ids of the fixtures."""
    tokenizer = make_tokenizer()
    add_thought_tokens(tokenizer, "<|bot|>", "<|eot|>")
    encoder = Encoder(tokenizer, "coconut")
    encoder.latent, encoder.bot, encoder.eot, encoder.pad = LATENT, BOT, EOT, 0
    return encoder


def batch_of(case: dict, numbers=None) -> dict:
    """Return the training batch of some rows of a case, all of them by default."""
    curriculum, objective, encoder = StagedCurriculum(case["c"], case["stage"]), make_objective(case), make_encoder()
    rows = []
    for number in range(len(case["rows"])) if numbers is None else numbers:
        row = case["rows"][number]
        encoded = EncodedProblem(row["question"], row["steps"], [], row["answer"], Problem("question", [], "0"))
        rows.append((row["question"], objective.make_views(encoder, encoded, curriculum.plan(case["stage"], encoded))))
    return {**LatentCollator(pad_token_id=0)(rows), "rows": torch.ones(len(rows), dtype=torch.bool)}


def compare(case: dict, expected: dict, model, terms: dict[str, torch.Tensor], **tolerance) -> None:
    """Assert that loss, terms and every sum of absolute gradients are those of a fixture."""
    assert terms["answer"].item() == pytest.approx(expected["answer_ce"], rel=0, abs=1e-9)
    assert terms["latents"].item() == pytest.approx(case["lambda"] * expected["latent_ce"], rel=0, abs=1e-9)
    loss = sum(terms.values())
    assert loss.item() == pytest.approx(expected["loss"], rel=0, abs=1e-9)
    grads = gradients(model.base, loss)
    assert grads.keys() == expected["grad_abs_sum"].keys()
    for name, gradient in grads.items():
        found = gradient.abs().sum().item()
        assert found == pytest.approx(expected["grad_abs_sum"][name], **(tolerance or {"rel": 0, "abs": 1e-9})), name


def ours(case: dict) -> dict:
    """Return what a case expects of a loss that does not spill."""
    return case["expected_cut_at_c"] if case["name"] == SPILL else case["expected"]


def test_every_case_is_compared():
    assert [case["name"] for case in cases("lotus.json")] == NAMES


@pytest.mark.parametrize("parts", [[[0, 1]], [[0], [1]]], ids=["together", "accumulated"])
@pytest.mark.parametrize("name", NAMES)
def test_loss_and_gradients(name, parts):
    """Stock Llama norms compute in float32, whose rounding depends on how often a column is computed."""
    case = read(name)
    model = make(case).train()
    terms = scoring.terms_of(model, make_objective(case), [batch_of(case, numbers) for numbers in parts])
    compare(case, ours(case), model, terms, **({"rel": 1e-7} if case["arch"] == "llama" else {}))


def test_llama_with_norms_in_float64(monkeypatch):
    take_exact_norms(monkeypatch)
    case = read("lotus-llama-stage2")
    model = make(case).train()
    terms = scoring.terms_of(model, make_objective(case), [batch_of(case)])
    compare(case, case["expected_float64_norms"], model, terms)


@pytest.mark.parametrize("name", NAMES)
def test_counts(name):
    """Tokens with a slot are those of the fixture; what is cut of long steps is counted, too."""
    case = read(name)
    replaced = [step for row in case["rows"] for step in row["steps"][: case["stage"]]]
    cut = sum(max(0, len(step) - case["c"]) for step in replaced)
    assert make_objective(case).count(batch_of(case)) == {
        "latent_targets": ours(case)["latent_tokens"],
        "cut_targets": cut,
    }
    assert bool(cut) == (name == SPILL)


@pytest.mark.parametrize("iterations", [None, "stage"], ids=["number", "stage"])
@pytest.mark.parametrize("name", NAMES)
def test_greedy_continuations(name, iterations):
    """Nothing is suppressed here, as in the published code. By stage, both rows have the iterations of the fixture."""
    case = read(name)
    model = make(case, iterations).eval()
    model.generation_config.suppress_tokens = None
    prompts = [[*row["question"], BOT, *[LATENT] * (case["stage"] * case["c"]), EOT] for row in case["rows"]]
    batch = pad_rows(prompts, 0, left=True)
    written = model.generate(**batch, max_new_tokens=6, do_sample=False)[:, batch["input_ids"].shape[1] :]
    assert written.tolist() == case["expected"]["greedy_6"]


# ---- the spill ----


def published(case: dict, base, cut: bool) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Return the published loss, the sum of the latents' cross-entropies and what it is divided by.

    Every pass computes everything anew. A step takes as many columns from the first of its block on as it has tokens, so
    that a long one reaches into the next block, or beyond the last column, where its tokens are counted and not scored.
    With ``cut`` no step is longer than a block.
    """
    embed, size, thought = base.get_input_embeddings(), case["c"], case["stage"] * case["c"]
    answer, latents, written, counted = 0.0, 0.0, 0, 0
    for row in case["rows"]:
        rest = [token for step in row["steps"][case["stage"] :] for token in step] + row["answer"]
        start = len(row["question"])
        before, placeholder = embed(torch.tensor([[*row["question"], BOT]])), embed(torch.tensor([[LATENT] * thought]))
        after, block = embed(torch.tensor([[EOT, *rest]])), placeholder
        for _ in range(case["iterations"]):
            hidden = base.base_model(inputs_embeds=torch.cat([before, block], 1), use_cache=False).last_hidden_state
            block = placeholder + hidden[:, start + 1 :]
        logits = base(inputs_embeds=torch.cat([before, block, after], 1), use_cache=False).logits[0]
        region = logits[start : start + 1 + thought]
        for number, step in enumerate(row["steps"][: case["stage"]]):
            step = step[:size] if cut else step
            scored = region[number * size : number * size + len(step)]
            target = torch.tensor(step[: len(scored)])
            latents = latents + torch.nn.functional.cross_entropy(scored, target, reduction="sum")
            counted += len(step)
        target = torch.tensor(rest)
        answer = answer + torch.nn.functional.cross_entropy(logits[-len(rest) - 1 : -1], target, reduction="sum")
        written += len(rest)
    return answer / written + case["lambda"] * latents / counted, latents, counted


@pytest.mark.parametrize("cut", [False, True], ids=["spills", "cut"])
def test_the_published_spill_is_the_only_difference(cut):
    """Written plainly, the published loss is that of the fixture with and without the spill; ours is the latter's."""
    case = read(SPILL)
    expected = case["expected_cut_at_c" if cut else "expected"]
    base = make(case).base
    loss, latents, counted = published(case, base, cut)
    assert loss.item() == pytest.approx(expected["loss"], rel=0, abs=1e-9)
    assert latents.item() == pytest.approx(expected["latent_ce_sum"], rel=0, abs=1e-9)
    assert counted == expected["latent_tokens"]
    grads = gradients(base, loss)
    for name, value in expected["grad_abs_sum"].items():
        assert grads[name].abs().sum().item() == pytest.approx(value, rel=0, abs=1e-9), name
    model = make(case).train()
    terms = scoring.terms_of(model, make_objective(case), [batch_of(case)])
    assert (abs(sum(terms.values()).item() - loss.item()) < 1e-9) == cut
