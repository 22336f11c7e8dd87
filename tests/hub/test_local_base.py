"""A model trained from a base in a folder of this machine is published without that folder's name."""

import json
from pathlib import Path

import pytest
import torch
from conftest import make_base
from training import make_tokenizer, make_trainer
from transformers import AutoModelForCausalLM

from latent_trainer.hub import export_folder


@pytest.mark.parametrize("relative", [False, True], ids=["absolute", "relative"])
def test_the_base_is_not_named(tmp_path, monkeypatch, relative):
    monkeypatch.chdir(tmp_path)
    folder = "secret-base" if relative else str(tmp_path / "secret-base")
    make_base(vocab_size=len(make_tokenizer()), dtype=torch.float32).save_pretrained(folder)
    trainer = make_trainer(tmp_path / "run", base=AutoModelForCausalLM.from_pretrained(folder), number=4)
    trainer.save_model()
    assert json.loads((tmp_path / "run" / "config.json").read_text())["base_name_or_path"] == folder
    export_folder(tmp_path / "run", tmp_path / "exported")
    config = json.loads((tmp_path / "exported" / "config.json").read_text())
    assert config["base_name_or_path"] == "" and "_name_or_path" not in config["base_config"]
    files = [path for path in Path(tmp_path / "exported").rglob("*") if path.is_file()]
    assert files and not [path.name for path in files if b"secret-base" in path.read_bytes()]
