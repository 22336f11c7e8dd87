"""What stands around the library: the module that can be run, and the files that name its version."""

import re
import runpy
from pathlib import Path

import yaml

from latent_trainer.version import __version__

ROOT = Path(__file__).resolve().parents[1]


def test_python_m_is_the_command(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["latent_trainer", "--help"])
    runpy.run_module("latent_trainer", run_name="__main__")
    assert "latent-trainer COMMAND" in capsys.readouterr().out


def test_the_citation_names_this_version():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == __version__


def test_workflows_call_targets_that_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    workflows = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    called = {target for file in workflows for target in re.findall(r"make ([a-z-]+)", file.read_text())}
    assert called == {"lint", "test", "test-versions", "site", "wheel"} and called <= targets
    assert all(yaml.safe_load(file.read_text())["jobs"] for file in workflows)


def test_contributing_names_folders_and_files_that_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = re.findall(r"`((?:latent_trainer|tests|docs|recipes|benchmarks|results|accelerate_configs)/[\w/.]*)`", text)
    assert len(named) >= 15
    assert all((ROOT / name).exists() for name in named), named
