"""The stage of every step of a run that does not begin with the first one."""

import pytest
from training import history, make_trainer

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
