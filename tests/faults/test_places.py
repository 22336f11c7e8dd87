"""Odd output paths, and two of anything in one folder: one line, and every file stays as it was."""

import os
import sqlite3
from pathlib import Path

import pytest
from disks import contents
from processes import write_recipe
from training import make_trainer

from latent_trainer import LatentForCausalLM
from latent_trainer.cli import main
from latent_trainer.errors import InputError
from latent_trainer.sweep.points import Space
from latent_trainer.sweep.state import SweepState
from latent_trainer.training.saving import locked
from latent_trainer.whole_files import output_file, output_folder


@pytest.fixture
def here(tmp_path, tmp_path_factory, monkeypatch):
    """Return a folder with something odd of every kind, as the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


WRONG_FOLDERS = {
    "": "is empty",
    "  ": "is empty",
    "file": "is a file and not a folder",
    "file/below": "'file' is a file",
    "file/far/below": "'file' is a file",
    "broken": "link to nothing",
    "broken/below": "link to nothing",
    "loop/below": "oop",
    "pipe": "a device, pipe or the like",
    "/dev/null/x": "a device, pipe or the like",
    "x" * 256: "longer than",
    "ü" * 128: "longer than",
    "a/" * 3000: "longer than",
    "a\0b": "zero byte",
}
RIGHT_FOLDERS = [
    "folder",
    "new",
    "new/deep/er",
    "link",
    "link/new",
    ".",
    "a b",
    "ü ☃",
    "a\nb",
    "-x",
    "x" * 255,
    "~/run",
    "a%20?#",
]
WRONG_FILES = {**WRONG_FOLDERS, ".": "is a folder", "..": "is a folder", "folder": "is a folder", "folder/": "is a folder"}
WRONG_FILES |= {"file": None, "link": "is a folder", "/dev/full": "not a regular file", "x.answers": "another suffix"}
WRONG_FILES |= {"x" * 250: "longer than 247 bytes"}


@pytest.mark.parametrize("path", WRONG_FOLDERS)
def test_no_folder(here, path):
    with pytest.raises(InputError, match=WRONG_FOLDERS[path]) as raised:
        output_folder("to", path)
    assert "\n" not in str(raised.value) and str(raised.value).startswith("to")


@pytest.mark.parametrize("path", [path for path, words in WRONG_FILES.items() if words])
def test_no_file(here, path):
    words = WRONG_FILES[path].replace("not a folder", "").replace("is a file and ", "")
    with pytest.raises(InputError, match=words) as raised:
        output_file("output", path, (".answers",))
    assert "\n" not in str(raised.value)


def test_good_places(here):
    before = sorted(here.rglob("*"))
    for path in RIGHT_FOLDERS:
        assert output_folder("to", path) == str(Path(path.replace("~", os.environ["HOME"])))
    for path in ("file", "new.json", "new/deep/er.json", "link/x.json", "a b\nü.json", "x" * 247):
        assert output_file("output", path, (".answers",)) == path
    assert sorted(here.rglob("*")) == before


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("evaluate", ["--model", "none", "--output", "{}"]),
        ("probe", ["--model", "none", "--dataset", "arithmetic", "--out", "other"]),
        ("compare", ["other.json", "more.json", "--output", "other"]),
        ("audit", ["--model", "none", "--output", "{}"]),
        ("audit", ["--model", "none", "--report", "other.html"]),
        ("demo", ["--output", "{}"]),
        ("data", ["export", "--dataset", "jsonl", "--dataset_path", "own.jsonl", "--output", "own.jsonl"]),
    ],
)
@pytest.mark.parametrize("content", ['{"model_type": "latent"}', "[1]", "no JSON"])
def test_what_is_no_earlier_record_stays(here, capsys, command, words, content):
    """A model's configuration, somebody's data, a record that is compared: named as the output by accident."""
    for name in ("other.json", "other.html", "own.jsonl"):
        Path(name).write_text(content)
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit):
        main(command, [word.format("other.json") for word in words])
    assert "would be overwritten; name another file" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("train", ["--dataset", "arithmetic", "--output_dir", "file/run"]),
        ("evaluate", ["--model", "none", "--output", "file/record.json"]),
        ("evaluate", ["--model", "none", "--output", "/dev/full"]),
        ("sweep", ["--base", "file", "--axes", '{"num_latents": [1]}', "--output_dir", "file"]),
        ("demo", ["--runs", "file"]),
        ("demo", ["--runs", "."]),  # it would empty the folder
        ("data", ["export", "--dataset", "arithmetic", "--output", "folder"]),
        ("export", ["folder", "--to", "broken"]),
        ("probe", ["--model", "none", "--out", "file"]),
        ("audit", ["--model", "none", "--report", "file/page.html"]),
        ("compare", ["a.json", "b.json", "--output", "file/both"]),
    ],
)
def test_commands_say_so_first(here, capsys, command, words):
    before = contents(here / "folder"), sorted(here.rglob("*"))
    with pytest.raises(SystemExit) as ended:
        main(command, words)
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.startswith("latent-trainer: ") and said.count("\n") == 1
    assert (contents(here / "folder"), sorted(here.rglob("*"))) == before


def test_a_run_in_an_odd_folder(tmp_path):
    """Spaces, letters of other alphabets and a line break are no trouble."""
    folder = tmp_path / "a b\nü☃ %20?"
    saving = {"max_steps": 2, "save_strategy": "steps", "save_steps": 1, "save_total_limit": 1}
    make_trainer(folder, **saving).train()
    again = make_trainer(folder, **{**saving, "max_steps": 3})
    again.train(resume_from_checkpoint=True)
    again.save_model()
    LatentForCausalLM.from_pretrained(folder)


def test_a_second_run(tmp_path, capsys):
    """One that is refused leaves every file of the first as it was, its problems' settings too."""
    run, recipe = tmp_path / "run", write_recipe(tmp_path, max_steps=2, save_steps=2, steps_per_stage=1, last_stage=1)
    main("train", ["--config", str(recipe), "--output_dir", str(run)])
    before = contents(run)
    assert "data_arguments.json" in before
    more = ["--max_train_problems", "20", "--max_steps", "4"]
    for words, why in (
        (["--resume_from_checkpoint", "true"], "problems have changed"),
        ([], "already holds another run"),
    ):
        with pytest.raises(SystemExit):
            main("train", ["--config", str(recipe), "--output_dir", str(run), *more, *words])
        assert why in capsys.readouterr().err
        assert contents(run) == before
    with locked(run, holds=True), pytest.raises(SystemExit):
        before = contents(run)
        main("train", ["--config", str(recipe), "--output_dir", str(run), "--resume_from_checkpoint", "true"])
    assert "another run is training" in capsys.readouterr().err
    assert {name: before[name] for name in before if name != ".lock"} == {
        name: now for name, now in contents(run).items() if name != ".lock"
    }


SWEEP = ["--base", "base.yaml", "--axes", '{"num_latents": [1]}', "--output_dir", "sweep"]


def make_sweep(folder: Path) -> Path:
    """Begin a sweep; return its file."""
    SweepState(folder / "sweep", Space(axes={"num_latents": [1]}), {"recipe": "r", "metric": "score"})
    (folder / "sweep" / "points" / "0000").mkdir(parents=True)
    (folder / "base.yaml").write_text("dataset: arithmetic\n")
    return folder / "sweep" / "sweep.db"


@pytest.mark.parametrize("damage", ["running", "other", "truncated", "garbage", "empty", "gone", "folder", "no study"])
def test_a_second_or_a_damaged_sweep(tmp_path, monkeypatch, capsys, damage):
    monkeypatch.chdir(tmp_path)
    file = make_sweep(tmp_path)
    content = file.read_bytes()
    if damage == "truncated":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "garbage":
        file.write_bytes(b"garbage" * 1000)
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage in ("gone", "folder"):
        file.unlink()
        if damage == "folder":
            file.mkdir()
    elif damage == "no study":
        file.unlink()
        sqlite3.connect(file).execute("CREATE TABLE mine (a)").connection.close()
    before = contents(tmp_path / "sweep")
    with locked("sweep", holds=damage == "running"), pytest.raises(SystemExit) as ended:
        main("sweep", SWEEP)
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.startswith("latent-trainer: ") and said.count("\n") == 1, said
    assert {name: now for name, now in contents(tmp_path / "sweep").items() if name != ".lock"} == before


def test_a_second_demo(tmp_path, capsys):
    with locked(tmp_path / "runs", holds=True), pytest.raises(SystemExit):
        main("demo", ["--runs", str(tmp_path / "runs"), "--output", str(tmp_path / "demo.json")])
    said = capsys.readouterr().err
    assert "another demo is running in runs=" in said and said.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
