"""CoLaR: losses, terms, gradients and greedy continuations of the published implementation, in float64.

The published padding leaves empty columns in some rows. Ours has none, so that the entries that hang on one are left out.
"""

import parity
import pytest
import torch
from reference import gradients
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from latent_trainer.data import EncodedProblem, Encoder, LatentCollator, Template
from latent_trainer.data.encoding import pad_rows
from latent_trainer.data.problem import Problem
from latent_trainer.methods.curriculum import EVERYTHING, Compression, Plan
from latent_trainer.methods.objectives.compression import CompressionObjective, CompressionOptions
from latent_trainer.methods.step import make_step

LATENT, SEPARATOR, END = 96, 98, 97  # the placeholder is ours; the separator begins and ends a thought
NAMES = ["colar-gpt2-r1", "colar-llama-r2", "colar-gpt2-r3", "colar-gpt2-r2-empty-columns"]
WHOLE = NAMES[:3]
KINDS = {"expected": ("mse", True), "expected_zero_noise": ("mse", False), "expected_nll": ("nll", False)}


def read(name: str) -> dict:
    return parity.read({"colar.json": NAMES}, name)


class GivenNoise(CompressionObjective):
    """The fixture's noise instead of one drawn at random."""

    def noise(self, step, groups, size):
        places = (torch.arange(number, dtype=torch.float64) for number in (*groups.shape, size))
        row, group, number = torch.meshgrid(*places, indexing="ij")
        return torch.cos(0.4 + 1.3 * row + 0.7 * group + 0.31 * number)


class NoNoise(CompressionObjective):
    """No noise, as in evaluation."""

    def noise(self, step, groups, size):
        return torch.zeros(*groups.shape, size)


def make(case: dict):
    """Return the latent model of a case, its feedback the published head."""
    ids = {"latent_token_id": LATENT, "bot_token_id": SEPARATOR, "eot_token_id": SEPARATOR}
    options = {"size": 48, "embeds_std": case["embeds_std"]}
    return parity.make(case, ids, feedback="gaussian", feedback_options=options)


def make_encoder() -> Encoder:
    """Return the encoder of the fixture's vocabulary, whose tokens have numbers for names."""
    vocabulary = {f"t{number}": number for number in range(100) if number not in (LATENT, SEPARATOR, END)}
    vocabulary |= {"<|latent|>": LATENT, "###": SEPARATOR, "<|end|>": END}
    words = Tokenizer(WordLevel(vocabulary, unk_token="t0"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<|end|>")
    template = Template(bot="###", eot="###", answer_prefix="", remaining_steps="inside")
    return Encoder(tokenizer, template)


def encoded(row: dict) -> EncodedProblem:
    """Return a row of the fixture as the encoder would."""
    return EncodedProblem(row["question"], [row["steps"]], [], row["answer"], Problem("?", (), "!"))


def batch_of(case: dict) -> dict:
    """Return the batch of a case, with the labels that the published code drew."""
    encoder, rows = make_encoder(), []
    for row in case["rows"]:
        chosen = [group.index(label) for group, label in zip(row["groups"], row["labels"], strict=True)][1:]
        plan = Plan(len(chosen), EVERYTHING, compression=Compression(case["r"], tuple(chosen), case["sqrt_mean"]))
        view = encoder.latent_view(encoded(row), plan)
        assert [list(group.token_ids) for group in view.groups] == row["groups"]
        assert view.labels == [*row["labels"], SEPARATOR, *row["answer"]]
        rows.append((row["question"], {"latent": view}))
    return LatentCollator(pad_token_id=99)(rows)


def run(case: dict, kind: str):
    """Return the model, its outputs, the terms, and the distances of every group."""
    loss, noisy = KINDS[kind]
    model = make(case).train()
    model.objective = objective = (GivenNoise if noisy else NoNoise)(CompressionOptions(embedding_loss=loss), model.config)
    batch = batch_of(case)
    batch |= {"rows": torch.ones(len(case["rows"]), dtype=torch.bool), "seeds": None}
    labels = batch["views"]["latent"]["labels"]
    counts = {"rows": len(case["rows"]), "latent_tokens": int((labels != -100).sum()), **objective.count(batch)}
    scored = {"rows": batch["rows"], "seeds": None, "counts": counts, "sums": {}}
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "views")}
    outputs = model(**inputs, needs=objective.needs, scored=scored)
    step = make_step(outputs, batch, counts, model=model)
    return model, outputs, outputs["terms"], objective.distances(step)


def by_row(outputs, batch) -> list[list[float]]:
    counts = (batch["views"]["latent"]["labels"] != -100).sum(1).tolist()
    return [losses.tolist() for losses in outputs["latent"].token_loss.split(counts)]


def compare(case: dict, kind: str, expected: dict):
    """Assert every number of a fixture."""
    model, _, terms, _ = run(case, kind)
    assert terms["answer"].item() == pytest.approx(expected["ce"], rel=0, abs=1e-9)
    assert terms["embedding"].item() == pytest.approx(expected["embed"], rel=0, abs=1e-9)
    loss = sum(terms.values())
    assert loss.item() == pytest.approx(expected["loss"], rel=0, abs=1e-9)
    head = dict(model.feedback.named_parameters())
    found = gradients(model, loss)
    for names, kind_of in ((expected["grad_abs_sum"], "base."), (expected["head_grad_abs_sum"], "feedback.")):
        for name, value in names.items():
            assert found[kind_of + name].abs().sum().item() == pytest.approx(value, rel=1e-9, abs=1e-9), name
    assert set(expected["head_grad_abs_sum"]) == set(head)


def test_every_case_is_compared():
    assert [case["name"] for case in parity.cases("colar.json")] == NAMES


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", WHOLE)
def test_losses_and_gradients(name, kind):
    case = read(name)
    compare(case, kind, case[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_with_norms_in_float64(kind, exact_norms):
    case = read("colar-llama-r2")
    compare(case, kind, case[f"{kind}_float64_norms"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_terms_one_by_one(name, kind):
    """Also of the rows with empty columns, without the entries that hang on one."""
    case = read(name)
    _, outputs, _, distances = run(case, kind)
    labels, groups = (case.get(name) or [[]] * len(case["rows"]) for name in ("artefact_labels", "artefact_groups"))
    found = {"ce_by_label": by_row(outputs, batch_of(case)), "embed_by_group": distances.tolist()}
    for entry, left_out in (("ce_by_label", labels), ("embed_by_group", groups)):
        for own, expected, leave in zip(found[entry], case[kind][entry], left_out, strict=True):
            kept = [place for place in range(len(expected)) if place not in leave]
            assert len(own) >= len(expected) and len(kept) >= len(expected) - 1
            assert [own[place] for place in kept] == pytest.approx([expected[place] for place in kept], rel=0, abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_greedy_continuations(name):
    """Three latents, each the mean of the head, then the separator; nothing is suppressed, as in the published code."""
    case = read(name)
    model = make(case).eval()
    model.generation_config.suppress_tokens = None
    model.generation_config.eos_token_id = None
    prompts = [[*row["question"], SEPARATOR, *[LATENT] * 3, SEPARATOR] for row in case["rows"]]
    batch = pad_rows(prompts, 99, left=True)
    written = model.generate(**batch, max_new_tokens=6, do_sample=False)[:, batch["input_ids"].shape[1] :].tolist()
    assert written == case["expected"]["greedy_6"]
