"""What docs/plugins.md shows runs as printed."""

import re
import shlex
from pathlib import Path

import pytest

from latent_trainer import plugins
from latent_trainer.cli import main

pytest_plugins = ["plugin_fixtures"]

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def mine(door, tmp_path, monkeypatch):
    """The plug-in of the page, in the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    return door("mine.py", BLOCKS[0][1])


def test_the_page_has_these_blocks():
    assert [kind for kind, _ in BLOCKS] == ["python", "bash", "toml", "python", "python"]
    assert set(re.findall(r"register_(\w+)\(", PAGE)) == set(plugins.HOMES)


def test_the_command(mine, tmp_path):
    words = shlex.split(BLOCKS[1][1])
    assert words[:2] == ["latent-trainer", "train"]
    short = ["--max_steps", "1", "--last_stage", "0", "--max_train_problems", "32", "--max_eval_problems", "4"]
    quiet = ["--log_level", "error", "--disable_tqdm", "true", "--save_strategy", "no"]
    main("train", [*words[2:], *short, *quiet])
    assert '"double"' in (tmp_path / "runs" / "double" / "training_arguments.json").read_text()


def test_the_checks(mine):
    for kind, code in BLOCKS[3:]:
        scope: dict = {}
        assert kind == "python"
        exec(compile(code, "docs/plugins.md", "exec"), scope)
    scope["TestDouble"].setup_class()
    scope["TestDouble"]().test_objective()
