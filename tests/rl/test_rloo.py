"""`LatentRLOOTrainer`: TRL's leave-one-out trainer with a latent as a token of the completion."""

import pytest
import torch
from peft import LoraConfig

pytest.importorskip("trl")

from reinforced import LATENTS, alone, make, save_model
from trl import RLOOConfig, RLOOTrainer

from latent_trainer.methods.policies import POLICIES
from latent_trainer.rl import LatentRLOOConfig, LatentRLOOTrainer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
STOCHASTIC = [name for name, policy in POLICIES.items() if policy.stochastic]
OURS = {"kind": LatentRLOOTrainer, "config": LatentRLOOConfig}
EXACT = {"model_init_kwargs": {"dtype": "float64"}, "beta": 0.0}  # TRL makes no reference model in float64


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("latent"))


@pytest.fixture(scope="module")
def fitting(saved, tmp_path_factory):
    """Return what gives a model whose feedback fits a policy."""
    gated = save_model(tmp_path_factory.mktemp("gated"), feedback="gated")
    return lambda policy: gated if policy == "token" else saved


@pytest.mark.parametrize("peft", [None, LoraConfig(r=4, target_modules="all-linear")], ids=["full", "lora"])
def test_deterministic_is_the_stock_trainer(saved, tmp_path, peft):
    """The same losses and weights to the last bit, as nothing is changed."""
    trained = []
    for kind, config in ((RLOOTrainer, RLOOConfig), (LatentRLOOTrainer, LatentRLOOConfig)):
        trainer = make(saved, tmp_path, kind, config=config, peft_config=peft, beta=0.1)
        trainer.train()
        trained.append((trainer.state.log_history, [one for one in trainer.model.parameters() if one.requires_grad]))
    (stock, weights), (ours, own) = trained
    assert [row.get("loss") for row in stock] == [row.get("loss") for row in ours]
    assert all(torch.equal(one, two) for one, two in zip(weights, own, strict=True))


@pytest.mark.parametrize("policy", STOCHASTIC)
def test_loss_and_gradient_by_hand(fitting, tmp_path, policy):
    """One ratio a row over its K latents and n tokens; it is 1 at the first step, and what is given adds nothing."""
    saved = fitting(policy)
    trainer = make(saved, tmp_path, policy=policy, **OURS, **EXACT)
    trainer.model.train()
    batch = trainer._generate_and_score_completions([saved.prompts[row] for row in (0, 0, 1, 1)])
    ids = batch["completion_ids"]
    assert (ids[:, :LATENTS] == trainer.model.config.latent_token_id).all()
    assert (ids[:, LATENTS] == trainer.model.config.eot_token_id).all()
    batch["advantages"] = torch.tensor([1.0, -1.0, 0.5, -0.7], dtype=torch.float64)
    rows = torch.stack([one.sum() for one in alone(trainer, saved, batch)])
    torch.testing.assert_close(rows, batch["old_logps"].double(), rtol=1e-6, atol=1e-5)
    loss = trainer._compute_loss(trainer.model, batch)
    ratio = (rows - rows.detach()).exp()
    expected = -(ratio * batch["advantages"]).mean()
    assert loss.item() == pytest.approx(-batch["advantages"].mean().item(), abs=1e-12)  # every ratio is 1
    parameters = [one for one in trainer.model.parameters() if one.requires_grad]
    both = [torch.autograd.grad(one, parameters, allow_unused=True) for one in (loss, expected)]
    for found, own in zip(*both, strict=True):
        if own is not None:
            torch.testing.assert_close(found, own.to(found.dtype), rtol=1e-3, atol=1e-5 * max(1.0, own.abs().max().item()))


def test_it_trains(saved, tmp_path):
    """Two steps with a reference model: the first KL is zero, the weights move."""
    trainer = make(saved, tmp_path, policy="multiplex", beta=0.1, **OURS)
    before = [one.detach().clone() for one in trainer.model.parameters()]
    trainer.train()
    first, second = (row["kl"] for row in trainer.state.log_history if "kl" in row)
    assert first == pytest.approx(0, abs=1e-6) and abs(second) > 1e-7
    assert any(not torch.equal(one, two) for one, two in zip(before, trainer.model.parameters(), strict=True))
