"""KV distillation against loops over rows, layers and heads, with attention as eager mode computes it."""

import pytest
import torch
from conftest import make_latent, sharpen
from reference import assert_close, gradients, naive_embeds
from scoring import terms_of
from test_fast import attend
from test_jacobi import naive_jacobi
from test_objectives import make_batch, row
from training import make_trainer
from transformers.models.gpt2 import modeling_gpt2
from transformers.models.llama import modeling_llama

from latent_trainer.data.encoding import View
from latent_trainer.errors import InputError
from latent_trainer.methods import eviction
from latent_trainer.methods.objectives import build_objective
from latent_trainer.testing import check_objective


def special(latents: int, steps: int, prefix: int = 0):
    """Return a row with so many latents, step tokens and tokens of the answer's prefix."""
    ids = [*range(40, 40 + steps), *range(80, 80 + prefix), 62, 63]
    thought = [98, *[97] * latents, 99]
    views = {"latent": View(thought + ids[-2:], [-100] * len(thought) + ids[-2:], len(thought))}
    return [7, 9], {**views, "explicit": View(ids, ids, steps + prefix, steps)}


# rows of no to three latents with one to five step tokens; then none, fewer than latents, and a prefix before the answer
ROWS = [*map(row, range(6)), special(2, 0), special(3, 1), special(3, 7, prefix=2), special(1, 6)]
CASES = {
    "rkv": {},
    "attention alone": {"importance": 1.0, "kv_distance": "mse"},
    "redundancy alone": {"importance": 0.0, "layerwise_std": False},
    "even": {"importance": 0.5, "normalise": False},
    "uniform": {"eviction": "uniform", "kv_distance": "mse", "layerwise_std": False},
    "random": {"eviction": "random", "eviction_seed": 3},
}


def make(architecture: str = "gpt2", **options):
    return sharpen(make_latent(architecture, **options)).train()


def filled(model, ids: list[int], columns: list[int]) -> torch.Tensor:
    """Return a row's embeddings (1, T, H) with every latent filled in, by the model's rollout."""
    if model.config.rollout == "jacobi":
        return naive_jacobi(model.base, ids, model.config.rollout_options["iterations"])[0]
    return naive_embeds(model.base, ids, columns)


def naive(
    model, rows: list, monkeypatch, eviction="rkv", importance=0.1, kv_distance="smooth_l1", layerwise_std=True, **rest
):
    """Return the term of keys and values: row by row, layer by layer, head by head."""
    scores, base, found, every = [], model.base, [], {}

    def record(module, query, key, value, mask, scaling, **kwargs):
        groups = query.shape[1] // key.shape[1]
        scores.append(query[0] @ key[0].repeat_interleave(groups, 0).transpose(1, 2) * scaling)
        module.num_key_value_groups = groups
        return attend(module, query, key, value, mask, scaling)

    def read(embeds):
        scores.clear()
        cache = base.base_model(inputs_embeds=embeds, use_cache=True).past_key_values
        return [(layer.keys[0], layer.values[0]) for layer in cache.layers], list(scores)  # each (heads, T, D)

    with monkeypatch.context() as patch:
        for module in (modeling_gpt2, modeling_llama):
            patch.setattr(module, "eager_attention_forward", record)
        before, base.config._attn_implementation = base.config._attn_implementation, "eager"
        for prompt, views in rows:
            thought, teach = prompt + views["latent"].input_ids[:-1], prompt + views["explicit"].input_ids[:-1]
            latents = [column for column, token in enumerate(thought) if token == 97]
            students, _ = read(filled(model, thought, latents))
            teachers, attention = read(model.get_input_embeddings()(torch.tensor([teach])).detach())
            view, start = views["explicit"], len(prompt)
            number = view.answer_start if view.steps_end is None else view.steps_end
            stay = min(len(latents), number)
            for layer, (student, teacher) in enumerate(zip(students, teachers, strict=True)):
                for which in (0, 1):
                    every.setdefault((layer, which), []).append(teacher[which][:, start : start + number].flatten())
                for head in range(len(teacher[0])):
                    keys = teacher[0][head, start : start + number]
                    group = len(attention[layer]) // len(teacher[0])
                    asked = attention[layer][head * group : (head + 1) * group, start + number :, start : start + number]
                    drawn_by = (view.input_ids[:number], layer, head, rest)
                    kept = _kept(eviction, keys.detach(), asked.detach(), stay, importance, drawn_by)
                    for which in (0, 1):
                        for place in range(stay):
                            apart = student[which][head, latents[place]] - teacher[which][head, start + kept[place]].detach()
                            apart = apart.pow(2) if kv_distance == "mse" else _smooth(apart.abs())
                            share = apart.mean() / (len(latents) * len(teacher[0]) * len(rows) * 2 * len(students))
                            found.append((layer, which, share))
        base.config._attn_implementation = before
    deviation = {key: torch.cat(parts).detach().std() if layerwise_std else 1.0 for key, parts in every.items()}
    return sum(share / deviation[layer, which] for layer, which, share in found)


def _smooth(apart):
    return torch.where(apart < 1, 0.5 * apart.pow(2), apart - 0.5)


def _kept(kind, keys, asked, stay, importance, drawn_by):
    """Return the columns of one head that stay, in order."""
    number = len(keys)
    if kind == "uniform":
        return [int((place + 0.5) * number / stay) for place in range(stay)]
    if kind == "random":
        return drawn_alone(*drawn_by, number, stay) if stay else []
    scores = _rkv(keys, asked, importance)
    return sorted(sorted(range(number), key=lambda at: -scores[at])[:stay])


def _rkv(keys, asked, importance) -> list[float]:
    """Return the score of every column of one head: keys (n, D), asked (query heads, A, n)."""
    number, unlike = len(keys), []
    units = [key / (key.norm() + 1e-8) for key in keys]
    for one in range(number):
        cosines = [float(units[one] @ units[other]) for other in range(number) if other != one]
        unlike.append(-sum(cosines) / number)
    attention = asked.max(0).values.softmax(-1).mean(0)
    redundancy = torch.tensor(unlike, dtype=keys.dtype).softmax(0)
    return [float(importance * attention[at] + (1 - importance) * redundancy[at]) for at in range(number)]


def drawn_alone(ids, layer, head, options, number, stay):
    """Return the columns drawn for a row that nothing stands beside."""
    steps = torch.ones(1, number, dtype=torch.bool)
    scores = eviction.drawn(torch.tensor([ids]), steps, head + 1, layer, options.get("eviction_seed", 0))
    return sorted(scores[0, head].argsort(descending=True)[:stay].tolist())


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])  # llama's two heads of keys serve four of queries
def test_equals_the_plain_version(architecture, case, monkeypatch, exact_norms):
    check(make(architecture), CASES[case], monkeypatch)


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_equals_the_plain_version_with_jacobi(architecture, monkeypatch, exact_norms):
    model = make(architecture, rollout="jacobi", rollout_options={"iterations": 2})
    check(model, {"importance": 0.5}, monkeypatch)


def check(model, options: dict, monkeypatch) -> None:
    objective = build_objective("kv_distillation", {"kv_factor": 2.0, "factor": 3.0, "embedding_layer": False, **options})
    terms = terms_of(model, objective, [make_batch(objective, ROWS)])
    assert list(terms) == ["student", "teacher", "distill", "keys_values"]
    expected = 2.0 * naive(model, ROWS, monkeypatch, **options)
    assert_close(terms["keys_values"], expected)
    assert expected.detach() > 0
    plain = build_objective(
        "self_distillation", {"factor": 3.0, "embedding_layer": False, "normalise": objective.options.normalise}
    )
    others = terms_of(model, plain, [make_batch(plain, ROWS)])
    assert_close({name: terms[name] for name in others}, others)
    found = gradients(model, terms["keys_values"])
    assert_close(found, gradients(model, expected))


# ---- what stays ----


def random_steps():
    """Return keys of two heads and scores of four over rows with none, one, five and nine step columns of nine."""
    torch.manual_seed(0)
    keys, asked = torch.randn(4, 2, 9, 5, dtype=torch.float64), torch.randn(4, 4, 3, 9, dtype=torch.float64)
    return keys, asked, torch.arange(9) < torch.tensor([0, 1, 5, 9]).unsqueeze(1)


def latents_of(*numbers: int) -> torch.Tensor:
    return torch.arange(max(numbers)) < torch.tensor(numbers).unsqueeze(1)


@pytest.mark.parametrize("importance", [0.0, 0.1, 1.0])
def test_rkv_scores_are_those_of_a_loop_over_heads(importance):
    keys, asked, steps = random_steps()
    asked[3, :, 2] = -torch.inf  # a row with fewer columns in its answer
    found = eviction.rkv(keys, asked, steps, importance)
    for number in range(4):
        own, answers = int(steps[number].sum()), 2 if number == 3 else 3
        for head in range(2):
            expected = _rkv(keys[number, head, :own], asked[number, 2 * head : 2 * head + 2, :answers, :own], importance)
            assert_close(found[number, head], torch.tensor(expected + [0.0] * (9 - own), dtype=torch.float64))
            assert own == 0 or abs(sum(expected) - 1) < 1e-12


def test_the_best_stay_in_the_order_of_time():
    """As many as there are latents, or all; one head keeps other columns than another."""
    scores = torch.tensor([[[0.1, 0.9, 0.3, 0.9, 0.0], [5.0, 4.0, 3.0, 2.0, 9.0]]]).expand(4, -1, -1)
    steps = torch.arange(5) < torch.tensor([5, 5, 2, 0]).unsqueeze(1)
    latents = latents_of(3, 1, 3, 2)
    kept, taught = eviction.best(scores, steps, latents), eviction.pairs(steps, latents)
    assert taught.tolist() == [[True] * 3, [True, False, False], [True, True, False], [False] * 3]
    assert kept[0].tolist() == [[1, 2, 3], [0, 1, 4]]
    assert kept[1, :, 0].tolist() == [1, 4]  # K = 1: of equal scores the earlier
    assert kept[2, :, :2].tolist() == [[0, 1], [0, 1]]
    assert kept.min() >= 0 and kept.max() < 5


def test_uniform_takes_the_middles():
    steps = torch.arange(9) < torch.tensor([9, 9, 2, 0]).unsqueeze(1)
    kept = eviction.uniform(steps, latents_of(3, 1, 3, 2))
    assert kept[:2].tolist() == [[[1, 4, 7]], [[4, 8, 8]]] and kept[2, 0, :2].tolist() == [0, 1]


def test_what_is_drawn():
    """The numbers never change, and depend on tokens, head, layer and seed: not on what stands beside or behind."""
    ids, steps = torch.tensor([[5, 6, 7, 8], [5, 6, 9, 9]]), torch.arange(4) < torch.tensor([4, 2]).unsqueeze(1)
    scores = eviction.drawn(ids, steps, heads=2, layer=1, seed=3)
    assert scores[0, :, :2].tolist() == [
        [1020091362663355343, 6389609242733265007],
        [7394908149626608120, -1279822017276379437],
    ]
    alone = eviction.drawn(torch.tensor([[5, 6]]), torch.ones(1, 2, dtype=torch.bool), heads=2, layer=1, seed=3)
    assert torch.equal(scores[1, :, :2], alone[0])
    others = [eviction.drawn(ids, steps, 2, *key) for key in ((0, 3), (1, 4))] + [scores.flip(1), scores.flip(0)]
    assert all(not (other == scores).any() for other in others)


def test_what_is_drawn_is_spread_evenly():
    """Of six columns that three latents keep, each is kept in half of the rows, whatever the head and the layer."""
    ids = torch.arange(6000).view(1000, 6)
    steps, latents = torch.ones_like(ids, dtype=torch.bool), torch.ones(1000, 3, dtype=torch.bool)
    kept = [eviction.best(eviction.drawn(ids, steps, 2, layer, 0), steps, latents) for layer in range(2)]
    shares = torch.nn.functional.one_hot(torch.stack(kept), 6).sum(3).double().mean(1)  # (layers, heads, columns)
    assert (shares - 0.5).abs().max() < 0.07  # four standard deviations


# ---- the contract ----


@pytest.mark.parametrize("case", ["rkv", "uniform", "random"])
def test_contract(case):
    """Batches, accumulation, fillers and padding change nothing, with jacobi and a staged number of latents too."""
    more = {"importance": 0.5} if case == "rkv" else {}
    check_objective("kv_distillation", {**more, **CASES[case]}, rollout="jacobi")


def test_a_batch_without_steps_or_latents():
    """Terms are finite, and the term of keys and values is zero."""
    objective = build_objective("kv_distillation")
    for rows in ([special(2, 0)], [special(0, 4)], [special(0, 0), special(1, 0)]):
        terms = terms_of(make(), objective, [make_batch(objective, rows)])
        assert terms["keys_values"].item() == 0 and all(term.isfinite() for term in terms.values())


def test_nothing_is_asked_that_is_not_used():
    needs = {case: build_objective("kv_distillation", options) for case, options in CASES.items()}
    looks = {case for case, objective in needs.items() if objective.needs.attention}
    assert looks == {"rkv", "attention alone", "even"}
    assert build_objective("kv_distillation", {"normalise": False, "layerwise_std": False}).sums_needs is None
    assert not needs["even"].sums_needs.hidden_states and needs["even"].sums_needs.keys_values == ("columns",)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"eviction": "uniform", "importance": 0.5}, "importance=0.5 has no effect with eviction=uniform; .*eviction=rkv"),
        ({"eviction": "random", "importance": 0.0}, "importance=0.0 has no effect with eviction=random"),
        ({"eviction_seed": 3}, "eviction_seed=3 has no effect with eviction=rkv; .*eviction=random"),
    ],
    ids=str,
)
def test_what_an_eviction_does_not_read_is_refused(options, says):
    with pytest.raises(InputError, match=says) as caught:
        build_objective("kv_distillation", options)
    assert len(str(caught.value).splitlines()) == 1


def test_steps_end_where_the_prefix_begins(tmp_path):
    """What stands between steps and answer is no step, and asks with the answer."""
    trainer = make_trainer(tmp_path, method="kava", num_latents=2, latents_per_step=None, max_stage=None)
    for encoded in trainer.rows:
        view = trainer.batches.views(encoded, trainer.batches.plan(encoded, 0))["explicit"]
        assert encoded.answer_prefix and view.steps_end == sum(map(len, encoded.steps))
        assert view.answer_start == view.steps_end + len(encoded.answer_prefix)
