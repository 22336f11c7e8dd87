"""Nothing of the machine a model was trained on leaves it: no folder, however it was written; code that stays is refused."""

import json
import os
import shutil
from pathlib import Path

import pytest
from transformers import CONFIG_MAPPING, GPT2Config

from latent_trainer.errors import InputError
from latent_trainer.hub import export_folder, push_folder
from latent_trainer.local_names import hub_id, is_local, names_hub, without_folders

pytest_plugins = ["hub_fixtures"]
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")
MARK = "zebrafolder"


def change(path: Path, **settings) -> None:
    """Change settings of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


@pytest.fixture
def marked(trained, tmp_path):
    """Return a folder of a run under recognisable names, which stand in every settings file in every form."""
    place = tmp_path / MARK / "team" / f"{MARK}-run"
    shutil.copytree(trained / "full", place)
    shutil.copy(trained / "full.json", place.with_name(f"{MARK}-run.json"))
    (tmp_path / MARK / "team" / f"{MARK}-base").mkdir()
    relative = f"team/{MARK}-run"  # as a command that ran in the folder above would say it
    paths = [str(place), relative, f"./{MARK}/x", f"../{MARK}/x.json", f"~/{MARK}/y", f"C:\\Users\\{MARK}\\y"]
    nested = {"dataset_path": str(place / "a.jsonl"), "more": [{"model": one} for one in paths]}
    base = json.loads((place / "config.json").read_text())["base_config"]
    change(place / "config.json", base_name_or_path=f"team/{MARK}-base", base_config={**base, "_name_or_path": str(place)})
    change(place / "training_arguments.json", objective_options=nested, hub_dir=f"a/{MARK}/c/d")
    change(place / "data_arguments.json", dataset_options=nested, dataset_validation_path=f"{MARK}/data/b.jsonl")
    change(place / "generation_config.json", assistant_path=str(place))
    change(place / "tokenizer_config.json", name_or_path=str(place), tokenizer_file=f"{place}/tokenizer.json", more=nested)
    record = json.loads((place.with_name(f"{MARK}-run.json")).read_text())
    record["config"] |= {"model": relative, "output": f"{relative}.json", "dataset_options": nested}
    (place.with_name(f"{MARK}-run.json")).write_text(json.dumps(record))
    return place


def test_no_text_names_a_folder(hub, marked, tmp_path, monkeypatch):
    """Not in an export, not in a push, whatever folder the command runs in."""
    for here in (tmp_path, tmp_path / MARK):
        monkeypatch.chdir(here)
        to = export_folder(os.path.relpath(marked), tmp_path / "out" / here.name)
        push_folder(marked, "me/private")
        exported = {str(path.relative_to(to)): path.read_bytes() for path in to.rglob("*") if path.is_file()}
        for name, content in (exported | hub.files("me/private")).items():
            assert MARK.encode() not in content and MARK not in name and str(Path.home() / "x").encode() not in content, name
        assert json.loads(exported["config.json"])["base_name_or_path"] == ""
        assert json.loads(exported["data_arguments.json"])["dataset_options"]["dataset_path"] == "a.jsonl"


def test_a_text_that_cannot_be_cleaned_is_refused(hub, marked, tmp_path):
    change(marked / "training_arguments.json", note=f"see {marked.resolve()} for more")
    for send in (lambda: export_folder(marked, tmp_path / "to"), lambda: push_folder(marked, "me/note")):
        with pytest.raises(InputError, match=r"training_arguments.json would publish .*remove it"):
            send()
    assert not (tmp_path / "to").exists() and "me/note" not in hub.repositories


def test_a_text_of_a_prompt_is_no_folder(trained, tmp_path):
    """It may begin as a path does, and stays what the model was trained on."""
    place = Path(shutil.copytree(trained / "full", tmp_path / "run"))
    template = json.loads((place / "config.json").read_text())["template"]
    for texts in ({"step": "/{step} "}, {"answer_prefix": "~/answer: "}, {"question": "C:/{question} "}):
        change(place / "config.json", template={**template, **texts})
        change(place / "training_arguments.json", template={**template, **texts})
        change(place / "generation_config.json", stop_strings=["/"])
        to = export_folder(place, tmp_path / next(iter(texts)))
        for file in ("config.json", "training_arguments.json"):
            assert json.loads((to / file).read_text())["template"] == {**template, **texts}
        assert json.loads((to / "generation_config.json").read_text())["stop_strings"] == ["/"]


@pytest.mark.parametrize("form", ["absolute", "relative", "deep"])
def test_an_adapter_on_a_local_base_is_refused(trained, tmp_path, monkeypatch, form):
    place = Path(shutil.copytree(trained / "adapter", tmp_path / "team" / "adapter"))
    (tmp_path / "team" / "mybase").mkdir()
    base = {"absolute": str(tmp_path / "team" / "mybase"), "relative": "team/mybase", "deep": "gone/team/mybase"}[form]
    for file, name in (("config.json", "base_name_or_path"), ("adapter_config.json", "base_model_name_or_path")):
        before = (place / file).read_text()
        change(place / file, **{name: base})
        monkeypatch.chdir(tmp_path if form == "absolute" else Path(__file__).parent)
        with pytest.raises(InputError, match=r"local folder \(mybase\).*give merge"):
            export_folder(place, tmp_path / "to")
        (place / file).write_text(before)


def test_a_base_in_the_cache_has_its_name_on_the_hub(trained, tmp_path):
    place = Path(shutil.copytree(trained / "adapter", tmp_path / "adapter"))
    change(place / "config.json", base_name_or_path=str(tmp_path / "hub" / "models--me--base" / "snapshots" / "abc"))
    to = export_folder(place, tmp_path / "to")
    assert json.loads((to / "config.json").read_text())["base_name_or_path"] == "me/base"


def test_names():
    assert hub_id("/x/hub/models--me--base/snapshots/0a/") == "me/base" and hub_id("me/base") is None
    assert all(is_local(name) for name in ("/x", "~/x", "./x", "../x", "..", "C:\\x", "\\\\host\\x", "file:///x"))
    assert not any(is_local(name) for name in ("me/base", "gpt2", "", "</s>"))
    assert hub_id("/x/models--me--base/snapshots/0a/t.Q4.gguf") == "me/base:t.Q4.gguf"
    assert names_hub("me/base:t.Q4.gguf") and not names_hub("./me/base:t.Q4.gguf")
    assert without_folders({"output": "x/y.json", "dataset_path": "x/y.jsonl", "model": "x/y.gguf", "out": "x/y"}) == {
        "output": "y.json",
        "dataset_path": "y.jsonl",
        "model": "y.gguf",
        "out": "y",
    }
    kept = {"model": "me/base", "template": "a/b/c", "date": "1/2/3", "text": "a\n/b", "number": 1}
    assert without_folders(kept) == kept


class MyConfig(GPT2Config):
    """An architecture of a user's own."""

    model_type = "an_architecture_of_mine"


def test_an_architecture_that_would_not_travel(trained, tmp_path, monkeypatch):
    place = Path(shutil.copytree(trained / "full", tmp_path / "run"))
    monkeypatch.setitem(CONFIG_MAPPING._extra_content, MyConfig.model_type, MyConfig)
    base = json.loads((place / "config.json").read_text())["base_config"]
    change(place / "config.json", base_config={**base, "model_type": MyConfig.model_type})
    with pytest.raises(
        InputError, match=r"architecture an_architecture_of_mine is code of test_privacy, which would not travel"
    ):
        export_folder(place, tmp_path / "to")
    assert not (tmp_path / "to").exists()
