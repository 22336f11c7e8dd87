"""A resumed run is the one that was begun: what decides its result is compared with the checkpoint's own record."""

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from conftest import make_base
from peft import LoraConfig
from training import history, make_tokenizer, make_trainer, uneven_problems

from latent_trainer.errors import InputError
from latent_trainer.training.checkpoints import write_manifest
from latent_trainer.training.run_record import RECORD, make_record

RUN = {"steps_per_stage": 1, "max_steps": 4, "save_strategy": "steps", "save_steps": 2, "last_stage": None}
LORA = {"feedback": "projection", "peft_config": LoraConfig(r=2)}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> dict[str, Path]:
    """Return the folders of a full run and one of adapters, with checkpoints 2 and 4."""
    folders = {name: tmp_path_factory.mktemp(name) / "run" for name in ("full", "lora")}
    make_trainer(folders["full"], **RUN).train()
    make_trainer(folders["lora"], **RUN, **LORA).train()
    return folders


@pytest.fixture
def run(finished, tmp_path) -> Path:
    """Return a copy of the full run's checkpoint 2."""
    return Path(shutil.copytree(finished["full"] / "checkpoint-2", tmp_path / "run" / "checkpoint-2")).parent


@pytest.fixture
def said(caplog, monkeypatch):
    """Return a function that returns the warnings said so far."""
    for name in ("latent_trainer", "transformers"):
        monkeypatch.setattr(transformers.utils.logging.get_logger(name), "propagate", True)
    caplog.set_level(logging.WARNING)
    return lambda: [record.getMessage() for record in caplog.records if record.name.split(".")[0] != "py.warnings"]


def resume(folder: Path, **changes):
    trainer = make_trainer(folder, **{**RUN, "save_strategy": "no", **changes})
    trainer.train(resume_from_checkpoint=True)
    return trainer


CHANGED = {
    "method": ({"method": "sim_cot", "step_decoder": "shared"}, "method has changed", "coconut then, sim_cot now"),
    "objective": ({"objective": "self_distillation"}, "objective has changed", "answer then, self_distillation now"),
    "feedback": ({"feedback": "soft"}, "feedback has changed", "hidden then, soft now"),
    "feedback option": ({"feedback_options": {"norm": 2.0}}, "feedback_options.norm has", "unset then, 2.0 now"),
    "rollout": ({"rollout": "jacobi"}, "rollout has changed", "sequential then, jacobi now"),
    "backprop": ({"backprop": "last"}, "backprop has changed", "full then, last now"),
    "curriculum": ({"latents_per_step": 2}, "latents_per_step has changed", "1 then, 2 now"),
    "stages": ({"steps_per_stage": [1, 2], "max_steps": 9}, "steps_per_stage has changed", "[1] then, [1, 2] now"),
    "mixed": ({"mixed_stages": True}, "mixed_stages has changed", "False then, True now"),
    "mixing": ({"uniform_prob": 0.5}, "uniform_prob has changed", "0.0 then, 0.5 now"),
    "reset": ({"reset_optimizer": "stage"}, "reset_optimizer has changed", "never then, stage now"),
    "template": ({"template": "coconut"}, "template.question has changed", "'{question} ' then, '{question}\\n' now"),
    "markers": ({"markers": False}, "template.markers has changed", "True then, False now"),
    "layout": ({"remaining_steps": "inside"}, "template.remaining_steps has changed", "after then, inside now"),
    "seed": ({"seed": 1}, "seed has changed", "42 then, 1 now"),
    "data seed": ({"data_seed": 1}, "data_seed has changed", "42 then, 1 now"),
    "batch": ({"per_device_train_batch_size": 4}, "rows of a step (per_device_train_batch_size x", "8 then, 4 now"),
    "accumulation": ({"gradient_accumulation_steps": 2}, "rows of a step (per_device_train_batch_size x", "8 then, 16 now"),
    "order": (
        {"train_sampling_strategy": "sequential"},
        "train_sampling_strategy has changed",
        "random then, sequential now",
    ),
    "optimizer": ({"optim": "adafactor"}, "optim has changed", "then, adafactor now"),
    "learning rate": ({"learning_rate": 1e-3}, "learning_rate has changed", "0.01 then, 0.001 now"),
    "scheduler": ({"lr_scheduler_type": "cosine"}, "lr_scheduler_type has changed", "linear then, cosine now"),
    "warmup": ({"warmup_steps": 2}, "warmup_steps has changed", "0 then, 2 now"),
    "decay": ({"weight_decay": 0.1}, "weight_decay has changed", "0.0 then, 0.1 now"),
    "clipping": ({"max_grad_norm": 0.5}, "max_grad_norm has changed", "1.0 then, 0.5 now"),
    "smoothing": ({"label_smoothing_factor": 0.1}, "label_smoothing_factor has changed", "0.0 then, 0.1 now"),
    "last rows": ({"dataloader_drop_last": True}, "dataloader_drop_last has changed", "False then, True now"),
    "precision": ({"bf16": True}, "precision has changed", "no then, bf16 now"),
    "dtype": ({"dtype": torch.float64}, "dtype has changed", "torch.float32 then, torch.float64 now"),
    "adapters": ({"peft_config": LoraConfig(r=2)}, "adapters has changed", "unset then, ['default'] now"),
    "architecture": ({"architecture": "llama"}, "base_config.model_type has changed", "gpt2 then, llama now"),
}


@pytest.mark.parametrize("name", CHANGED)
def test_changed(finished, tmp_path, name):
    changes, names, values = CHANGED[name]
    trainer = make_trainer(tmp_path, **{**RUN, **changes})
    with pytest.raises(InputError) as caught:
        trainer.train(resume_from_checkpoint=str(finished["full"] / "checkpoint-2"))
    line = str(caught.value)
    assert line.startswith(names) and "since checkpoint-2 was saved" in line and values in line and "\n" not in line
    assert trainer.state.global_step == 0


@pytest.mark.parametrize(
    ("changes", "names", "values"),
    [
        ({"peft_config": LoraConfig(r=4)}, "peft_config.r has changed", "2 then, 4 now"),
        ({"peft_config": LoraConfig(r=2, lora_alpha=3)}, "peft_config.lora_alpha has changed", "8 then, 3 now"),
        ({"peft_config": None}, "adapters has changed", "['default'] then, unset now"),
        ({"base": 1}, "weights that do not train have changed", "then,"),
    ],
    ids=str,
)
def test_changed_adapters(finished, tmp_path, changes, names, values):
    if "base" in changes:  # of the same shape, with other weights
        changes = {"base": make_base(vocab_size=len(make_tokenizer()), dtype=torch.float32, seed=1)}
    trainer = make_trainer(tmp_path, **{**RUN, **LORA, **changes})
    with pytest.raises(InputError) as caught:
        trainer.train(resume_from_checkpoint=str(finished["lora"] / "checkpoint-2"))
    assert str(caught.value).startswith(names) and values in str(caught.value)


def test_another_vocabulary(finished, tmp_path):
    """As large as the one before, with two tokens under each other's number."""
    trainer = make_trainer(tmp_path, **RUN)
    backend = json.loads(trainer.processing_class.backend_tokenizer.to_str())
    vocabulary = backend["model"]["vocab"]
    vocabulary["1"], vocabulary["2"] = vocabulary["2"], vocabulary["1"]
    trainer.processing_class._tokenizer = type(trainer.processing_class.backend_tokenizer).from_str(json.dumps(backend))
    with pytest.raises(InputError, match=r"tokenizer has changed since .* 17 tokens, .* then, 17 tokens, .* now"):
        trainer.train(resume_from_checkpoint=str(finished["full"] / "checkpoint-2"))


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_nothing_has_changed(finished, tmp_path, kind, said):
    """No warning about keys of which none is missing; the same in other words is the same, and so is another split."""
    shutil.copytree(finished[kind] / "checkpoint-2", tmp_path / "checkpoint-2")
    changes = {} if kind == "full" else LORA
    same = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "markers": True, "data_seed": 42}
    again = resume(tmp_path, **changes, **same)
    assert [step for step, _ in history(again)] == [1, 2, 3, 4]
    assert not [line for line in said() if "missing keys" in line or "unexpected keys" in line or "has changed" in line]


def test_what_may_change(run, said):
    """How long a run goes on: one line says it."""
    again = resume(run, max_steps=6, logging_steps=2, eval_dataset=uneven_problems(2), eval_strategy="epoch")
    assert again.state.global_step == 6
    assert [line for line in said() if "another length" in line] == [
        "resumed with another length: max_steps 4 then, 6 now; schedules follow the new one"
    ]


def test_a_run_that_was_cut_goes_on_to_its_last_stage(tmp_path):
    make_trainer(tmp_path, **{**RUN, "last_stage": 1, "max_steps": 2}).train()
    assert resume(tmp_path).stages.stage == 3
    with pytest.raises(InputError, match="last_stage=0: the checkpoint is in stage 1 already"):
        resume(tmp_path, last_stage=0)


def without_record(run: Path) -> None:
    """Make a checkpoint look as an older version has left it."""
    folder = run / "checkpoint-2"
    (folder / RECORD).unlink()
    write_manifest(folder, json.loads((folder / "manifest.json").read_text())["data_hash"])


def test_a_checkpoint_without_a_record(run, said):
    without_record(run)
    assert resume(run).state.global_step == 4
    assert f"checkpoint-2 has no {RECORD}: its settings cannot be compared with those of this run" in said()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"architecture": "llama"}, "is of another model: it has no base.model.embed_tokens.weight and 20 more"),
        ({"feedback": "projection"}, "is of another model: it has no feedback.projection"),
        ({"optim": "adafactor"}, "is of another optimizer: it has no beta1"),
        ({"optim": "sgd"}, "is of another optimizer: it has no dampening, momentum"),
    ],
    ids=str,
)
def test_another_model_or_optimizer_without_a_record(run, changes, says):
    without_record(run)
    with pytest.raises(InputError) as caught:
        resume(run, **changes)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_another_optimizer_of_ones_own(run):
    """The record cannot know it; its state does."""
    trainer = make_trainer(run, **RUN)
    trainer.optimizer = torch.optim.SGD(trainer.model.parameters(), lr=0.1, momentum=0.9)
    with pytest.raises(InputError, match="is of another optimizer: loaded state dict has a different number"):
        trainer.train(resume_from_checkpoint=True)


def test_the_record_is_of_the_run(finished, tmp_path):
    """It is among the files that the manifest vouches for, and equals that of the same run made again."""
    folder = finished["lora"] / "checkpoint-4"
    record = json.loads((folder / RECORD).read_text())
    assert RECORD in json.loads((folder / "manifest.json").read_text())["files"]
    assert make_record(make_trainer(tmp_path, **RUN, **LORA)) == record
