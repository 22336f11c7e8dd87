"""The recipes that come with the library: listed, copied, and read where a command names one that is not in the folder."""

from pathlib import Path

import pytest

from latent_trainer import bundled
from latent_trainer.cli import main
from latent_trainer.cli.config_file import read_config

ROOT = Path(__file__).resolve().parents[1]


def test_every_file_has_a_name():
    on_disk = {path for folder in bundled.FOLDERS for path in (ROOT / folder).rglob("*.yaml")}
    assert set(bundled.files().values()) == on_disk
    assert bundled.files()["tiny/arithmetic-coconut"] == ROOT / "recipes" / "tiny" / "arithmetic-coconut.yaml"
    assert bundled.files()["accelerate_configs/ddp"] == ROOT / "accelerate_configs" / "ddp.yaml"


def test_list(capsys):
    main("recipes", ["list"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(bundled.files())
    assert all(len(line.split()) > 3 for line in lines), "every file begins with a line that says what it is"


def test_copy(tmp_path, capsys):
    main("recipes", ["copy", "tiny/arithmetic-coconut", "--to", str(tmp_path / "mine")])
    copied = tmp_path / "mine" / "arithmetic-coconut.yaml"
    assert copied.read_bytes() == (ROOT / "recipes" / "tiny" / "arithmetic-coconut.yaml").read_bytes()
    assert f"latent-trainer train --config {copied}" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main("recipes", ["copy", "--name", "recipes/tiny/arithmetic-coconut.yaml", "--to", str(tmp_path / "mine")])
    assert "exists; delete it, or name another folder with --to" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["copy", "tiny/arithmetic"], "did you mean 'tiny/arithmetic-coconut'?"),
        (["copy"], "the following arguments are required: --name"),
        (["show"], "action of recipes='show' is not one of list, copy"),
        (["list", "--all"], "unknown option '--all' of recipes list"),
    ],
    ids=str,
)
def test_what_is_refused(words, why, capsys):
    with pytest.raises(SystemExit):
        main("recipes", words)
    assert why in capsys.readouterr().err


def test_a_bundled_recipe_is_read_where_none_is_there(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert read_config("recipes/tiny/arithmetic-coconut.yaml")["method"] == "coconut"
    assert "no recipes/tiny/arithmetic-coconut.yaml in this folder; reading the one" in capsys.readouterr().err
    own = tmp_path / "recipes" / "tiny" / "arithmetic-coconut.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("method: codi\n")
    assert read_config("recipes/tiny/arithmetic-coconut.yaml") == {"method": "codi"}
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("path", ["recipes/none.yaml", "other/tiny.yaml", "recipes/../setup.cfg", "", "/recipes/x.yaml"])
def test_other_paths_stay(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert bundled.resolve(path) == path
