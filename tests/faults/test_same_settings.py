"""Which settings are the same for a run that resumes: what a record holds, without a step of training."""

import pytest
from peft import LoraConfig
from training import make_trainer, uneven_problems

from latent_trainer.training.run_record import make_record

EVALUATED = {"eval_dataset": uneven_problems(2), "eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps"}
ADVANCED = {**EVALUATED, "advance_at": 0.5}
BEST = {**EVALUATED, "save_steps": 2, "load_best_model_at_end": True}
GROUPED = {"train_sampling_strategy": "group_by_length"}
SPLIT = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
TARGETS = ["attn.c_attn", "attn.c_proj"]


def record(folder, **changes) -> dict:
    return make_record(make_trainer(folder, last_stage=0 if "advance_at" in changes else None, max_steps=4, **changes))


def named(one) -> str:
    """Return the name of a case: a test's name may not hold a set, whose order changes from process to process."""
    return " ".join(one) if isinstance(one, dict) else str(one)


@pytest.mark.parametrize(
    ("settings", "changes"),
    [
        ({}, {"lr_scheduler_kwargs": {}, "optim_args": "", "neftune_noise_alpha": 0.0, "warmup_steps": 0.0}),
        ({"steps_per_stage": [1, 2]}, {"steps_per_stage": [1, 2, 2]}),
        ({"backprop": "last"}, {"backprop": 1}),
        ({"backprop": "none"}, {"backprop": "0"}),
        ({"step_decoder": "shared"}, {"step_decoder_group": 1}),
        ({"peft_config": LoraConfig(target_modules=TARGETS)}, {"peft_config": LoraConfig(target_modules=(*TARGETS[::-1],))}),
        ({**BEST, "metric_for_best_model": "loss"}, {"metric_for_best_model": "eval_loss", "max_new_tokens": 5}),
        (EVALUATED, {"eval_dataset": uneven_problems(3), "eval_steps": 1, "max_new_tokens": 5}),
        ({}, SPLIT),
    ],
    ids=named,
)
def test_the_same_in_other_words(tmp_path, settings, changes):
    assert record(tmp_path, **settings) == record(tmp_path, **{**settings, **changes})


@pytest.mark.parametrize(
    ("settings", "changes", "name"),
    [
        (GROUPED, SPLIT, "rows of a batch (per_device_train_batch_size x processes)"),
        ({"dataloader_drop_last": True}, SPLIT, "rows of a batch (per_device_train_batch_size x processes)"),
        (BEST, {"metric_for_best_model": "accuracy"}, "metric_for_best_model"),
        (BEST, {"greater_is_better": True}, "greater_is_better"),
        (BEST, {"eval_dataset": uneven_problems(3)}, "eval_dataset"),
        ({**BEST, "metric_for_best_model": "accuracy"}, {"max_new_tokens": 5}, "max_new_tokens"),
        (ADVANCED, {"eval_dataset": uneven_problems(3)}, "eval_dataset"),
        (ADVANCED, {"eval_steps": 1}, "eval_steps"),
        (ADVANCED, {"eval_delay": 3}, "eval_delay"),
        (ADVANCED, {"max_new_tokens": 5}, "max_new_tokens"),
    ],
    ids=named,
)
def test_another_result(tmp_path, settings, changes, name):
    """Batches that make the order, and evaluations that end stages or choose the best model."""
    before, now = record(tmp_path, **settings), record(tmp_path, **{**settings, **changes})
    assert name in {one for one in before if before[one] != now.get(one, before[one])}
