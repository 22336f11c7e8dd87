"""The stage of every step of a run that does not begin with the first one."""

import pytest
from training import history, make_trainer

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
