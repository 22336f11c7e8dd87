"""Thoughts drawn and replayed through the model, against one row alone, no cache, no padding, everything computed anew."""

import itertools

import pytest
import torch
from conftest import make_base, make_latent, sharpen
from peft import LoraConfig
from reference import assert_close, latent_columns

from latent_trainer import LatentForCausalLM
from latent_trainer.errors import InputError
from latent_trainer.methods.policies import POLICIES, build_policy
from latent_trainer.model.adapters import add_adapters, latent_model
from latent_trainer.rollout.thoughts import ReplayedThoughts, SampledThoughts, using
from latent_trainer.sharding import Lookup

ROWS = [[5, 6, 98, 97, 97, 97, 99, 7, 8], [4, 98, 97, 99, 9], [11, 12, 13, 99, 14], [6, 98, 97, 97, 99, 10, 11, 12]]
SEEDS = [11, 12, 13, 14]
FITTING = [(name, feedback) for name in POLICIES for feedback in ("hidden", "projection", "soft")]
FITTING = [(name, feedback) for name, feedback in FITTING if feedback == "soft" or name not in ("multiplex", "gumbel")]
FITTING = [pair for pair in FITTING if pair[0] != "token"] + [
    (name, "gated") for name in ("token", "gaussian", "deterministic")
]
CASES = [(*pair, {}) for pair in FITTING] + [("multiplex", "soft", {"weights": "probability"})]
CASES += [("gumbel", "soft", {"one_sided": True}), ("dropout", "soft", {"drawn": "dropout"})]
NAMES = ["-".join([name, feedback, *map(str, options.values())]) for name, feedback, options in CASES]
cases = pytest.mark.parametrize(("name", "feedback", "options"), CASES, ids=NAMES)


def make(feedback: str, trained: str = "full", architecture: str = "gpt2", **more):
    """Return a model in float64, with adapters that change what it computes where asked for."""
    model = sharpen(make_latent(architecture, feedback=feedback, **more))
    if trained == "lora":
        model = add_adapters(model, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)).double()
    return model.eval()


def batch_of(rows):
    """Return left-padded ids and mask (B, T)."""
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    return ids, torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])


def sample(model, policy, rows=ROWS, seeds=SEEDS):
    """Return the logits of a call that draws its latents, and what was drawn."""
    ids, mask = batch_of(rows)
    with torch.no_grad(), using(latent_model(model), SampledThoughts(policy, seeds)) as thoughts:
        logits = model(input_ids=ids, attention_mask=mask).logits
    return logits, *thoughts.record()


def replay(model, policy, record, counted, rows=ROWS):
    """Return the logits of a call with the drawn latents in their places, and their log-probabilities (B, K)."""
    ids, mask = batch_of(rows)
    with using(latent_model(model), ReplayedThoughts(policy, record, counted)) as thoughts:
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    return logits, thoughts.log_probs


def naive(model, policy, row, record):
    """Return logits (T, V) and log-probabilities (K,) of a row by its record, one pass over all columns before a latent."""
    latent = latent_model(model)
    runner, embed = latent.runner, latent.get_input_embeddings()
    growth = {"head": runner._thought_logits, "grow": runner.next_embedding}
    embeds, scores = embed(torch.tensor([row])), []
    for number, column in enumerate(latent_columns(row)):
        before = latent.base.base_model(inputs_embeds=embeds[:, :column], use_cache=False).last_hidden_state[:, -1]
        own = {name: value[number : number + 1] for name, value in record.items()}
        scores.append(policy.log_prob(own, before, **growth)[0])
        thought = policy.replay(own, before, embed=Lookup(embed), **growth)
        embeds = torch.cat([embeds[:, :column], thought[:, None], embeds[:, column + 1 :]], 1)
    logits = latent.base(inputs_embeds=embeds, use_cache=False).logits[0]
    return logits, torch.stack(scores) if scores else logits.new_zeros(0)


@cases
@pytest.mark.parametrize("trained", ["full", "lora"])
def test_replay_is_what_was_drawn(name, feedback, options, trained):
    """The replayed thoughts give the logits the drawn ones gave, in every row; ratios are 1; each row is as if alone."""
    model, policy = make(feedback, trained), build_policy(name, options)
    drawn, record, counted = sample(model, policy)
    assert counted.tolist() == [[True] * 3, [True, False, False], [False] * 3, [True, True, False]]
    logits, scores = replay(model, policy, record, counted)
    with torch.no_grad():
        before = replay(model, policy, record, counted)[1]
    assert_close((scores - before).exp(), torch.ones_like(scores), 1e-12)
    assert not scores[~counted].any()
    for row, ids in enumerate(ROWS):
        own = {name: value[row] for name, value in record.items()}
        expected, likely = naive(model, policy, ids, own)
        assert_close(logits[row, -len(ids) :], expected, 1e-9)
        assert_close(drawn[row, -len(ids) :], expected, 1e-9)
        assert_close(scores[row][counted[row]], likely, 1e-9 * max(1.0, *likely.abs().tolist(), 1.0))


@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
def test_other_architectures(architecture, exact_norms):
    model, policy = make("soft", architecture=architecture), build_policy("multiplex")
    drawn, record, counted = sample(model, policy)
    logits, _ = replay(model, policy, record, counted)
    mask = batch_of(ROWS)[1]
    assert_close(logits[mask.bool()], drawn[mask.bool()], 1e-9)


@cases
def test_company_changes_no_thought(name, feedback, options):
    """A row draws what it draws alone, whatever else is in the batch; another seed draws something else."""
    model, policy = make(feedback), build_policy(name, options)
    _, record, counted = sample(model, policy)
    for row in (0, 3):
        _, own, alone = sample(model, policy, [ROWS[row]], [SEEDS[row]])
        for key, value in own.items():
            assert_close(record[key][row][counted[row]].double(), value[0][alone[0]].double(), 1e-9)
    _, other, _ = sample(model, policy, seeds=[seed + 1 for seed in SEEDS])
    assert not record or any(not torch.equal(other[key], record[key]) for key in record)


@cases
def test_gradients_are_those_of_the_plain_way(name, feedback, options):
    """Log-probabilities of latents and of the tokens after them, with the gradient through replayed latents."""
    model, policy = make(feedback), build_policy(name, options)
    _, record, counted = sample(model, policy)
    logits, scores = replay(model, policy, record, counted)
    weights = torch.randn(len(ROWS), 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ours = (scores * weights).sum() + sum(logits[row, -1].log_softmax(-1)[row] for row in range(len(ROWS)))
    plain = 0
    for row, ids in enumerate(ROWS):
        own, likely = naive(model, policy, ids, {key: value[row] for key, value in record.items()})
        plain = plain + (likely * weights[row, : len(likely)]).sum() + own[-1].log_softmax(-1)[row]
    parameters = [one for one in model.parameters() if one.requires_grad]
    for found, expected in zip(
        torch.autograd.grad(ours, parameters, allow_unused=True),
        torch.autograd.grad(plain, parameters, allow_unused=True),
        strict=True,
    ):
        if expected is None:
            assert found is None or not found.any()
        else:
            assert_close(found, expected, 1e-8 * max(1.0, expected.abs().max().item()))


def test_score_function_equals_enumeration():
    """On a vocabulary of three, over all 81 thoughts of two latents and every answer: the gradient of the mean reward."""
    torch.manual_seed(0)
    base = make_base("gpt2")
    model = sharpen(LatentForCausalLM.from_base(base, latent_token_id=3, bot_token_id=4, eot_token_id=2, feedback="soft"))
    assert model.eval().form is not None  # a base model is tried on more tokens than are left of it
    base.resize_token_embeddings(5)
    policy = build_policy("multiplex", {"tokens": 2})
    ids = torch.tensor(list(itertools.product(range(3), repeat=4))).reshape(-1, 2, 2)  # (81, K, M)
    row = torch.tensor([[0, 1, 4, 3, 3, 2]]).expand(len(ids), -1)
    rewards = torch.randn(len(ids), 5, dtype=torch.float64)
    with using(model, ReplayedThoughts(policy, {"ids": ids}, torch.ones(len(ids), 2, dtype=torch.bool))) as thoughts:
        answers = model(input_ids=row, use_cache=False).logits[:, -1].log_softmax(-1)  # (81, 5)
    likely = thoughts.log_probs.sum(1, keepdim=True) + answers
    assert_close(likely.exp().sum(), torch.tensor(1.0, dtype=torch.float64), 1e-12)
    estimate = (likely.detach().exp() * rewards * likely).sum()  # the mean of reward x log-probability
    parameters = list(model.parameters())
    found = torch.autograd.grad(estimate, parameters, allow_unused=True)

    embed, mean = base.get_input_embeddings(), 0.0
    for number, (one, two) in enumerate(ids):
        embeds, chance = embed(row[:1]), 1.0
        for column, drawn in ((3, one), (4, two)):
            hidden = base.base_model(inputs_embeds=embeds[:, :column], use_cache=False).last_hidden_state[0, -1]
            chance = chance * base.lm_head(hidden)[:3].softmax(-1)[drawn].prod()
            embeds = torch.cat([embeds[:, :column], embed(drawn).mean(0)[None, None], embeds[:, column + 1 :]], 1)
        answer = base(inputs_embeds=embeds, use_cache=False).logits[0, -1].softmax(-1)
        mean = mean + chance * (answer * rewards[number]).sum()
    expected = torch.autograd.grad(mean, parameters, allow_unused=True)
    for ours, own in zip(found, expected, strict=True):
        assert (ours is None) == (own is None)
        if own is not None:
            assert_close(ours, own, 1e-10 * max(1.0, own.abs().max().item()))


def test_one_pass_reads_a_replayed_thought():
    """Latents that need no hidden state are all in their places from the start."""
    model, calls = make("soft"), []
    model.base.base_model.register_forward_pre_hook(lambda *_: calls.append(1))
    for options, passes in (({}, 1), ({"weights": "probability"}, 5)):  # latents stand in four columns
        policy = build_policy("multiplex", options)
        _, record, counted = sample(model, policy)
        calls.clear()
        replay(model, policy, record, counted)
        assert len(calls) == passes


def test_a_call_without_a_past_draws_the_same_again():
    """Generation without a cache reads the prompt in every step, and thinks the same thought in each."""
    model, policy = make("hidden"), build_policy("gaussian")
    ids, mask = batch_of(ROWS)
    with torch.no_grad(), using(model, SampledThoughts(policy, SEEDS)) as thoughts:
        first = model(input_ids=ids, attention_mask=mask).logits
        assert torch.equal(model(input_ids=ids, attention_mask=mask).logits, first)
    assert torch.equal(thoughts.record()[1].sum(1), torch.tensor([3, 1, 0, 2]))


def test_a_thought_that_goes_on_after_a_cache():
    """Latent after latent out of the cache is what one call draws."""
    model, policy = make("hidden"), build_policy("gaussian")
    row = torch.tensor([[5, 6, 98, 97, 97, 97]])
    _, whole, counted = sample(model, policy, row.tolist(), [3])
    with torch.no_grad(), using(model, SampledThoughts(policy, [3])) as thoughts:
        cache = model(input_ids=row[:, :4], use_cache=True).past_key_values
        for column in (4, 5):
            cache = model(input_ids=row[:, column : column + 1], past_key_values=cache).past_key_values
    record, again = thoughts.record()
    assert torch.equal(again, counted)
    assert_close(record["latent"], whole["latent"], 1e-9)


def test_what_cannot_be(tokenizer):
    policy = build_policy("gaussian")
    model = make("hidden")
    ids, mask = batch_of(ROWS)
    with using(model, SampledThoughts(policy, SEEDS)), pytest.raises(InputError, match="drawn without gradient"):
        model(input_ids=ids, attention_mask=mask)
    with torch.no_grad(), using(model, SampledThoughts(policy, [1, 2, 3])), pytest.raises(InputError, match="4 rows have 3"):
        model(input_ids=ids, attention_mask=mask)
    _, record, counted = sample(model, policy)
    with pytest.raises(InputError, match=r"rows have \[3, 1, 0\] latents and their record \[3, 1, 0, 2\]"):
        replay(model, policy, record, counted, ROWS[:3])
    jacobi = make("hidden", rollout="jacobi")
    with pytest.raises(InputError, match="rollout=jacobi computes every latent several times"):
        sample(jacobi, policy)
    assert model.thoughts is None
