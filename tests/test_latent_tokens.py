"""The head on the latents against a plain version: values, gradients, what is counted, what is refused."""

import itertools

import pytest
import scoring
import torch
from conftest import make_latent, sharpen
from reference import assert_close, latent_columns, naive_embeds
from test_parity_lotus import make_encoder
from training import batch_of, history, make_trainer, uneven_problems

from latent_trainer.data.collator import LatentCollator
from latent_trainer.data.encoding import IGNORED, EncodedProblem, View
from latent_trainer.data.problem import Problem
from latent_trainer.errors import InputError
from latent_trainer.methods.curriculum import EVERYTHING, Plan
from latent_trainer.methods.objectives import build_objective
from latent_trainer.model import heads
from latent_trainer.training.batches import columns

SLOTS = 3
# prompt, steps, answer, latents: a long step, a short one, none, more tokens than latents, fewer, the same token twice
ROWS = [
    ([5, 6, 7], [[20, 21, 22, 23, 24], [25, 26]], [40, 0], 6),
    ([8], [[30, 31]], [41, 42, 0], 3),
    ([9, 10], [], [43, 0], 3),
    ([11, 12, 13, 14], [[50, 51, 50], [50, 50, 52], [53]], [44, 0], 4),
    ([15, 16], [[60], [61]], [45, 0], 6),
    ([17], [[70, 71, 72, 70, 73, 74, 70, 75]], [46, 47, 0], 1),
    ([18, 19], [[80, 81]], [48, 0], 0),
]
OPTIONS = {
    "step tokens": {"targets": "step_tokens", "latents_per_step": SLOTS, "weight": 0.3},
    "superposed": {"targets": "superposed", "weight": 0.7},
    "superposed, other": {"targets": "superposed", "rho": 0.6, "temperature": 2.5},
    "superposed, even": {"targets": "superposed", "rho": 1.0, "temperature": 0.5},
}
SUPERPOSED = [name for name in OPTIONS if name.startswith("superposed")]


def batch_for(objective, numbers, fillers: int = 0) -> dict:
    """Return a batch of some of ``ROWS``, all steps replaced, with rows that only fill it up."""
    encoder, rows = make_encoder(), []
    for place, number in enumerate([*numbers, *[0] * fillers]):
        prompt, steps, answer, latents = ROWS[number]
        encoded = EncodedProblem(prompt, steps, [], answer, Problem("question", [], "0"))
        views = objective.make_views(encoder, encoded, Plan(latents, EVERYTHING))
        if place >= len(numbers):
            views = {name: View(view.input_ids, [IGNORED] * len(view.labels), 0) for name, view in views.items()}
        rows.append((prompt, views))
    scored = [True] * len(numbers) + [False] * fillers
    return {**LatentCollator(pad_token_id=0)(rows), "rows": torch.tensor(scored)}


def make(architecture="gpt2", **options):
    return sharpen(make_latent(architecture, **options)).train()


def naive_targets(name: str, steps, latents: int) -> list[dict[int, float]]:
    """Return for each latent the distribution it is to predict, token -> weight; empty where it has none."""
    options = OPTIONS[name]
    if options["targets"] == "step_tokens":
        targets = [{} for _ in range(latents)]
        for number, step in enumerate(steps):
            for place, token in enumerate(step[:SLOTS]):
                if number * SLOTS + place < latents:
                    targets[number * SLOTS + place] = {token: 1.0}
        return targets
    trace = torch.tensor([*itertools.chain(*steps)], dtype=torch.long)
    spans = torch.tensor_split(trace, min(latents, len(trace))) if min(latents, len(trace)) else ()
    targets = []
    for span in spans:
        weights = [options.get("rho", 0.9) ** place for place in range(len(span))]
        target = {}
        for token, weight in zip(span.tolist(), weights, strict=True):
            target[token] = target.get(token, 0.0) + weight / sum(weights)
        targets.append(target)
    return targets + [{}] * (latents - len(targets))


def naive_terms(model, name: str, numbers) -> dict[str, torch.Tensor]:
    """Return both terms, row after row and latent after latent, without cache, batch or padding."""
    options, base = OPTIONS[name], model.base
    answer, latents, written, counted = 0.0, 0.0, 0, 0
    for prompt, steps, reply, number in (ROWS[number] for number in numbers):
        ids = [*prompt, 98, *[97] * number, 99, *reply]
        logits = base(inputs_embeds=naive_embeds(base, ids, latent_columns(ids)), use_cache=False).logits[0]
        for place, target in enumerate(naive_targets(name, steps, number)):
            log_probs = (logits[len(prompt) + place] / options.get("temperature", 1.0)).log_softmax(-1)
            latents = latents + sum(
                q * (torch.tensor(q, dtype=torch.float64).log() - log_probs[v]) for v, q in target.items()
            )
            counted += bool(target)
        labels = torch.tensor(reply)
        answer = answer + torch.nn.functional.cross_entropy(logits[-len(reply) - 1 : -1], labels, reduction="sum")
        written += len(reply)
    zero = torch.zeros((), dtype=torch.float64)
    return {"answer": answer / written, "latents": options.get("weight", 1.0) * latents / max(counted, 1) + zero}


def assert_same(model, found, expected) -> None:
    """Assert that terms are the same, and the gradients of each."""
    assert_close(found, expected)
    for term in (name for name, value in expected.items() if value.requires_grad):
        for ours, plain in zip(*(_gradients(model, terms[term]) for terms in (found, expected)), strict=True):
            assert_close(ours, plain)


def _gradients(model, term) -> list[torch.Tensor]:
    weights = [*model.parameters()]
    grads = torch.autograd.grad(term, weights, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(weight) if grad is None else grad for weight, grad in zip(weights, grads, strict=True)]


ALL = [*range(len(ROWS))]


@pytest.mark.parametrize("numbers", [ALL, [0], [2], [5], [6], [2, 6]], ids=str)
@pytest.mark.parametrize("name", OPTIONS)
def test_equals_the_plain_version(name, numbers):
    """Ragged rows, none with steps, steps longer than their slots, K = 1, no latents at all."""
    model, objective = make(), build_objective("latent_tokens", OPTIONS[name])
    assert_same(
        model, scoring.terms_of(model, objective, [batch_for(objective, numbers)]), naive_terms(model, name, numbers)
    )


@pytest.mark.parametrize("parts", [[[0, 1, 2], [3, 4, 5, 6]], [[number] for number in ALL]], ids=["two", "single rows"])
@pytest.mark.parametrize("name", OPTIONS)
def test_micro_batches_and_fillers(name, parts):
    """However a step is split and filled up, its terms and gradients are those of the plain version."""
    model, objective = make(), build_objective("latent_tokens", OPTIONS[name])
    batches = [batch_for(objective, part, fillers) for fillers, part in enumerate(parts)]
    assert_same(model, scoring.terms_of(model, objective, batches), naive_terms(model, name, ALL))


@pytest.mark.parametrize("change", ["plain passes", "chunks", "checkpoints"])
@pytest.mark.parametrize("name", ["step tokens", "superposed"])
def test_other_ways_to_the_same(name, change, monkeypatch):
    model, objective = make(), build_objective("latent_tokens", OPTIONS[name])
    if change == "plain passes":
        model.fast = False
    elif change == "chunks":
        monkeypatch.setattr(heads, "LOGITS", 300)  # three rows of a hundred tokens
    else:
        model.gradient_checkpointing_enable()
    assert_same(model, scoring.terms_of(model, objective, [batch_for(objective, ALL)]), naive_terms(model, name, ALL))


@pytest.mark.parametrize("architecture", ["llama", "gemma"])
@pytest.mark.parametrize("name", ["step tokens", "superposed"])
def test_heads_of_their_own(name, architecture, exact_norms):
    """An untied head, and one whose logits are capped: the same head that written tokens are scored with."""
    model, objective = make(architecture), build_objective("latent_tokens", OPTIONS[name])
    found = scoring.terms_of(model, objective, [batch_for(objective, [0, 3])])
    if architecture == "llama":
        assert_same(model, found, naive_terms(model, name, [0, 3]))
    model.base.config.final_logit_softcapping = 0.5
    capped = scoring.terms_of(model, objective, [batch_for(objective, [0, 3])])
    assert (capped["latents"] - found["latents"]).abs() > 1e-3


@pytest.mark.parametrize(
    ("name", "targets", "cut"),
    [("step tokens", 3 + 2 + 2 + 0 + 3 + 1 + 1 + 1 + 1, 2 + 2 + 1 + 7 + 2), ("superposed", 6 + 2 + 4 + 2 + 1, 2)],
)
def test_counts(name, targets, cut):
    """Rows that fill up a batch count nowhere; what has no slot is cut, and what stands for no latent at all."""
    objective = build_objective("latent_tokens", OPTIONS[name])
    for fillers in (0, 2):
        assert objective.count(batch_for(objective, ALL, fillers)) == {"latent_targets": targets, "cut_targets": cut}


def test_nothing_spills():
    """Slot by slot: a step's tokens stay in its own slots, and those of a missing or short step have none."""
    objective = build_objective("latent_tokens", OPTIONS["step tokens"])
    view = batch_for(objective, [0])["views"]["targets"]
    assert view["input_ids"].tolist() == [[0, 20, 21, 22, 23, 24, 25, 26]]
    assert view["labels"].tolist() == [[-100, 0, 1, 2, -100, -100, 3, 4]]
    assert batch_for(objective, [3])["views"]["targets"]["labels"].tolist() == [[-100, 0, 1, 2, 3, -100, -100, -100]]
    assert batch_for(objective, [2])["views"]["targets"]["labels"].tolist() == [[-100]]


@pytest.mark.parametrize(
    ("tokens", "latents", "spans"),
    [(8, 1, [8]), (7, 3, [3, 2, 2]), (9, 3, [3, 3, 3]), (2, 6, [1, 1]), (0, 3, []), (4, 0, [])],
)
def test_spans(tokens, latents, spans):
    """As even as possible, longer ones first; with fewer tokens than latents the first latents get one each."""
    objective = build_objective("latent_tokens", {"targets": "superposed"})
    _, labels = objective._spans([[*range(tokens)]], Plan(latents, 1))
    assert [labels.count(span) for span in range(len(spans))] == spans
    assert labels == sorted(labels) and (latents > 0 or set(labels) <= {-100})


def test_a_trace_of_dropped_tokens():
    """A curriculum may drop tokens of a step that is still written; they are a part of the trace."""
    objective = build_objective("latent_tokens", {"targets": "superposed"})
    assert objective._spans([[1, 2], [3, 4], [5]], Plan(2, 1, 3)) == ([1, 2, 3, 4, 5], [0, 0, 0, 1, 1])


def test_a_long_span_underflows_to_nothing():
    """Weights that round to zero have no logarithm, and no part in the divergence."""
    objective = build_objective("latent_tokens", {"targets": "superposed", "rho": 0.01})
    logits = torch.randn(1, 50, requires_grad=True)
    tokens = torch.arange(40).unsqueeze(0)
    weights = (0.01 ** torch.arange(40.0)).unsqueeze(0)
    loss = objective._divergence(logits, tokens, weights / weights.sum())
    loss.sum().backward()
    assert loss.isfinite().all() and logits.grad.isfinite().all() and weights[0, -1] == 0


def test_only_columns_with_a_target_reach_the_head():
    model, objective = make(), build_objective("latent_tokens", OPTIONS["step tokens"])
    rows = []
    model.get_output_embeddings().register_forward_hook(lambda module, args, output: rows.append(args[0].shape[0]))
    batch = batch_for(objective, [0, 1, 2])
    scoring.terms_of(model, objective, [batch])
    assert rows == [2 + 3 + 2, 3 + 2 + 2]  # written tokens; then targets


# ---- in the trainer ----


@pytest.mark.parametrize("method", ["lotus", "mux"])
def test_evaluation_loss_does_not_depend_on_the_batch(tmp_path, method):
    changes = {"method": method, "generate_in_eval": False, "dtype": torch.float64}
    changes |= {"first_stage": 3} if method == "lotus" else {"latents_per_step": None, "max_stage": None}
    losses = []
    for size in (1, 4, 9):
        trainer = make_trainer(tmp_path, per_device_eval_batch_size=size, **changes)
        losses.append(trainer.evaluate(uneven_problems(9))["eval_loss"])
    assert losses[1:] == pytest.approx([losses[0]] * 2, rel=1e-6)


def test_what_is_cut_is_logged(tmp_path):
    """Targets and cut tokens of a step, over all its batches."""
    changes = {"method": "lotus", "latents_per_step": 2, "max_stage": 2, "first_stage": 2, "last_stage": 2, "number": 8}
    trainer = make_trainer(tmp_path, per_device_train_batch_size=4, gradient_accumulation_steps=2, max_steps=2, **changes)
    trainer.train()
    replaced = [step for row in trainer.rows for step in row.steps[:2]]
    targets = sum(min(2, len(step)) for step in replaced)
    cut = sum(len(step) for step in replaced) - targets
    assert cut > 0 and targets > 0
    for entry in trainer.state.log_history[:2]:
        assert (entry["latent_targets"], entry["cut_targets"]) == (targets, cut)
    assert len(history(trainer, "loss_answer", "loss_latents")) == 2


def test_targets_are_not_read(tmp_path):
    """What an objective keeps in a batch for itself costs no tokens and no operations."""
    trainer = make_trainer(tmp_path, method="lotus", latents_per_step=3, first_stage=2)
    batch = batch_of(trainer, [0, 1, 2])
    read = [batch["input_ids"], batch["views"]["latent"]["input_ids"]]
    assert set(batch["views"]) == {"latent", "targets"}
    found = columns(batch, trainer.train_objective.needs.views)["input_ids"]
    assert found.tolist() == torch.cat([ids.flatten() for ids in read]).tolist()


def test_slots_are_those_of_the_curriculum(tmp_path):
    """A number that several parts must agree on is given once; the saved model knows the one it thinks by."""
    trainer = make_trainer(tmp_path, method="lotus", latents_per_step=3)
    assert trainer.train_objective.options.latents_per_step == 3
    assert trainer.model.config.rollout_options == {"iterations": "stage", "injection": "add", "latents_per_step": 3}


@pytest.mark.parametrize("part", ["rollout", "objective"])
def test_slots_of_another_number_are_refused(tmp_path, part):
    says = f"{part}_options.latents_per_step=2 is not the curriculum's latents_per_step=3; leave it out"
    with pytest.raises(InputError, match=says):
        make_trainer(tmp_path, method="lotus", latents_per_step=3, **{f"{part}_options": {"latents_per_step": 2}})


def test_label_smoothing_is_for_written_tokens(tmp_path):
    """The targets of latents stay as they are."""
    terms = []
    for smoothing in (0.0, 0.2):
        trainer = make_trainer(
            tmp_path,
            method="mux",
            dtype=torch.float64,
            label_smoothing_factor=smoothing,
            latents_per_step=None,
            max_stage=None,
        )
        batch = batch_of(trainer, [0, 1, 2])
        terms.append(trainer._scored(trainer.model, batch, trainer._totals(trainer.model, [batch]))[1])
    assert terms[0]["latents"] == terms[1]["latents"] and (terms[0]["answer"] - terms[1]["answer"]).abs() > 1e-3


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"method": "cot", "objective": "latent_tokens"}, "there are no latents"),
        ({"method": "mux", "keep_steps": True}, "every step is written"),
        ({"method": "mux", "objective_options": {"targets": "step_tokens"}}, "give objective_options.latents_per_step"),
        ({"method": "lotus", "objective_options": {"rho": 0.5}}, "objective_options.rho=0.5 has no effect"),
        ({"method": "lotus", "objective_options": {"temperature": 2.0}}, "objective_options.temperature=2.0 has no effect"),
        ({"method": "mux", "objective_options": {"targets": "superposed", "rho": 1.5}}, "rho=1.5 must"),
        ({"method": "lotus", "feedback": "learned"}, "rollout=looped has nothing to refine with feedback=learned"),
        ({"method": "lotus", "curriculum": "fixed", "num_latents": 4}, "rollout_options.iterations=stage needs"),
        ({"method": "lotus", "backprop": "last"}, "backprop=last counts latents one by one"),
    ],
    ids=lambda value: " ".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_refused(tmp_path, changes, says):
    """The reason is one line."""
    unread = {"latents_per_step": None, "max_stage": None} if changes["method"] != "lotus" or "curriculum" in changes else {}
    with pytest.raises(InputError, match=says) as caught:
        make_trainer(tmp_path, **{**unread, **changes})
    assert len(str(caught.value).splitlines()) == 1
