"""Fixtures of the plug-ins' tests: plug-in files in a folder, and registries that are afterwards as they were."""

import sys
import textwrap

import pytest

import latent_trainer.cli.probe  # its registry among them
from latent_trainer import plugins, registry

assert latent_trainer


@pytest.fixture
def door(tmp_path):
    """Return a function that writes a plug-in's file, name and source; what is registered meanwhile goes away again."""
    before = {kind: set(one) for kind, one in registry.REGISTRIES.items()}
    modules, paths = set(sys.modules), list(sys.path)
    trusted, loaded, points = set(registry.TRUSTED), dict(plugins._loaded), registry._loaded

    def write(name: str, source: str):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source).lstrip(), encoding="utf-8")
        return path

    yield write
    for kind, one in registry.REGISTRIES.items():
        for name in one:
            if one.origin(name) is not None and name not in before.get(kind, ()):
                one.forget(name)
    for name in set(sys.modules) - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    sys.path[:] = paths
    registry.TRUSTED.intersection_update(trusted)
    plugins._loaded.clear()
    plugins._loaded.update(loaded)
    registry._loaded = points
