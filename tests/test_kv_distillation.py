"""KV distillation against loops over rows, layers and heads, with attention as eager mode computes it."""

import dataclasses

import pytest
import torch
from conftest import make_latent, sharpen
from reference import assert_close, gradients, naive_embeds
from scoring import terms_of
from test_fast import attend
from test_jacobi import naive_jacobi
from test_objectives import make_batch, row
from training import make_trainer
from transformers.models.gemma2 import modeling_gemma2
from transformers.models.gpt2 import modeling_gpt2
from transformers.models.llama import modeling_llama

from latent_trainer.data.encoding import View
from latent_trainer.errors import InputError
from latent_trainer.methods import eviction
from latent_trainer.methods.objectives import build_objective
from latent_trainer.methods.step import Needs


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
MODULES = {"gpt2": modeling_gpt2, "llama": modeling_llama, "gemma2": modeling_gemma2}


def make(architecture: str = "gpt2", **options):
    return sharpen(make_latent(architecture, **options)).train()


def filled(model, ids: list[int], columns: list[int]) -> torch.Tensor:
    """Return a row's embeddings (1, T, H) with every latent filled in, by the model's rollout."""
    if model.config.rollout == "jacobi":
        return naive_jacobi(model.base, ids, model.config.rollout_options["iterations"])[0]
    return naive_embeds(model.base, ids, columns)


def naive(model, rows: list, monkeypatch, eviction="rkv", importance=0.1, kv_distance="smooth_l1", layerwise_std=True, **rest):
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
                    kept = _kept(eviction, keys.detach(), asked.detach(), stay, importance, (view.input_ids[:number], layer, head, rest))
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
    unlike = []
    for one in range(number):
        cosines = [torch.cosine_similarity(keys[one], keys[other], 0) for other in range(number) if other != one]
        unlike.append(-sum(cosines, torch.tensor(0.0)) / number)
    pooled = asked.max(0).values.softmax(-1).mean(0) if number else torch.zeros(0)
    redundancy = torch.tensor(unlike, dtype=keys.dtype).softmax(0) if number else torch.zeros(0)
    ranking = sorted(range(number), key=lambda at: -float(importance * pooled[at] + (1 - importance) * redundancy[at]))
    return sorted(ranking[:stay])


def drawn_alone(ids, layer, head, options, number, stay):
    """Return the columns drawn for a row that nothing stands beside."""
    steps, latents = torch.ones(1, number, dtype=torch.bool), torch.ones(1, stay, dtype=torch.bool)
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
    plain = build_objective("self_distillation", {"factor": 3.0, "embedding_layer": False, "normalise": objective.options.normalise})
    others = terms_of(model, plain, [make_batch(plain, ROWS)])
    assert_close({name: terms[name] for name in others}, others)
    found = gradients(model, terms["keys_values"])
    assert_close(found, gradients(model, expected))
