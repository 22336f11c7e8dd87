"""Weights that are a pickle are never opened, an adapter's no more than a model's, whichever door they come to."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
from peft import LoraConfig
from test_checkpoints import Evil
from training import make_trainer

from latent_trainer import LatentForCausalLM
from latent_trainer.cli import main
from latent_trainer.errors import InputError
from latent_trainer.hub import export_folder, push_folder
from latent_trainer.training.checkpoints import MANIFEST, write_manifest

SAVING = {"max_steps": 2, "save_strategy": "steps", "save_steps": 2}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """Return the folder of an adapter with a checkpoint."""
    trainer = make_trainer(tmp_path_factory.mktemp("trained") / "run", peft_config=LoraConfig(r=2), **SAVING)
    trainer.train()
    trainer.save_model()
    return Path(trainer.args.output_dir)


@pytest.fixture
def adapter(trained, tmp_path) -> Path:
    """Return a copy whose weights are a pickle that must not be opened."""
    folder = Path(shutil.copytree(trained, tmp_path / "run"))
    for place in (folder, folder / "checkpoint-2"):
        (place / "adapter_model.safetensors").unlink()
        (place / "adapter_model.bin").write_bytes(pickle.dumps(Evil(), protocol=2))
    manifest = json.loads((folder / "checkpoint-2" / MANIFEST).read_text())
    write_manifest(folder / "checkpoint-2", manifest["data_hash"])
    return folder


def test_loading_and_publishing(adapter, tmp_path):
    doors = {
        "from_pretrained": lambda: LatentForCausalLM.from_pretrained(adapter),
        "from_base": lambda: LatentForCausalLM.from_base(str(adapter), latent_token_id=1, bot_token_id=2, eot_token_id=3),
        "export": lambda: export_folder(adapter, tmp_path / "to"),
        "merge": lambda: export_folder(adapter, tmp_path / "to", merge=True),
        "push": lambda: push_folder(adapter, "me/never"),
    }
    for name, door in doors.items():
        with pytest.raises(InputError, match="pickle") as raised:
            door()
        assert "\n" not in str(raised.value), name
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize("command", ["evaluate", "generate", "probe"])
def test_commands(adapter, tmp_path, capsys, command):
    more = {
        "evaluate": ["--dataset", "arithmetic", "--max_eval_problems", "2"],
        "generate": ["--question", "1 + 1"],
        "probe": ["--dataset", "arithmetic", "--out", str(tmp_path / "out")],
    }
    with pytest.raises(SystemExit):
        main(command, ["--model", str(adapter), *more[command]])
    said = capsys.readouterr().err
    assert "adapter_model.bin" in said and said.count("\n") == 1


@pytest.mark.parametrize("name", ["adapter_model.bin", "pytorch_model.bin"])
def test_resuming(adapter, name):
    """Even with a manifest that knows the pickle."""
    checkpoint = adapter / "checkpoint-2"
    (checkpoint / "adapter_model.bin").rename(checkpoint / name)
    write_manifest(checkpoint, json.loads((checkpoint / MANIFEST).read_text())["data_hash"])
    for value in (True, str(checkpoint)):
        trainer = make_trainer(adapter, peft_config=LoraConfig(r=2), **{**SAVING, "max_steps": 4})
        with pytest.raises(InputError, match=rf"holds weights in a pickle \({name}\), which is never opened"):
            trainer.train(resume_from_checkpoint=value)
