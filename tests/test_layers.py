"""The layers of the library, read from its imports: nothing imports from a layer above its own, and nothing in a circle."""

import ast
import graphlib
from pathlib import Path
from statistics import median

import pytest

import latent_trainer

ROOT = Path(latent_trainer.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
NAMES = [str(file.relative_to(ROOT)) for file in FILES]
MODULES = {name.removesuffix(".py").removesuffix("/__init__").replace("/", "."): name for name in NAMES}

# From the ground up: rooms, files beside them, and files of a room that stand lower than the rest of it: a model card shows
# what a run was told, and the trainer pushes.
LAYERS = [
    {"errors", "version", "compat", "sharding", "process_group", "local_names", "bundled"},
    {"options", "registry", "whole_files"},
    {"methods"},
    {"data", "rollout"},  # neither knows the other
    {"model"},
    {"evaluation"},
    {"analysis"},
    {"training.training_args", "training.named_options", "training.unread_settings", "training.inherited"}
    | {"training.checkpoints"},
    {"hub"},
    {"training", "rl"},
    {"sweep", "app"},
    {"serving"},
    {"plugins"},
    {"testing", "cli"},
    {"__main__", "__init__"},
]
LAYER = {part: index for index, parts in enumerate(LAYERS) for part in parts}
APART = [{"data", "rollout"}]
PLUGINS = ("methods/feedback", "methods/objectives", "analysis")


def part_of(module: str) -> str:
    """Return the part of ``LAYERS`` that a module, named without the library, belongs to."""
    return module if module in LAYER else module.split(".")[0] or "__init__"


def imports(source: str, name: str) -> set[str]:
    """Return the library's modules that a file imports, wherever in the file, as dotted names without the library's."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively; write the whole name"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    library = f"{ROOT.name}."
    return {_module(name.removeprefix(library)) for name in found if f"{name}.".startswith(library)}


def _module(name: str) -> str:
    """Return the module that a dotted name is, or is defined in."""
    return name if name in MODULES else name.rpartition(".")[0]


def complaint(name: str, source: str) -> str | None:
    """Return what a file imports that its layer does not allow."""
    part = part_of(name.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
    others = {module: part_of(module) for module in imports(source, name)}
    above = {module for module, other in others.items() if LAYER[other] > LAYER[part]}
    beside = {module for module, other in others.items() for pair in APART if {part, other} == pair}
    return f"{name} (layer {LAYER[part]}) imports {sorted(above | beside)}" if above | beside else None


def methods_of_the_model() -> set[str]:
    """Return the names of what `LatentForCausalLM` defines itself; what it inherits lies below it."""
    tree = ast.parse((ROOT / "model/modeling.py").read_text())
    (model,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "LatentForCausalLM")
    return {node.name for node in model.body if isinstance(node, ast.FunctionDef)} - {"__init__"}


def calls_back(source: str) -> set[str]:
    """Return the methods of `LatentForCausalLM` that a file looks up on a model it is handed, as ``model`` or as a part."""
    tree, found = ast.parse(source), set()
    handed = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and "model" in _parameters(node)]
    for node in (part for function in handed for part in ast.walk(function)):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "model":
            found.add(node.attr)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self.model":
            found.add(node.attr)
    return found & methods_of_the_model()


def _parameters(function: ast.FunctionDef) -> set[str]:
    return {argument.arg for argument in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)}


def below(module: str) -> set[str]:
    """Return the library's modules that one needs, and those they need."""
    found, waiting = set(), [module]
    while waiting:
        needed = imports((ROOT / MODULES[waiting[0]]).read_text(), waiting.pop(0)) - found
        found |= needed
        waiting += needed
    return found


def sibling_imports(name: str, source: str) -> set[str]:
    """Return what a plug-in imports from its own folder."""
    folder = str(Path(name).parent).replace("/", ".")
    return {module for module in imports(source, name) if f"{module}.".startswith(f"{folder}.")}


def test_the_library_was_found():
    assert len(FILES) > 30 and {"model/modeling.py", "methods/feedback/soft.py"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_file_has_a_layer(name):
    module = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    assert part_of(module) in LAYER, f"{name} has no layer; give it one in LAYERS"


@pytest.mark.parametrize("name", NAMES)
def test_imports_go_down(name):
    assert complaint(name, (ROOT / name).read_text()) is None


def test_nothing_imports_in_a_circle():
    graph = {module: imports((ROOT / name).read_text(), name) - {module} for module, name in MODULES.items()}
    assert list(graphlib.TopologicalSorter(graph).static_order())


def test_nothing_below_the_model_calls_it_back():
    """A file that the model imports is handed what it needs, not the model: calls too run downwards only."""
    needed = below("model.modeling")
    assert {"model.views", "model.backbone", "rollout.ranks"} <= needed
    assert {name: calls_back((ROOT / MODULES[name]).read_text()) for name in needed} == {name: set() for name in needed}


@pytest.mark.parametrize("name", [name for name in NAMES if str(Path(name).parent) in PLUGINS])
def test_plugins_do_not_import_each_other(name):
    if Path(name).name != "__init__.py":
        siblings = sibling_imports(name, (ROOT / name).read_text())
        assert not [module for module in siblings if not module.endswith(".contract")]


@pytest.mark.parametrize("name", NAMES)
def test_files_are_short(name):
    assert (ROOT / name).read_text().count("\n") <= 400
    assert Path(name).name not in ("utils.py", "helpers.py", "common.py")


def test_most_files_are_very_short():
    assert median((ROOT / name).read_text().count("\n") for name in NAMES) <= 130


def test_only_rooms_and_what_all_of_them_use_lie_on_top():
    assert {name for name in NAMES if "/" not in name} == {f"{part}.py" for part in LAYER if (ROOT / f"{part}.py").is_file()}


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("data/new.py", "from latent_trainer.model.modeling import LatentForCausalLM"),
        ("data/new.py", "def f():\n    import latent_trainer.rollout.cache"),
        ("rollout/new.py", "from latent_trainer import data"),
        ("methods/objectives/new.py", "from latent_trainer.data.encoding import View"),
        ("errors.py", "import latent_trainer.model.configuration"),
        ("hub/new.py", "import latent_trainer.training.trainer"),
        ("training/trainer.py", "from latent_trainer.cli.train import main"),
        ("evaluation/new.py", "from latent_trainer.training.stages import Stages"),
        ("model/modeling.py", "from latent_trainer import LatentTrainer"),
    ],
)
def test_the_check_finds_imports_that_go_up(name, source):
    assert complaint(name, source).startswith(f"{name} (layer ")


@pytest.mark.parametrize(
    "source",
    ["def f(model, parts):\n    return model.run(parts)", "class A:\n    def f(self):\n        return self.model.run()"],
)
def test_the_check_finds_calls_that_go_up(source):
    assert calls_back(source) == {"run"}


def test_the_check_finds_siblings():
    assert sibling_imports("methods/feedback/new.py", "from latent_trainer.methods.feedback.soft import SoftFeedback")
    assert sibling_imports("methods/feedback/new.py", "from latent_trainer.methods.feedback import FEEDBACKS")
