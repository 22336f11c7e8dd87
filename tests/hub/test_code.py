"""The code pushed with a model is the library's own, flat, and needs nothing but transformers and torch."""

import ast
import sys
from pathlib import Path

import pytest
from transformers.dynamic_module_utils import get_imports, get_relative_import_files

import latent_trainer
from latent_trainer.hub.code import AUTO_MAP, flatten, modelling_code


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("code")
    for name, source in modelling_code().items():
        (folder / name).write_text(source)
    return folder


def test_every_file_compiles_and_is_found_by_transformers(folder):
    """Following the relative imports as transformers does finds every file, and no other."""
    for name in folder.iterdir():
        ast.parse(name.read_text())
    found = {path.rpartition("/")[2] for path in get_relative_import_files(folder / "latent_modeling.py")}
    assert found | {"latent_modeling.py"} == {path.name for path in folder.iterdir()}
    assert {reference.split(".")[0] + ".py" for reference in AUTO_MAP.values()} <= {path.name for path in folder.iterdir()}


def test_only_transformers_and_torch_are_needed(folder):
    needed = {name for path in folder.iterdir() for name in get_imports(path)}
    assert {"torch", "transformers"} <= needed
    assert needed - set(sys.stdlib_module_names) == {"torch", "transformers"}


def test_nothing_of_the_library_is_imported(folder):
    for path in folder.iterdir():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert not (node.module or "").startswith("latent_trainer.")
        assert "latent_trainer" not in get_imports(path)


def test_code_and_registration(folder):
    """The sources differ from the library's in their imports and in the lines that register classes only."""
    library = Path(latent_trainer.model.modeling.__file__).read_text(encoding="utf-8")
    pushed = (folder / "latent_modeling.py").read_text()
    kept = [line for line in library.splitlines() if "latent_trainer" not in line and ".register(" not in line]
    assert "AutoConfig.register" in library and ".register(" not in pushed
    assert [line for line in pushed.splitlines()[2:] if "import" not in line and "latent_trainer" not in line] == [
        line for line in kept if "import" not in line
    ]


def test_imports_are_made_flat():
    source = "from {} import (\n    A,\n)\nimport torch\n\ndef f():\n    from {} import y\n"
    flat, needed = flatten(source.format("latent_trainer.methods.feedback.soft", "latent_trainer.x"))
    assert flat == source.format(".latent_feedback_soft", ".latent_x")
    assert needed == ["methods.feedback.soft", "x"]


@pytest.mark.parametrize("line", ["import latent_trainer.rollout.sequential", "from latent_trainer import LatentConfig"])
def test_an_import_that_cannot_travel(line):
    with pytest.raises(RuntimeError, match="name a module"):
        flatten(line)
