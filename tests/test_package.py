"""What stands around the library: the module that can be run, and the files that name its version."""

import ast
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


def test_the_public_surface_says_what_it_returns():
    """What `make types` checks is annotated with what it returns; the package says that it has types."""
    listed = re.search(r"\[tool\.mypy\].*?files = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL)[1]
    files = re.findall(r'"(.*?)"', listed)
    paths = [path for name in files for path in ([ROOT / name] if name.endswith(".py") else (ROOT / name).rglob("*.py"))]
    assert len(paths) > 40 and (ROOT / "latent_trainer" / "py.typed").is_file()
    silent = [f"{path.name}: {name}" for path in paths for name in _without_returns(ast.parse(path.read_text()))]
    assert silent == []


def _without_returns(node, inside: str = "") -> list[str]:
    """Return the public functions and methods of a module or class that do not say what they return."""
    found = []
    for one in node.body:
        if getattr(one, "name", "_").startswith("_"):
            continue
        if isinstance(one, ast.ClassDef):
            found += _without_returns(one, f"{inside}{one.name}.")
        elif isinstance(one, ast.FunctionDef) and one.returns is None:
            found.append(f"{inside}{one.name}")
    return found
