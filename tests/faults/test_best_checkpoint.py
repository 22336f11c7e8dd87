"""What a checkpoint says: where the best one is, that every byte is there, no entry of a weight NaN, and which is newest."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from training import make_trainer, uneven_problems
from transformers import TrainerCallback

from latent_trainer.training import checkpoints as module
from latent_trainer.training.checkpoints import checkpoints, fault, last_checkpoint, write_manifest
from latent_trainer.training.saving import broken_weight

BEST = 2


class Measure(TrainerCallback):
    """Make one evaluation the best of a run, whatever the model is like."""

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        """Say how good it was; the trainer looks at it next."""
        metrics["eval_quality"] = float(state.global_step == BEST)


def test_the_best_is_where_it_says(tmp_path):
    """In the state of the run and in every checkpoint, also where a later one was saved and others have gone."""
    best = str(tmp_path / f"checkpoint-{BEST}")
    said = {}

    class Look(TrainerCallback):
        def on_save(self, args, state, control, **kwargs):
            newest = checkpoints(tmp_path)[-1]
            saved = json.loads((newest / "trainer_state.json").read_text())["best_model_checkpoint"]
            said[state.global_step] = state.best_model_checkpoint, saved

    trainer = make_trainer(
        tmp_path,
        number=8,
        method="no_cot",
        max_steps=4,
        callbacks=[Measure(), Look()],
        eval_dataset=uneven_problems(2),
        generate_in_eval=False,
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_quality",
        greater_is_better=True,
    )
    trainer.train()
    assert said == {1: (str(tmp_path / "checkpoint-1"),) * 2} | dict.fromkeys((2, 3, 4), (best, best))
    assert trainer.state.best_model_checkpoint == best and Path(best).is_dir()


@pytest.mark.parametrize("place", [0, 20, 63])
def test_every_block_of_a_file_counts(tmp_path, monkeypatch, place):
    """Files are read in blocks; a byte that has changed in any of them is found."""
    monkeypatch.setattr(module, "BLOCK", 16)
    content = bytearray(range(64))
    (tmp_path / "weights").write_bytes(content)
    write_manifest(tmp_path, "hash")
    assert fault(tmp_path) is None
    content[place] += 1
    (tmp_path / "weights").write_bytes(content)
    assert fault(tmp_path) == "the content of weights has changed"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_one_entry_breaks_a_weight(value):
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    assert broken_weight(model) is None
    with torch.no_grad():
        model[1].weight[2, 1] = value
    assert broken_weight(model) == "1.weight"


def test_checkpoints_are_in_the_order_of_their_steps(tmp_path):
    for name in ("checkpoint-9", "checkpoint-10", "checkpoint-100", "checkpoint-last"):
        (tmp_path / name).mkdir()
        write_manifest(tmp_path / name, "hash")
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-9", "checkpoint-10", "checkpoint-100"]
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-100")
