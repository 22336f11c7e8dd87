"""Options of the stock trainer that change how training goes: each changes what it would change in any `Trainer`."""

import math

import pytest
import torch
from training import batch_of, history, make_trainer, uneven_problems
from transformers import EarlyStoppingCallback, SchedulerType, TrainerCallback
from transformers.training_args import OptimizerNames

from latent_trainer import LatentTrainer

EVALUATION = {"eval_dataset": uneven_problems(2), "eval_strategy": "steps", "eval_steps": 1, "generate_in_eval": False}


def losses(trainer) -> list[float]:
    trainer.train()
    return [loss for _, _, loss in history(trainer, "loss")]


LAST = {"coconut": 2, "codi": 0, "sim_cot": 2}  # stages

# ---- losses ----


@pytest.mark.parametrize("accumulation", [1, 4])
@pytest.mark.parametrize("method", LAST)
def test_label_smoothing(tmp_path, monkeypatch, method, accumulation):
    """(1 - e) of a token's cross-entropy and e of its mean over the vocabulary, over the global count; `eval_loss` too."""
    settings = {
        "method": method,
        "first_stage": LAST[method],
        "number": 8,
        "max_steps": 1,
        "dtype": torch.float64,
        "learning_rate": 0.0,
    }
    settings |= {"per_device_train_batch_size": 8 // accumulation, "gradient_accumulation_steps": accumulation}
    smoothed = make_trainer(tmp_path / "smoothed", label_smoothing_factor=0.3, **settings)
    found = [*losses(smoothed), smoothed.evaluate(uneven_problems(8))["eval_loss"]]

    def naive(logits, labels, smoothing=0.0):
        every = -logits.log_softmax(-1)
        return 0.7 * every[torch.arange(len(labels)), labels] + 0.3 * every.mean(-1)

    monkeypatch.setattr("latent_trainer.model.heads.cross_entropy", naive)
    plain = make_trainer(tmp_path / "plain", **settings)
    expected = [*losses(plain), plain.evaluate(uneven_problems(8))["eval_loss"]]
    assert found == pytest.approx(expected, rel=1e-9)
    monkeypatch.undo()
    assert losses(make_trainer(tmp_path / "none", **settings))[0] != pytest.approx(found[0], rel=1e-6)


def test_noise_is_for_training(tmp_path):
    """NEFTune's noise reaches the rollout's tokens while training, is drawn anew every step, and is gone in evaluation."""
    settings = {"first_stage": 2, "number": 8, "max_steps": 3, "learning_rate": 0.0, **EVALUATION}
    seen = []

    class Hooks(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            seen.append(len(model.get_input_embeddings()._forward_hooks))

    quiet = make_trainer(tmp_path / "quiet", **settings)
    expected = losses(quiet)
    noisy = make_trainer(tmp_path / "noisy", neftune_noise_alpha=20.0, callbacks=[Hooks()], **settings)
    found = losses(noisy)
    assert len(set(found)) == 3 and len({round(loss, 5) for loss in expected}) == 1
    assert max(abs(one - expected[0]) for one in found) > 1e-3
    for trainer in (quiet, noisy):
        evaluated = {entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry}
        assert evaluated == {quiet.evaluate()["eval_loss"]}
    assert seen == [1, 1, 1] and not noisy.model.get_input_embeddings()._forward_hooks


# ---- precision ----


@pytest.mark.parametrize("method", ["coconut", "codi"])
def test_bfloat16(tmp_path, method):
    settings = {"method": method, "first_stage": LAST[method], "number": 8, "max_steps": 3}
    full = losses(make_trainer(tmp_path / "full", **settings))
    mixed = losses(make_trainer(tmp_path / "mixed", bf16=True, **settings))
    assert mixed != full
    assert mixed == pytest.approx(full, rel=2e-2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="float16 needs a GPU")
def test_float16(tmp_path):
    settings = {"first_stage": 2, "number": 8, "max_steps": 3, "use_cpu": False}
    full = losses(make_trainer(tmp_path / "full", **settings))
    assert losses(make_trainer(tmp_path / "mixed", fp16=True, **settings)) == pytest.approx(full, rel=2e-2)


# ---- batches ----


def test_a_batch_that_fits(tmp_path):
    """After a batch that does not fit, the run begins anew with a smaller one: its stage, its terms and its order."""

    class Small(LatentTrainer):
        tried = []

        def compute_loss(self, model, inputs, *args, **kwargs):
            rows = len(inputs["input_ids"])
            self.tried.append((rows, self.stages.stage))
            if rows > 4 and self.stages.stage == 1:
                raise RuntimeError("CUDA out of memory. Tried to allocate")
            return super().compute_loss(model, inputs, *args, **kwargs)

    settings = {"objective": "self_distillation", "steps_per_stage": [1], "number": 8, "max_steps": 2, "learning_rate": 0.0}
    trainer = make_trainer(tmp_path / "a", kind=Small, auto_find_batch_size=True, **settings)
    trainer.train()
    assert Small.tried[:3] == [(8, 0), (8, 1), (Small.tried[2][0], 0)]
    sizes = {rows for rows, _ in Small.tried[-2:]}
    assert sizes == {trainer.state.train_batch_size} and max(sizes) <= 4
    expected = make_trainer(tmp_path / "b", per_device_train_batch_size=trainer.state.train_batch_size, **settings)
    expected.train()
    names = ("loss", "loss_student", "loss_teacher", "loss_distill")
    for found, wanted in zip(history(trainer, *names)[-2:], history(expected, *names), strict=True):
        assert found == pytest.approx(wanted, rel=1e-5)


def test_the_last_batch_is_dropped(tmp_path):
    """Twenty rows in batches of eight: two steps an epoch; evaluation takes every problem."""

    class Rows(TrainerCallback):
        def on_epoch_begin(self, args, state, control, train_dataloader=None, **kwargs):
            seen.append([index for batch in train_dataloader for index in batch])

    for strategy in ("random", "sequential", "group_by_length"):
        seen = []
        settings = {"dataloader_drop_last": True, "train_sampling_strategy": strategy, "num_train_epochs": 2}
        trainer = make_trainer(tmp_path / strategy, callbacks=[Rows()], **settings)
        trainer.train()
        assert trainer.state.global_step == 4
        assert [len(set(rows)) for rows in seen] == [16, 16] and max(map(max, seen)) < 20
        assert (seen[0] == seen[1]) == (strategy == "sequential")
        assert (seen[0] == list(range(16))) == (strategy == "sequential")
        assert trainer.evaluate(uneven_problems(5))["eval_problems"] == 5


def test_tokens_seen(tmp_path):
    """Prompts and views count, padding and fillers only where all columns are asked for; operations follow from them."""
    settings = {"objective": "self_distillation", "first_stage": 1, "number": 5, "max_steps": 1}
    seen, operations = {}, set()
    for kind in ("all", "non_padding"):
        trainer = make_trainer(tmp_path / kind, include_num_input_tokens_seen=kind, **settings)
        batch = batch_of(trainer, list(range(8)))
        trainer.train()
        seen[kind] = trainer.state.num_input_tokens_seen
        operations.add(trainer.state.total_flos)
    parts = [batch, *batch["views"].values()]
    assert seen["all"] == sum(part["input_ids"].numel() for part in parts)
    assert seen["non_padding"] == sum(int(part["attention_mask"][:5].sum()) for part in parts)
    assert operations == {6 * seen["all"] * trainer.model.num_parameters(exclude_embeddings=True)}


# ---- optimizers, schedules and callbacks ----

HERE = ("adamw_torch", "adamw_torch_fused", "adafactor", "sgd", "adagrad", "rmsprop")  # need no library of their own


@pytest.mark.parametrize("optim", HERE)
def test_every_optimizer(tmp_path, optim):
    trainer = make_trainer(tmp_path, number=8, max_steps=2, first_stage=1, optim=optim)
    before = [parameter.detach().clone() for parameter in trainer.model.parameters()]
    assert all(map(math.isfinite, losses(trainer)))
    assert all(not torch.equal(*pair) for pair in zip(trainer.model.parameters(), before, strict=True))
    assert OptimizerNames(optim) == trainer.args.optim


SCHEDULES = {
    "cosine_with_min_lr": {"min_lr": 1e-4},
    "cosine_warmup_with_min_lr": {"min_lr": 1e-4},
    "warmup_stable_decay": {"num_decay_steps": 2},
}


@pytest.mark.parametrize("schedule", [one.value for one in SchedulerType])
def test_every_scheduler(tmp_path, schedule):
    """Each moves the rate as it says, from what `evaluate` gives where it looks for a plateau."""
    settings = {"lr_scheduler_kwargs": SCHEDULES.get(schedule), "number": 8, "max_steps": 4, **EVALUATION}
    trainer = make_trainer(tmp_path, lr_scheduler_type=schedule, **settings)
    trainer.train()
    rates = [rate for _, _, rate in history(trainer, "learning_rate")]
    assert len(rates) == 4 and all(rate >= 0 for rate in rates)
    constant = schedule in ("constant", "constant_with_warmup", "reduce_lr_on_plateau", "greedy", "inverse_sqrt")
    assert constant or len(set(rates)) > 1


def test_a_plateau_is_one_of_a_stage(tmp_path):
    """A metric that each stage makes worse is no plateau; one that stands still within the last stage is."""
    settings = {
        **EVALUATION,
        "generate_in_eval": True,
        "metric_for_best_model": "eval_latents",
        "greater_is_better": False,
        "lr_scheduler_type": "reduce_lr_on_plateau",
        "lr_scheduler_kwargs": {"patience": 0, "factor": 0.5},
        "number": 8,
        "max_steps": 6,
        "steps_per_stage": [1],
        "latents_per_step": 2,
        "max_stage": 2,
    }
    trainer = make_trainer(tmp_path, **settings)
    trainer.train()
    rates = [rate for _, _, rate in history(trainer, "learning_rate")]
    assert rates[:3] == [1e-2] * 3 and rates[-1] < 1e-2


def test_callbacks_come_back(tmp_path):
    """A resumed run restores the patience of early stopping, beside the stage."""
    settings = {
        **EVALUATION,
        "number": 8,
        "learning_rate": 0.0,
        "save_strategy": "steps",
        "save_steps": 1,
        "load_best_model_at_end": True,
        "restore_callback_states_from_checkpoint": True,
        "method": "no_cot",
    }
    patient = make_trainer(tmp_path, callbacks=[EarlyStoppingCallback(4)], max_steps=3, **settings)
    patient.train()
    resumed = make_trainer(tmp_path, callbacks=[EarlyStoppingCallback(9)], max_steps=20, **settings)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 5  # the first evaluation is the best; four more are no better


def test_training_twice(tmp_path):
    """A second `train` begins at the first stage, as the first did."""
    trainer = make_trainer(tmp_path, number=8, max_steps=3, epochs_per_stage=1)
    trainer.train()
    trainer.train()
    assert [stage for _, stage in history(trainer)] == [0, 1, 2]
    assert trainer.model.config.num_latents == 2
