"""Policies by themselves: densities that add up to one, gradients in closed form, and what does not fit."""

import itertools
import math

import numpy
import pytest
import torch
from conftest import make_latent
from reference import assert_close
from torch import nn

from latent_trainer.errors import InputError
from latent_trainer.methods.policies import POLICIES, LatentPolicy, build_policy, check_fit, take_policy
from latent_trainer.methods.policies.contract import RowNoise

torch.manual_seed(0)
SIZE, VOCABULARY = 3, 4
HIDDEN = torch.randn(2, SIZE, dtype=torch.float64)
EMBEDDING = nn.Embedding(VOCABULARY, SIZE, dtype=torch.float64)
LINEAR, QUADRATIC = torch.randn(SIZE, dtype=torch.float64), torch.randn(SIZE, SIZE, dtype=torch.float64)


def parts():
    """Return weights (H, H) and (V, H) that learn, and the feedback and head made of them."""
    grows = torch.randn(SIZE, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    heads = torch.randn(VOCABULARY, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).requires_grad_()
    return grows, heads, lambda hidden: hidden @ grows.T, lambda hidden: hidden @ heads.T


def value(latents):
    """Return a reward for each latent (.., H): a polynomial, of which the mean under a normal distribution is known."""
    return latents @ LINEAR + (latents @ QUADRATIC * latents).sum(-1)


def normal_nodes(number: int = 5):
    """Return points (n, H) and weights (n,) that integrate polynomials under a standard normal distribution exactly."""
    points, weights = numpy.polynomial.hermite_e.hermegauss(number)
    grid = torch.tensor(list(itertools.product(points, repeat=SIZE)), dtype=torch.float64)
    mass = torch.tensor([math.prod(one) for one in itertools.product(weights, repeat=SIZE)], dtype=torch.float64)
    return grid, mass / mass.sum()


def score_gradient(policy, records, masses, hidden, head, grow, rewards, weights):
    """Return the mean of reward x gradient of the log-probability over all records."""
    hidden = hidden.expand(len(masses), -1)
    total = (masses * rewards.detach() * policy.log_prob(records, hidden, head, grow)).sum()
    return torch.autograd.grad(total, weights)[0]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("weights", ["mean", "probability"])
def test_multiplex_by_enumeration(temperature, weights):
    """Over all ordered draws the probabilities add up to one, and the score-function gradient is that of the mean reward."""
    policy = build_policy("multiplex", {"tokens": 2, "temperature": temperature, "weights": weights})
    _, heads, grow, head = parts()
    ids = torch.tensor(list(itertools.product(range(VOCABULARY), repeat=2)))
    hidden = HIDDEN[:1].expand(len(ids), -1)
    chances = policy.log_prob({"ids": ids}, hidden, head, grow).exp()
    assert_close(chances.sum(), torch.tensor(1.0, dtype=torch.float64), 1e-14)
    rewards = torch.randn(len(ids), dtype=torch.float64)
    expected = (head(HIDDEN[:1]) / temperature).softmax(-1)[0]
    mean = (expected[ids].prod(-1) * rewards).sum()
    found = score_gradient(policy, {"ids": ids}, chances.detach(), HIDDEN[:1], head, grow, rewards, [heads])
    assert_close(found, torch.autograd.grad(mean, [heads])[0], 1e-13)


def test_multiplex_draws_with_the_right_frequencies():
    policy = build_policy("multiplex", {"tokens": 1})
    scores = torch.tensor([[1.0, 0.0, -2.0, torch.finfo(torch.float64).min]], dtype=torch.float64).expand(4000, -1)
    noise = RowNoise.seeded(range(4000), "cpu")
    _, record = policy.sample(torch.zeros(4000, SIZE), lambda _: scores, EMBEDDING, noise, None)
    found = record["ids"].flatten().bincount(minlength=4)
    assert found[3] == 0
    assert_close(found[:3] / 4000, scores[0].softmax(-1)[:3].float(), 0.03)


def test_multiplex_latents():
    """The mean of the embeddings drawn; or of the different ones, by their probabilities."""
    ids = torch.tensor([[0, 1, 1], [2, 2, 2]])
    scores = torch.tensor([[0.0, 1.0, 2.0, 3.0]] * 2, dtype=torch.float64)
    latents = build_policy("multiplex").replay({"ids": ids}, None, None, EMBEDDING, None)
    assert_close(latents[0], (EMBEDDING.weight[0] + 2 * EMBEDDING.weight[1]) / 3, 1e-14)
    policy = build_policy("multiplex", {"weights": "probability"})
    latents = policy.replay({"ids": ids}, HIDDEN, lambda _: scores, EMBEDDING, None)
    share = 1 / (1 + math.e)
    assert_close(latents[0], share * EMBEDDING.weight[0] + (1 - share) * EMBEDDING.weight[1], 1e-14)
    assert_close(latents[1], EMBEDDING.weight[2], 1e-14)


def test_gaussian_in_closed_form():
    """E[a z + z B z] = a m + m B m + s^2 tr B, and so its gradient; the score function gives the same."""
    policy = build_policy("gaussian", {"sigma": 0.4, "relative": False})
    grows, _, grow, head = parts()
    mean = grow(HIDDEN[:1])[0]
    expected = torch.autograd.grad(value(mean) + 0.16 * QUADRATIC.trace(), [grows])[0]
    nodes, masses = normal_nodes()
    latents = (mean + 0.4 * nodes).detach()
    records = {"latent": latents, "sigma": torch.full((len(nodes),), 0.4, dtype=torch.float64)}
    found = score_gradient(policy, records, masses, HIDDEN[:1], head, grow, value(latents), [grows])
    assert_close(found, expected, 1e-12)


def test_dropout_in_closed_form():
    """The same under mean and variance of the recorded masks, through both of which gradient flows."""
    policy = build_policy("dropout", {"p": 0.4, "recomputations": 4, "floor": 0.2})
    grows, _, grow, head = parts()
    _, drawn = policy.sample(HIDDEN[:1], head, EMBEDDING, RowNoise.seeded([3], "cpu"), grow)
    masks = torch.rand(4, SIZE, generator=torch.Generator().manual_seed(int(drawn["seed"]))) >= 0.4
    latents = grow(HIDDEN[:1] * masks / 0.6)  # (4, H)
    mean, variance = latents.mean(0), latents.var(0, unbiased=False) + drawn["floor"] ** 2
    expected = torch.autograd.grad(value(mean) + (QUADRATIC.diagonal() * variance).sum(), [grows])[0]
    nodes, masses = normal_nodes()
    points = (mean + variance.sqrt() * nodes).detach()
    records = {name: one.expand(len(nodes)) for name, one in drawn.items() if name != "latent"} | {"latent": points}
    found = score_gradient(policy, records, masses, HIDDEN[:1], head, grow, value(points), [grows])
    assert_close(found, expected, 1e-11)


def test_gumbel_in_closed_form():
    """E[a exp(-g) + b exp(-2 g)] = a / p + 2 b / p^2 for g = log p + Gumbel noise, and so its gradient."""
    policy = build_policy("gumbel", {"top_k": 2, "temperature": 0.8})
    _, heads, grow, head = parts()
    chances = (head(HIDDEN[:1]) / 0.8).log_softmax(-1)[0]
    likeliest, ids = chances.topk(2)
    one, two = torch.tensor([0.3, -0.7], dtype=torch.float64), torch.tensor([0.2, 0.1], dtype=torch.float64)
    expected = torch.autograd.grad((one / likeliest.exp() + 2 * two / likeliest.exp() ** 2).sum(), [heads])[0]
    points, weights = numpy.polynomial.laguerre.laggauss(6)  # exp(-noise) is exponentially distributed
    grid = torch.tensor(list(itertools.product(points, repeat=2)), dtype=torch.float64)
    masses = torch.tensor([math.prod(pair) for pair in itertools.product(weights, repeat=2)], dtype=torch.float64)
    scores = (likeliest - grid.log()).detach()
    records = {"ids": ids.expand(len(grid), -1), "scores": scores}
    rewards = ((-scores).exp() * one + (-2 * scores).exp() * two).sum(-1)
    found = score_gradient(policy, records, masses, HIDDEN[:1], head, grow, rewards, [heads])
    assert_close(found, expected, 1e-9 * expected.abs().max().item() + 1e-10)


def test_gumbel_latents_and_noise():
    """The latent is the softmax mixture; the noise has the density that scores it."""
    policy = build_policy("gumbel", {"top_k": 3, "noise_temperature": 0.5})
    _, _, grow, head = parts()
    hidden = HIDDEN[:1].expand(2000, -1)
    latents, record = policy.sample(hidden, head, EMBEDDING, RowNoise.seeded(range(2000), "cpu"), grow)
    weights = (record["scores"] / 0.5).softmax(-1)
    assert_close(latents, torch.einsum("nk,nkh->nh", weights, EMBEDDING.weight[record["ids"]]), 1e-14)
    noise = record["scores"] - head(hidden).log_softmax(-1).gather(-1, record["ids"])
    assert abs(noise.mean().item() - 0.5772) < 0.06 and abs(noise.var().item() - math.pi**2 / 6) < 0.15
    assert_close(policy.log_prob(record, hidden, head, grow), (-noise - (-noise).exp()).sum(-1), 1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_gumbel_over_the_whole_vocabulary(dtype):
    """Tokens that are never written are among the k likeliest of a small vocabulary, and weigh and score nothing."""
    lowest = torch.tensor([0.0, 1.0, -1.0, torch.finfo(dtype).min], dtype=dtype)

    def head(hidden):
        return lowest.expand(len(hidden), -1)

    hidden, embed = torch.zeros(2, 3, dtype=dtype), torch.nn.Embedding(4, 3, dtype=dtype)
    for temperature in (1.0, 0.5):
        policy = build_policy("gumbel", {"temperature": temperature})
        latent, record = policy.sample(hidden, head, embed, RowNoise.seeded([0, 1], "cpu"), None)
        scores = policy.log_prob(record, hidden, head, None)
        fewer = {name: value[:, :3] for name, value in record.items()}
        assert torch.equal(latent, policy.replay(fewer, hidden, head, embed, None))
        torch.testing.assert_close(scores, policy.log_prob(fewer, hidden, head, None) - 1)  # exp(0) of the fourth


def test_one_sided_noise_raises_every_token():
    """Noise is never negative, so that the surrogate's gradient raises every token drawn; two-sided noise lowers some."""
    signs = {}
    for one_sided in (True, False):
        policy = build_policy("gumbel", {"top_k": 3, "one_sided": one_sided})
        scores = torch.randn(500, VOCABULARY, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        noise = RowNoise.seeded(range(500), "cpu")
        _, record = policy.sample(HIDDEN[:1].expand(500, -1), lambda _, own=scores: own, EMBEDDING, noise, None)
        leaf = scores.log_softmax(-1).gather(-1, record["ids"]).clone().requires_grad_()
        above = record["scores"] - leaf
        assert not one_sided or (above.min() >= 0 and above.max() <= 4.5)
        (gradient,) = torch.autograd.grad((-above - (-above).exp()).sum(), [leaf])
        signs[one_sided] = (gradient >= -1e-15).all().item()
    assert signs == {True: True, False: False}


def test_noise_relative_to_the_embeddings():
    """The deviation follows the table as it is when a latent is drawn, and is recorded."""
    policy, table = build_policy("gaussian", {"sigma": 0.5}), nn.Embedding(VOCABULARY, SIZE, dtype=torch.float64)
    for factor in (1, 2):
        with torch.no_grad():
            table.weight.mul_(factor)
        _, record = policy.sample(HIDDEN, None, table, RowNoise.seeded([0, 1], "cpu"), lambda hidden: hidden)
        assert_close(record["sigma"], 0.5 * table.weight.pow(2).mean().sqrt().detach().expand(2), 1e-14)


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [
        ("multiplx", {}, "policy='multiplx' is not one of .*did you mean 'multiplex'"),
        ("multiplex", {"token": 2}, "has no option 'token'; did you mean 'tokens'"),
        ("multiplex", {"tokens": 0}, "policy_options.tokens=0 must be at least 1"),
        ("gaussian", {"sigma": 0.0}, "policy_options.sigma=0.0 must be above 0"),
        ("dropout", {"recomputations": 1}, "policy_options.recomputations=1 must be at least 2"),
    ],
)
def test_bad_settings(name, options, why):
    with pytest.raises(InputError, match=why):
        build_policy(name, options)


@pytest.mark.parametrize("feedback", ["hidden", "projection", "soft", "learned", "gated"])
@pytest.mark.parametrize("name", POLICIES)
def test_what_fits(name, feedback):
    """Mixtures of token embeddings go where the feedback mixes them, nothing is drawn where nothing is computed."""
    model, policy = make_latent(feedback=feedback), build_policy(name)
    fits = not policy.stochastic or {
        "soft": not policy.gives_tokens,
        "learned": False,
        "gated": not policy.of_tokens,
    }.get(feedback, not policy.of_tokens and not policy.gives_tokens)
    if fits:
        check_fit(name, policy, feedback, model.feedback)
    else:
        with pytest.raises(InputError, match=f"policy={name} .*feedback={feedback}"):
            check_fit(name, policy, feedback, model.feedback)


def test_what_is_no_policy():
    class Half(LatentPolicy):
        def sample(self, hidden, head, embed, generator, grow):
            return hidden, {}

    with pytest.raises(InputError, match="must be a class derived from"):
        take_policy("mine", Half())
    with pytest.raises(InputError, match=r"Half must define replay\(self, record, hidden, head, embed, grow\)"):
        take_policy("mine", Half)


def test_token_by_enumeration():
    """The gradient of the mean reward is that of the sum over all tokens, through the feedback too."""
    grows, heads, grow, head = parts()
    policy, ids = build_policy("token", {"temperature": 0.7}), torch.arange(VOCABULARY)
    hidden = HIDDEN[:1].expand(VOCABULARY, -1)

    def mixed(hidden, tokens):
        return torch.tanh(grow(hidden)) * EMBEDDING(tokens)

    likely = policy.log_prob({"ids": ids}, hidden, head, mixed)
    assert_close(likely, (head(HIDDEN[:1])[0] / 0.7).log_softmax(-1), 1e-14)
    rewards = value(policy.replay({"ids": ids}, hidden, head, EMBEDDING, mixed))
    whole = torch.autograd.grad((likely.exp() * rewards).sum(), (grows, heads), retain_graph=True)
    by_draws = (likely.exp().detach() * (rewards.detach() * likely + rewards)).sum()
    for one, two in zip(torch.autograd.grad(by_draws, (grows, heads)), whole, strict=True):
        assert_close(one, two, 1e-12)
    _, record = policy.sample(HIDDEN[:1].expand(4000, -1), head, EMBEDDING, RowNoise.seeded(range(4000), "cpu"), mixed)
    shares = torch.bincount(record["ids"], minlength=VOCABULARY) / 4000
    assert (shares - likely.exp()).abs().max() < 0.03
