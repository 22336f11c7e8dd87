"""`LatentGRPOTrainer`: TRL's losses with a latent as a token of the completion, against formulas written out."""

import math
from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, PeftModel

pytest.importorskip("trl")

from conftest import ARCHITECTURES
from reinforced import LATENTS, alone, different, entropy_alone, make, save_model, settings
from transformers import AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

from latent_trainer import LatentForCausalLM, encode_prompts
from latent_trainer.errors import InputError
from latent_trainer.methods.policies import POLICIES
from latent_trainer.rl import LatentGRPOTrainer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
STOCHASTIC = [name for name, policy in POLICIES.items() if policy.stochastic]
LORA = LoraConfig(r=4, target_modules="all-linear")
EXACT = {"model_init_kwargs": {"dtype": "float64"}}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("latent"))


@pytest.fixture(scope="module")
def fitting(saved, tmp_path_factory):
    """Return what gives a model whose feedback fits a policy."""
    gated = save_model(tmp_path_factory.mktemp("gated"), feedback="gated")
    return lambda policy: gated if policy == "token" else saved


def weights(trainer) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in trainer.model.named_parameters() if value.requires_grad}


@pytest.mark.parametrize(
    ("more", "peft"),
    [({}, None), ({"loss_type": "grpo", "num_iterations": 2}, None), ({"beta": 0.1}, LORA)],
    ids=["full", "iterations", "lora"],
)
def test_deterministic_is_the_stock_trainer(saved, tmp_path, more, peft):
    """The same losses and weights to the last bit, as nothing is changed."""
    stock = make(saved, tmp_path, GRPOTrainer, config=GRPOConfig, peft_config=peft, **more)
    stock.train()
    ours = make(saved, tmp_path, peft_config=peft, **more)
    ours.train()
    for name in ("loss", "reward", "entropy", "grad_norm"):
        logged = [[entry[name] for entry in one.state.log_history if name in entry] for one in (stock, ours)]
        assert logged[0] == logged[1] and logged[0]
    for (name, one), (other, two) in zip(weights(stock).items(), weights(ours).items(), strict=True):
        assert name == other and torch.equal(one, two)


def drawn(saved, folder, prompts=(0, 0, 1, 1), **more):
    """Return a trainer and the batch it has generated for these prompts."""
    trainer = make(saved, folder, per_device_train_batch_size=len(prompts), **more)
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    return trainer, trainer._generate_and_score_completions([saved.prompts[row] for row in prompts])


def by_hand(kind: str, new: list, old: list, advantages, args) -> torch.Tensor:
    """Return the loss of rows of log-probabilities, one after the other, as the papers have it."""
    sums, counts = [], []
    low, high = 1 - args.epsilon, 1 + (args.epsilon if args.epsilon_high is None else args.epsilon_high)
    for one, before, advantage in zip(new, old, advantages.tolist(), strict=True):
        difference = one - before
        if args.importance_sampling_level == "sequence":
            difference = difference.mean().expand(len(one))
        ratio = difference.exp()
        if kind == "cispo":
            values = -ratio.clamp(max=args.epsilon_high).detach() * advantage * one
        elif kind == "sapo":
            steep = args.sapo_temperature_pos if advantage > 0 else args.sapo_temperature_neg
            values = -4 / steep * torch.sigmoid(steep * (ratio - 1)) * advantage
        elif kind == "vespo":
            k, scale = (
                (args.vespo_k_pos, args.vespo_lambda_pos) if advantage >= 0 else (args.vespo_k_neg, args.vespo_lambda_neg)
            )
            whole = difference.sum().detach()
            values = -(scale + k * whole - scale * whole.exp()).exp() * advantage * one
        else:
            values = -torch.minimum(ratio * advantage, ratio.clamp(low, high) * advantage)
        sums.append(values.sum())
        counts.append(len(one))
    total = torch.stack(sums)
    if kind in ("grpo", "sapo"):
        return (total / torch.tensor(counts)).mean()
    if kind == "luspo":
        return total.mean()
    return total.sum() / (len(new) * args.max_completion_length if kind == "dr_grpo" else sum(counts))


LOSSES = [(kind, "token") for kind in ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "luspo", "sapo", "vespo")]
LOSSES += [("grpo", "sequence"), ("luspo", "sequence")]


@pytest.mark.parametrize(("kind", "level"), LOSSES)
def test_a_latent_counts_like_a_token(saved, tmp_path, kind, level):
    """Loss and gradient of each of TRL's losses, over K latents and n tokens a row; <|eot|> counts nothing."""
    more = {"loss_type": kind, "importance_sampling_level": level, "policy": "multiplex", **EXACT}
    more |= {"epsilon_high": 5.0} if kind == "cispo" else {}
    trainer, batch = drawn(saved, tmp_path, **more)
    mask = batch["completion_mask"] * batch["tool_mask"]
    new = alone(trainer, saved, batch)
    assert mask.sum(1).tolist() == [len(one) for one in new]
    assert batch["num_items_in_batch"] == sum(len(one) for one in new)
    ids = batch["completion_ids"]
    assert (ids[:, :LATENTS] == trainer.model.config.latent_token_id).all() and mask[:, :LATENTS].all()
    assert (ids[:, LATENTS] == trainer.model.config.eot_token_id).all() and not mask[:, LATENTS].any()
    torch.manual_seed(0)
    old = [(one + 0.3 * torch.randn(len(one))).detach() for one in new]
    whole = torch.zeros_like(mask, dtype=torch.float64)
    whole[mask.bool()] = torch.cat(old).double()
    batch["advantages"] = torch.tensor([1.0, -1.0, 0.5, -0.7])
    loss = trainer._compute_loss(trainer.model, {**batch, "old_per_token_logps": whole})
    expected = by_hand(kind, new, old, batch["advantages"], trainer.args)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-6)
    parameters = [one for one in trainer.model.parameters() if one.requires_grad]
    for found, own in zip(
        torch.autograd.grad(loss, parameters, allow_unused=True),
        torch.autograd.grad(expected, parameters, allow_unused=True),
        strict=True,
    ):
        if own is not None:
            torch.testing.assert_close(found, own.to(found.dtype), rtol=1e-3, atol=1e-5 * max(1.0, own.abs().max().item()))


def test_the_entropy_that_is_logged_is_that_of_words(saved, tmp_path):
    """A latent writes nothing: what the model would write in its place does not count."""
    trainer, batch = drawn(saved, tmp_path, policy="multiplex", **EXACT)
    trainer._compute_loss(trainer.model, batch)
    assert trainer._metrics["train"]["entropy"][-1] == pytest.approx(entropy_alone(trainer, batch).item(), rel=1e-6)


@pytest.mark.parametrize("peft", [None, LORA], ids=["full", "lora"])
@pytest.mark.parametrize("policy", STOCHASTIC)
def test_the_first_ratio_is_one(fitting, tmp_path, policy, peft):
    """Old log-probabilities, computed when the thought is drawn, are those of the first step: nothing is clipped."""
    seen = []
    trainer = make(fitting(policy), tmp_path, policy=policy, peft_config=peft, steps_per_generation=2, max_steps=1, **EXACT)
    kept = trainer._get_per_token_logps_and_entropies
    trainer._get_per_token_logps_and_entropies = lambda *args, **more: seen.append(kept(*args, **more)) or seen[-1]
    losses = trainer._compute_loss
    ratios = []

    def listen(model, inputs):
        loss = losses(model, inputs)
        mask = inputs["completion_mask"] * inputs["tool_mask"]
        ratios.append(((seen[-1][0] - inputs["old_per_token_logps"]) * mask).exp())
        return loss

    trainer._compute_loss = listen
    trainer.train()
    assert ratios and all(torch.allclose(one, torch.ones_like(one), rtol=0, atol=1e-12) for one in ratios[:1])


def test_what_is_masked_changes_nothing(saved, tmp_path):
    """A truncated row that is to count nothing does not, whatever its thought and its text; nor do padding and <|eot|>."""
    trainer, batch = drawn(saved, tmp_path, policy="multiplex", mask_truncated_completions=True, prompts=range(4), **EXACT)
    batch["advantages"] = torch.tensor([1.0, -1.0, 0.5, -0.7])
    ended = batch["completion_mask"].any(1)
    batch["completion_mask"][0] = 0  # one at least
    ended[0] = False
    parameters = list(trainer.model.parameters())

    def gradients(inputs):
        return torch.autograd.grad(trainer._compute_loss(trainer.model, inputs), parameters, allow_unused=True)

    before = gradients(batch)
    changed = {name: value.clone() for name, value in batch.items()}
    changed["record_ids"][~ended] = 5
    changed["completion_ids"][~ended, LATENTS + 1 :] = 6
    for one, two in zip(before, gradients(changed), strict=True):
        assert (one is None) == (two is None)
        if one is not None:
            torch.testing.assert_close(one, two, rtol=0, atol=1e-10)


@pytest.mark.parametrize("policy", ["multiplex", "gaussian"])
def test_accumulation(saved, tmp_path, policy):
    """Four rows at once and two times two train the same weights."""
    common = {"policy": policy, "optim": "sgd", "learning_rate": 0.1, "num_generations": 2, **EXACT}
    common |= {"generation_kwargs": {"top_k": 1}}
    whole = make(saved, tmp_path, **common)
    parts = make(saved, tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=2, **common)
    for trainer in (whole, parts):
        trainer.train()
    for (name, one), two in zip(weights(whole).items(), weights(parts).values(), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-6, msg=lambda text, at=name: f"{at}: {text}")
    first = LatentForCausalLM.from_pretrained(saved.folder)
    assert any(
        not torch.equal(one.float(), two) for one, two in zip(weights(whole).values(), first.parameters(), strict=True)
    )


WANTED = {
    "multiplex": lambda record: (record["ids"] == 5).double().mean((1, 2)),
    "token": lambda record: (record["ids"] == 5).double().mean(1),
    "gumbel": lambda record: (record["scores"].softmax(-1) * (record["ids"] == 5)).sum(-1).mean(1),
    "gaussian": lambda record: record["latent"][..., 0].mean(1),
    "dropout": lambda record: record["latent"][..., 0].mean(1),
}


@pytest.mark.parametrize("policy", STOCHASTIC)
def test_thoughts_learn(fitting, tmp_path, policy):
    """Where the thought alone is rewarded, whatever is written, such thoughts become likelier."""
    earned = []

    def reward(completions, **_):
        earned.append(WANTED[policy](trainer._thoughts[0]).tolist())
        return earned[-1]

    options = {"gumbel": {"top_k": 100}}.get(policy, {})
    common = {"max_steps": 40, "per_device_train_batch_size": 16, "num_generations": 8, "max_completion_length": 2}
    more = {"policy": policy, "policy_options": options, "allow_truncated": True}
    trainer = make(fitting(policy), tmp_path, reward=reward, **more, **common)
    trainer.train()
    first, last = (torch.tensor(earned[part]) for part in (slice(0, 8), slice(-8, None)))
    assert last.mean() > first.mean() + first.std() / 2


@pytest.mark.parametrize("policy", ["deterministic", "multiplex"])
def test_checkpoints_change_nothing(saved, tmp_path, policy):
    """Layers that are computed anew on the way back train the same weights."""
    common = {"policy": policy, "optim": "sgd", "learning_rate": 0.1, "max_steps": 1, **EXACT}
    plain = make(saved, tmp_path, **common)
    plain.train()
    again = make(saved, tmp_path, gradient_checkpointing=True, **common)
    again.train()
    for one, two in zip(weights(plain).values(), weights(again).values(), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-10)


def test_dropout_is_switched_off_where_latents_are_drawn(saved, tmp_path):
    """A thought that is replayed under another mask would be another thought; with nothing drawn it is as TRL has it."""
    assert make(saved, tmp_path, policy="gaussian").args.disable_dropout
    assert not make(saved, tmp_path).args.disable_dropout


def test_the_dropout_of_attention_is_switched_off(tmp_path, monkeypatch):
    """A module that holds a probability as a number is replayed as it was drawn, too."""
    monkeypatch.setitem(ARCHITECTURES, "llama", {**ARCHITECTURES["llama"], "attention_dropout": 0.5})
    saved = save_model(tmp_path / "model", kind="llama")
    trainer, batch = drawn(saved, tmp_path, policy="multiplex", steps_per_generation=2)
    ids, mask = (torch.cat([batch[f"prompt_{name}"], batch[f"completion_{name}"]], 1) for name in ("ids", "mask"))
    new = trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, batch["completion_ids"].shape[1])[0]
    assert trainer.model.training and torch.allclose(new, batch["old_per_token_logps"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("policy", ["gaussian", "dropout"])
def test_adapters(tmp_path, policy):
    """Adapters and the projection train, the reference is the model without them, and what is saved is what was trained."""
    saved = save_model(tmp_path / "model", feedback="projection")
    trainer = make(saved, tmp_path / "out", policy=policy, peft_config=LoraConfig(r=4), beta=0.1)
    before = weights(trainer)
    assert isinstance(trainer.model, PeftModel) and any("feedback" in name for name in before)
    assert all("lora" in name or "modules_to_save" in name for name in before)
    trainer.train()
    assert trainer.state.log_history[0]["kl"] == pytest.approx(0, abs=1e-6)
    after = weights(trainer)
    assert all(not torch.equal(after[name], before[name]) for name in before if "lora_B" in name or "feedback" in name)
    trainer.save_model(tmp_path / "out")
    again = LatentForCausalLM.from_pretrained(tmp_path / "out").eval()
    ids = torch.tensor([saved.tokenizer(saved.prompts[0]["prompt"]).input_ids])
    torch.testing.assert_close(again(ids).logits, trainer.model.eval()(input_ids=ids).logits, rtol=0, atol=1e-4)


def test_the_reference_thinks_the_drawn_thought(saved, tmp_path):
    """Before the first step the reference model gives latents and tokens the same log-probabilities."""
    trainer = make(saved, tmp_path, policy="multiplex", beta=0.1)
    trainer.train()
    first, second = (entry["kl"] for entry in trainer.state.log_history if "kl" in entry)
    assert first == pytest.approx(0, abs=1e-6) and second > 1e-6


def test_the_reference_is_the_model_that_is_given(saved, tmp_path):
    """TRL loads it from where the model came from, which may be another model by now, or nowhere."""
    model = LatentForCausalLM.from_pretrained(saved.folder)
    common = {"args": settings(tmp_path, beta=0.1), "reward_funcs": different, "train_dataset": saved.prompts}
    LatentGRPOTrainer(model, processing_class=saved.tokenizer, **common)
    with torch.no_grad():
        model.get_input_embeddings().weight[5] += 1
    with pytest.raises(InputError, match=r"beta=0.1 compares with the model as it was saved in .* other weights") as error:
        LatentGRPOTrainer(model, processing_class=saved.tokenizer, **common)
    assert "\n" not in str(error.value)
    model.config.name_or_path = ""
    with pytest.raises(InputError, match=r"beta=0.1 .*was not loaded from anywhere; save it"):
        LatentGRPOTrainer(model, processing_class=saved.tokenizer, **common)


def test_a_loaded_adapter_trains_whole(saved, tmp_path):
    """Every weight of a model that an adapter is merged into learns, and not what comes new alone."""
    make(saved, tmp_path, peft_config=LORA).save_model(tmp_path / "adapter")
    model = LatentForCausalLM.from_pretrained(tmp_path / "adapter")
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_problems_become_prompts(saved, tmp_path):
    """Prompts are those of evaluation; latents are counted, the reward reads what was written and not the thought."""
    seen = []

    def reward(prompts, completion_ids, answer, num_latents, **_):
        seen.append((prompts, completion_ids, answer, num_latents))
        return different(completion_ids)

    trainer = make(saved, tmp_path, reward=reward, dataset=saved.problems, policy="multiplex", max_steps=1)
    generated = []
    kept = trainer._generate_single_turn
    trainer._generate_single_turn = lambda ids, *args, **more: generated.extend(ids) or kept(ids, *args, **more)
    trainer.train()
    ((prompts, written, answers, latents),) = seen
    rows = {row["question"]: row["answer"] for row in saved.problems}
    assert answers == [rows[prompt] for prompt in prompts] and latents == [LATENTS] * 4
    expected = [encode_prompts([prompt], saved.tokenizer, LATENTS)["input_ids"][0].tolist() for prompt in prompts]
    assert generated == expected
    special = {trainer.model.config.latent_token_id, trainer.model.config.bot_token_id}
    assert not special & {token for row in written for token in row} and all(1 <= len(row) <= 5 for row in written)


def test_rows_of_other_lengths(saved, tmp_path):
    """Prompts with one, three and no latents in one batch, each with its own mask."""
    texts = ["<|bot|><|latent|><|eot|>", "<|bot|>" + "<|latent|>" * 3 + "<|eot|>", ""]
    prompts = [{"prompt": f"{row['question']} {text}"} for row, text in zip(saved.problems, texts, strict=False)]
    trainer = make(saved, tmp_path, policy="gaussian")
    trainer.model.train()
    batch = trainer._generate_and_score_completions([prompts[row] for row in (0, 0, 1, 1, 2, 2)])
    assert batch["record_counted"].sum(1).tolist() == [1, 1, 3, 3, 0, 0]
    trainer.current_gradient_accumulation_steps = 1
    assert trainer._compute_loss(trainer.model, batch).isfinite()


def test_evaluation(saved, tmp_path):
    trainer = make(saved, tmp_path, policy="multiplex", per_device_eval_batch_size=4)
    metrics = trainer.evaluate(saved.prompts.select(range(4)))
    assert math.isfinite(metrics["eval_loss"]) and metrics["eval_reward"] > 0


def test_completions_that_never_end(saved, tmp_path):
    """A run in which nothing ever ends is stopped after 64 completions, in one line that says what to change."""
    common = {"per_device_train_batch_size": 32, "max_steps": 4, "policy": "multiplex"}
    common |= {"generation_kwargs": {"suppress_tokens": [saved.tokenizer.eos_token_id]}, "max_completion_length": 2}
    with pytest.raises(
        InputError, match="none of the first 64 completions has ended within max_completion_length=2"
    ) as error:
        make(saved, tmp_path, **common).train()
    assert "\n" not in str(error.value)
    trainer = make(saved, tmp_path, allow_truncated=True, **{**common, "max_steps": 3})
    trainer.train()
    assert trainer.state.global_step == 3


REFUSED = [
    ({"policy": "multiplx"}, {}, "did you mean 'multiplex'"),
    ({"policy": "multiplex", "policy_options": {"token": 3}}, {}, "has no option 'token'; did you mean 'tokens'"),
    ({"num_generations": 1}, {}, "num_generations=1: an advantage compares the answers to one prompt"),
    ({"policy": "gaussian", "entropy_coef": 0.1}, {}, "entropy_coef=0.1 does not go with policy=gaussian"),
    ({"policy": "gaussian", "top_entropy_quantile": 0.5}, {}, "top_entropy_quantile=0.5 does not go with"),
    ({"generation_kwargs": {"noise_std": 0.5}}, {}, "generation_kwargs has noise_std, which has no effect there"),
    ({"policy": "gaussian", "use_vllm": True}, {}, "use_vllm=True does not go with policy=gaussian"),
    ({"rewards": ["corect"]}, {"reward": None}, "rewards='corect' is not one of .*did you mean 'correct'"),
    ({"rewards": []}, {"reward": None}, "rewards nothing"),
    ({"reward_options": {"length": {}}}, {"reward": None}, "reward_options has 'length', which is none of rewards"),
    (
        {"rewards": ["length"], "reward_options": {"length": {"bar": 2.0}}},
        {"reward": None},
        "reward_options.length.bar=2.0 must lie between 0 and 1",
    ),
]


@pytest.mark.parametrize(("changes", "given", "why"), REFUSED, ids=lambda one: str(one)[:40])
def test_refused_settings(saved, tmp_path, changes, given, why):
    with pytest.raises(InputError, match=why) as error:
        make(saved, tmp_path, **given, **changes)
    assert "\n" not in str(error.value)


BROKEN = [
    (lambda completions, **_: [float("nan")] * len(completions), "gives nan for answer 1 of 4"),
    (lambda completions, **_: [0.0] * (len(completions) - 1), "gives 3 rewards for 4 answers"),
]


@pytest.mark.parametrize(("reward", "why"), BROKEN, ids=["nan", "length"])
def test_refused_rewards(saved, tmp_path, reward, why):
    with pytest.raises(InputError, match=why) as error:
        make(saved, tmp_path, reward=reward).train()
    assert "\n" not in str(error.value)


def test_a_reward_may_have_none_to_give(saved, tmp_path):
    trainer = make(saved, tmp_path, reward=[different, lambda completions, **_: [None] * len(completions)])
    trainer.train()
    assert trainer.state.global_step == 2


@pytest.mark.parametrize(
    ("feedback", "policy"),
    [("hidden", "multiplex"), ("learned", "gaussian"), ("projection", "gumbel"), ("soft", "token"), ("gated", "multiplex")],
)
def test_a_policy_that_does_not_fit(tmp_path, feedback, policy):
    saved = save_model(tmp_path / "model", feedback=feedback)
    with pytest.raises(InputError, match=f"policy={policy} .*feedback={feedback}"):
        make(saved, tmp_path / "out", policy=policy)


@pytest.mark.parametrize("rollout", ["jacobi", "looped"])
def test_a_rollout_that_computes_a_latent_several_times(saved, tmp_path, rollout):
    """Refused before anything is generated; without drawing it trains."""
    model = LatentForCausalLM.from_pretrained(saved.folder)
    model.configure("soft", rollout=rollout)
    model.save_pretrained(tmp_path / "model")
    saved.tokenizer.save_pretrained(tmp_path / "model")
    other = SimpleNamespace(**{**vars(saved), "folder": str(tmp_path / "model")})
    with pytest.raises(InputError, match=f"rollout={rollout} computes every latent several times") as error:
        make(other, tmp_path, policy="multiplex")
    assert "\n" not in str(error.value)
    make(other, tmp_path)


@pytest.mark.parametrize("beams", [{"num_beams": 2}, {"num_return_sequences": 2}], ids=str)
def test_several_rows_to_a_prompt(saved, tmp_path, beams):
    """Nobody knows which of them thought what an answer was written after; without drawing beams are TRL's."""
    with pytest.raises(InputError, match="generation had 8 rows for 4 prompts; leave num_beams") as error:
        make(saved, tmp_path, policy="multiplex", generation_kwargs=beams).train()
    assert "\n" not in str(error.value)


def test_tokens_that_are_suppressed(saved, tmp_path):
    """Whatever else is not to be written, no placeholder of a thought is."""
    eos, model = saved.tokenizer.eos_token_id, LatentForCausalLM.from_pretrained(saved.folder)
    more = {"generation_kwargs": {"suppress_tokens": [eos]}, "allow_truncated": True, "temperature": 100.0}
    trainer = make(saved, tmp_path, per_device_train_batch_size=32, max_completion_length=16, max_steps=1, **more)
    trainer.train()
    never = {eos, model.config.latent_token_id, model.config.bot_token_id}
    assert not never & {token for row in trainer._written for token in row}


def test_a_number_of_latents_is_kept(saved, tmp_path):
    """A model that has learned to think five latents is graded with five, and prompts with their own take no number."""
    trainer = make(saved, tmp_path, dataset=saved.problems, num_latents=5, policy="multiplex")
    trainer.save_model(tmp_path / "saved")
    assert LatentForCausalLM.from_pretrained(tmp_path / "saved").config.num_latents == 5
    with pytest.raises(InputError, match="num_latents=5 has no effect: every prompt"):
        make(saved, tmp_path, num_latents=5)


def test_a_run_that_resumes_draws_the_same_thoughts(saved, tmp_path):
    """Four steps at once, and two that are continued, train the same weights."""
    common = {"policy": "multiplex", "max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    whole = make(saved, tmp_path, **common)
    whole.train()
    parts = make(saved, tmp_path, **common)
    parts.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    for one, two in zip(weights(whole).values(), weights(parts).values(), strict=True):
        assert torch.equal(one, two)


def test_prompts_without_latents(saved, tmp_path):
    prompts = saved.prompts.map(lambda row: {"prompt": row["prompt"].split(" <|bot|>")[0]})
    with pytest.raises(InputError, match="no prompt of the batch has one"):
        make(saved, tmp_path, policy="multiplex", dataset=prompts).train()
    with pytest.raises(InputError, match="prompts get none; give num_latents"):
        make(saved, tmp_path, policy="multiplex", dataset=saved.problems, num_latents=0)


def test_fewer_prompts_than_a_batch(saved, tmp_path):
    """TRL would leave them all out, train nothing and end."""
    with pytest.raises(InputError, match="16 prompts, and every batch takes 32 with 2 answers each") as error:
        make(saved, tmp_path, policy="multiplex", per_device_train_batch_size=64)
    assert "\n" not in str(error.value)
    make(saved, tmp_path, policy="multiplex", per_device_train_batch_size=32)


def test_a_data_set_of_something_else(saved, tmp_path):
    with pytest.raises(InputError, match="it needs prompt, or question and answer"):
        make(saved, tmp_path, dataset=saved.prompts.rename_column("prompt", "text"))


def test_the_tokenizer_comes_with_the_model(saved, tmp_path):
    saved = SimpleNamespace(**{**vars(saved), "tokenizer": None})
    trainer = make(saved, tmp_path, policy="multiplex")
    assert trainer.processing_class.get_vocab() == AutoTokenizer.from_pretrained(saved.folder).get_vocab()
