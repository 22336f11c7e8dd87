"""The contract of policies."""

import torch

from latent_trainer.methods.policies import build_policy, check_fit
from latent_trainer.methods.policies.contract import LatentPolicy, RowNoise
from latent_trainer.rollout.thoughts import ReplayedThoughts, SampledThoughts, using
from latent_trainer.sharding import Lookup
from latent_trainer.testing.tiny import TOLERANCE, contract, make_tokenizer, require, tiny_base, tiny_model

ROWS = 5


def check_policy(policy: str | type, options: dict | None = None, feedback: str | None = None) -> None:
    """Require that a policy keeps its contract: every row draws for itself, and a replayed latent is the one drawn.

    Args:
        policy: a name, ``package.module:Class`` or the class.
        options: its options.
        feedback: of the model it is tried in; by default soft where its latents are made of token embeddings, gated where
            it draws tokens for the feedback, else hidden.

    Raises:
        AssertionError: with a sentence that says what is wrong.
    """
    with contract("policy", policy) as name:
        what, own = f"policy '{name}'", build_policy(name, options)
        _check_rows(what, own)
        if own.stochastic:
            fitting = "soft" if own.of_tokens else "gated" if own.gives_tokens else "hidden"
            _check_model(what, name, own, feedback or fitting)


def _check_rows(what: str, policy: LatentPolicy) -> None:
    base = tiny_base(len(make_tokenizer()))
    embedding, head = Lookup(base.get_input_embeddings()), base.get_output_embeddings()
    hidden = torch.randn(ROWS, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def grow(hidden: torch.Tensor, tokens: torch.Tensor | None = None) -> torch.Tensor:
        return torch.tanh(hidden if tokens is None else hidden + embedding(tokens))

    parts = {"head": head, "grow": grow}

    def drawn(rows: list[int], seed: int = 0) -> tuple:
        noise = RowNoise.seeded([seed + row for row in rows], "cpu")
        with torch.no_grad():
            return policy.sample(hidden[rows], embed=embedding, generator=noise, **parts)

    latents, record = drawn([*range(ROWS)])
    require(latents.shape == hidden.shape, f"{what} draws {tuple(latents.shape)} for hidden states (5, 32); one a row")
    for key, value in record.items():
        require(len(value) == ROWS, f"{what}: its record's {key} has {len(value)} rows for 5 latents; give one a latent")
    for row in range(ROWS):
        alone, _ = drawn([row])
        require(
            bool(((alone[0] - latents[row]).abs() <= TOLERANCE * latents.abs().max()).all()),
            f"{what} draws another latent for a row alone than among others; draw from generator, which has one a row",
        )
    differ = bool((drawn([*range(ROWS)], 100)[0] - latents).abs().max() > 0)
    require(
        differ == policy.stochastic,
        f"{what} draws {'other' if differ else 'the same'} latents under other seeds; say stochastic = {differ}",
    )
    again = policy.replay(record, hidden if policy.grows else None, embed=embedding, **parts)
    require(
        bool(((again - latents).abs() <= TOLERANCE * latents.abs().max()).all()),
        f"{what} replays another latent than it drew; record all that was drawn, or say grows = True",
    )
    leaf = hidden.clone().requires_grad_()
    likely = policy.log_prob(record, leaf, **parts)
    require(likely.shape == (ROWS,), f"{what} gives log-probabilities {tuple(likely.shape)} for 5 latents; give (5,)")
    require(bool(likely.isfinite().all()), f"{what} gives log-probabilities that are not finite")
    if policy.stochastic:
        (gradient,) = torch.autograd.grad(likely.sum(), leaf, allow_unused=True) if likely.requires_grad else (None,)
        require(
            gradient is not None and bool(gradient.abs().sum() > 0),
            f"{what}: its log-probabilities give no gradient back to the hidden states; do not detach them",
        )


def _check_model(what: str, name: str, policy: LatentPolicy, feedback: str) -> None:
    tokenizer = make_tokenizer()
    model = tiny_model(tokenizer, feedback=feedback).eval()
    check_fit(name, policy, feedback, model.feedback)
    config = model.config
    thought = [config.bot_token_id, config.latent_token_id, config.latent_token_id, config.eot_token_id]
    ids = torch.tensor([[4, 5, *thought, 6]])
    with torch.no_grad(), using(model, SampledThoughts(policy, [3])) as thoughts:
        drawn = model(ids, use_cache=False).logits
    record, counted = thoughts.record()
    with using(model, ReplayedThoughts(policy, record, counted)) as replayed:
        logits = model(ids, use_cache=False).logits
    require(
        bool(((logits - drawn).abs() <= TOLERANCE * drawn.abs().max()).all()),
        f"{what} gives a model other logits when its thought is replayed than when it is drawn; replay what was drawn",
    )
    require(bool(replayed.log_probs.isfinite().all()), f"{what} gives log-probabilities in a model that are not finite")
