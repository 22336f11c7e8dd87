"""A folder that was exported thinks where transformers is all there is."""

import json
import re
import shlex

import pytest
import torch
from hub_machines import QUESTION, ROOT, clean_machine, enter, run_program
from test_round_trip import thought_of

from latent_trainer.cli import main

pytest_plugins = ["hub_fixtures"]

PROGRAM = """
import importlib.util, json, sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
assert importlib.util.find_spec("latent_trainer") is None and importlib.util.find_spec("peft") is None
results = {}
for name in sys.argv[2:]:
    model = AutoModelForCausalLM.from_pretrained(name, trust_remote_code=True)
    tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=True)
    chat = [{"role": "user", "content": sys.argv[1]}]
    batch = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        logits = model(**batch).logits[0].tolist()
    text = tokenizer.decode(model.generate(**batch)[0, batch["input_ids"].shape[1]:], skip_special_tokens=True)
    results[name] = {"ids": batch["input_ids"][0].tolist(), "logits": logits, "text": text}
print(json.dumps(results))
"""
COMMANDS = re.findall(r"^latent-trainer export .*", (ROOT / "docs" / "hub.md").read_text(encoding="utf-8"), re.MULTILINE)


def test_what_is_exported_needs_transformers_alone(server, trained, tmp_path, monkeypatch, request, capsys):
    """The commands of docs/hub.md; an adapter is merged, so that it needs no PEFT."""
    enter(server, monkeypatch, tmp_path)
    sources = {"runs/tiny/arithmetic-coconut": trained / "full", "runs/adapter": trained / "adapter"}
    expected = {}
    for command in COMMANDS:
        _, _, folder, _, to, *rest = shlex.split(command)
        main("export", [str(sources[folder]), "--to", str(tmp_path / to), *rest])
        assert capsys.readouterr().out.endswith(f"exported to {tmp_path / to}\n")
        expected[str(tmp_path / to)] = thought_of(sources[folder], tmp_path)
    assert len(expected) == 2 and sorted(path.name for path in tmp_path.glob(".*")) == []
    python = clean_machine(request.config.cache.mkdir("hub-transformers"), "torch", "transformers")
    results = run_program(PROGRAM, QUESTION, *expected, python=python, server=server, folder=tmp_path, library=False)
    for name, result in results.items():
        assert result["ids"] == expected[name]["ids"] and result["text"] == expected[name]["text"]
        torch.testing.assert_close(torch.tensor(result["logits"]), expected[name]["logits"], rtol=1e-5, atol=1e-6)


def test_an_adapter_as_it_is(server, trained, tmp_path, monkeypatch):
    enter(server, monkeypatch, tmp_path)
    main("export", [str(trained / "adapter"), "--to", str(tmp_path / "kept")])
    names = {path.name for path in (tmp_path / "kept").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "latent_modeling.py", "chat_template.jinja"} <= names
    assert json.loads((tmp_path / "kept" / "config.json").read_text())["auto_map"]


@pytest.mark.parametrize("what", ["full folder", "file", "nothing to merge", "no model"])
def test_refused_in_one_line(trained, tmp_path, capsys, what):
    to, folder, merge = tmp_path / "to", trained / "full", []
    if what == "full folder":
        to.mkdir()
        (to / "notes.txt").touch()
    elif what == "file":
        to.touch()
    elif what == "nothing to merge":
        merge = ["--merge"]
    else:
        folder = tmp_path
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SystemExit):
        main("export", [str(folder), "--to", str(to), *merge])
    said = capsys.readouterr().err
    assert said.startswith("latent-trainer: ") and said.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
