"""The stage of every step of a run that does not begin with the first one."""

import pytest
from training import history, make_trainer, uneven_problems

from latent_trainer.errors import InputError

STAGES = {
    "epochs": ({"epochs_per_stage": 1, "num_train_epochs": 4}, [1, 2, 3, 3]),
    "two epochs": ({"epochs_per_stage": 2, "num_train_epochs": 4}, [1, 1, 2, 2]),
    "steps": ({"steps_per_stage": [1, 2], "max_steps": 5}, [1, 2, 2, 3, 3]),
}


@pytest.mark.parametrize("name", STAGES)
def test_stages_count_from_the_first(tmp_path, name):
    """One step an epoch; the last of the stages 0 to 3 stays."""
    changes, stages = STAGES[name]
    trainer = make_trainer(tmp_path, number=8, first_stage=1, **changes)
    trainer.train()
    assert [stage for _, stage in history(trainer)] == stages


@pytest.mark.parametrize("accumulation", [1, 3])
def test_an_epoch_without_its_last_batch(tmp_path, accumulation):
    """What is refused and what is advised count the steps that an epoch has: 18 rows are four batches of 4."""
    epoch = {1: 4, 3: 2}[accumulation]
    settings = {"number": 18, "per_device_train_batch_size": 4, "gradient_accumulation_steps": accumulation}
    settings |= {"dataloader_drop_last": True, "epochs_per_stage": 1, "first_stage": 2, "last_stage": 3}
    with pytest.raises(InputError, match=rf"\({epoch} steps an epoch\) ends in stage 2 .* set max_steps={epoch + 1},"):
        make_trainer(tmp_path, max_steps=epoch, **settings).train()
    trainer = make_trainer(tmp_path, max_steps=epoch + 1, **settings)
    trainer.train()
    assert [stage for _, stage in history(trainer)] == [2] * epoch + [3]


DECIDING = {
    "accuracy": {"advance_at": 0.0, "last_stage": 3},
    "plateau": {
        "lr_scheduler_type": "reduce_lr_on_plateau",
        "lr_scheduler_kwargs": {"patience": 0, "mode": "max"},
        "metric_for_best_model": "eval_loss",
        "greater_is_better": True,
        "last_stage": 0,
    },
}


@pytest.mark.parametrize("on_start", [False, True])
@pytest.mark.parametrize("decides", DECIDING)
def test_an_epoch_that_is_evaluated_after_its_last_step_was_saved(tmp_path, decides, on_start):
    """The checkpoint of step 2 knows nothing of the evaluation that follows; step 3 has the stage and rate it leads to."""
    settings = {"number": 16, "num_train_epochs": 3, "save_strategy": "steps", "save_steps": 1, **DECIDING[decides]}
    settings |= {"eval_strategy": "epoch", "eval_on_start": on_start, "eval_dataset": uneven_problems(2)}
    whole = make_trainer(tmp_path, **settings)
    whole.train()
    for step in (1, 2, 3, 4):
        again = make_trainer(tmp_path / "again", **{**settings, "save_strategy": "no"})
        again.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{step}"))
        assert history(again, "loss", "learning_rate") == history(whole, "loss", "learning_rate")
