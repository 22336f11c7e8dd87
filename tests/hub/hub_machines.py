"""This process, fresh ones and machines that have only some packages, all logged in to the Hub on loopback."""

import json
import os
import re
import subprocess
import sys
import venv
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

import huggingface_hub.constants
import transformers.utils.hub
from hub_server import MY_TOKEN
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
QUESTION = "7 +3 x7 -5"


def enter(server, monkeypatch, folder: Path) -> None:
    """Point this process at the Hub, as HF_ENDPOINT, HF_HOME, HF_HUB_DISABLE_XET and HF_TOKEN do for a fresh one."""
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(transformers.utils.hub, "_hf_api", None)
    monkeypatch.setenv("HF_TOKEN", MY_TOKEN)
    server.forget()


def documented(page: str, holding: str) -> list[str]:
    """Return the Python blocks of a page that hold a text."""
    return [code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if holding in code]


def clean_machine(folder: Path, *packages: str) -> Path:
    """Return the Python of a virtual environment that has these packages and what they require, and nothing else.

    Their files are linked, not copied, so it is made in a second and a later session finds it ready.
    """
    python, ready = folder / "bin" / "python", folder / "ready"
    stamp = repr([sys.version, [(name, version(name)) for name in packages]])
    if ready.exists() and ready.read_text() == stamp:
        return python
    venv.create(folder, with_pip=False, clear=True, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    seen, waiting = set(), list(packages)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            found = distribution(name)
        except PackageNotFoundError:  # an optional requirement that is not installed here either
            continue
        wanted = [Requirement(text) for text in found.requires or ()]
        waiting += [one.name for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
        for top in {file.parts[0] for file in found.files or ()}:
            source, link = Path(found.locate_file(top)), site / top
            if not top.startswith(("..", "__pycache__")) and not top.endswith(".pth") and not link.exists():
                link.symlink_to(source, target_is_directory=source.is_dir())
    ready.write_text(stamp)
    return python


def environment(server, folder: Path) -> dict[str, str]:
    """Return the environment of a fresh process that is logged in to the Hub."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHON", "TRANSFORMERS_"))}
    settings = {"HF_ENDPOINT": server.url, "HF_HOME": str(folder / "home"), "HF_TOKEN": MY_TOKEN}
    return kept | settings | {"HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def run_program(program: str, *words: str, python=sys.executable, server, folder: Path, library: bool) -> dict:
    """Run a program in a fresh process and return the JSON of its last line; without the library it cannot be imported."""
    path = {"PYTHONPATH": str(ROOT)} if library else {}
    done = subprocess.run(
        [str(python), "-c", program, *words],
        env=environment(server, folder) | path,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert MY_TOKEN not in done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])
