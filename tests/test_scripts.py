"""The scripts beside the library: each still finds what it imports, and says how it is called."""

import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted(
    path.relative_to(ROOT).as_posix() for folder in ("benchmarks", "docs") for path in (ROOT / folder).glob("*.py")
)


@pytest.mark.parametrize("script", SCRIPTS)
def test_script_is_whole(script, monkeypatch):
    monkeypatch.syspath_prepend(str((ROOT / script).parent))
    before = set(sys.modules)
    found = runpy.run_path(str(ROOT / script), run_name="imported")
    for name in set(sys.modules) - before:  # neighbours of the script, which another folder may have a namesake of
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str((ROOT / script).parent)):
            del sys.modules[name]
    assert found["__doc__"]
