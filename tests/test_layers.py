"""The layers of the library, read from its imports: nothing imports from a layer above its own."""

import ast
from pathlib import Path

import pytest

import latent_trainer

ROOT = Path(latent_trainer.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
NAMES = [str(file.relative_to(ROOT)) for file in FILES]

LAYERS = [
    {"errors", "options", "version", "problem", "curriculum", "sharding", "context", "compat", "process_group"}
    | {"whole_files", "local_names"},
    {"configuration", "feedback"},
    {"asked_latents", "data", "rollout", "jacobi", "ranks", "cache", "checkpointing", "tokens", "masks", "unread"}
    | {"packing", "forward_arguments", "backbone", "generation_doors"}
    | {"base_form", "base_check", "cache_states", "state_passes", "wrapped_base"}
    | {"gguf", "heads", "loading", "step_decoder", "thinking", "weight_gradients"},
    {"modeling", "views", "classification"},
    {"objectives"},
    {"evaluation", "analysis"},
    {"trainer", "checkpoints", "interruption", "launching", "resuming", "run_record", "seeding", "methods", "training_args"}
    | {"stages", "sampling", "unread_settings", "inherited", "trainer_evaluation", "trials"}
    | {"finished", "run_lock"}
    | {"hub", "sweep", "kernels", "adapters", "adapter_targets", "adapter_mixing"},
    {"cli"},
    {"__main__"},
]
LAYER = {part: index for index, parts in enumerate(LAYERS) for part in parts}
ALLOWED = {part: set().union(*LAYERS[: index + 1]) for part, index in LAYER.items()}
ALLOWED["feedback"] = ALLOWED["objectives"] = LAYERS[0]
ALLOWED["configuration"] = LAYERS[0] | {"feedback"}
ALLOWED["data"] = LAYERS[0] | LAYERS[1] | {"tokens"}  # data never imports what computes
ALLOWED["rollout"] = LAYERS[0] | LAYERS[1] | {"cache", "checkpointing", "masks", "unread", "weight_gradients"}
ALLOWED["rollout"] |= {"base_form", "state_passes"}
ALLOWED["base_form"], ALLOWED["cache_states"] = LAYERS[0] | {"cache", "checkpointing"}, LAYERS[0]
ALLOWED["state_passes"] = LAYERS[0] | {"cache", "cache_states"}
ALLOWED["ranks"] = ALLOWED["rollout"] | {"rollout"}
ALLOWED["jacobi"] = ALLOWED["rollout"] | {"rollout"}
ALLOWED["masks"], ALLOWED["unread"] = LAYERS[0] | {"cache"}, LAYERS[0] | {"checkpointing"}
for part in (
    "cache",
    "base_check",
    "wrapped_base",
    "tokens",
    "gguf",
    "heads",
    "loading",
    "step_decoder",
    "thinking",
    "modeling",
    "views",
    "classification",
):
    ALLOWED[part] -= {"data"}
for part in ("evaluation", "analysis"):
    ALLOWED[part] -= {"objectives"}
PLUGINS = ("feedback", "objectives", "analysis")


def part_of(name: str) -> str:
    """Return the file or folder of the library that a file belongs to; "" for the front door."""
    first = Path(name).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


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
    return {module.removeprefix(library) for module in found if f"{module}.".startswith(library)}


def complaint(name: str, source: str) -> str | None:
    """Return what a file imports that its layer does not allow."""
    part = part_of(name)
    if part == "":
        return None
    forbidden = {module for module in imports(source, name) if module.split(".")[0] not in ALLOWED[part] | {part}}
    return f"{name} (layer {LAYER[part]}) imports {sorted(forbidden)}" if forbidden else None


def sibling_imports(name: str, source: str) -> set[str]:
    """Return what a plug-in imports from its own folder."""
    folder = Path(name).parts[0]
    return {module for module in imports(source, name) if module.split(".")[0] == folder}


def test_the_library_was_found():
    assert len(FILES) > 30 and {"modeling.py", "feedback/soft.py"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_file_has_a_layer(name):
    assert part_of(name) in LAYER.keys() | {""}, f"{name} has no layer; give it one in LAYERS"


@pytest.mark.parametrize("name", NAMES)
def test_imports_go_down(name):
    assert complaint(name, (ROOT / name).read_text()) is None


@pytest.mark.parametrize("name", [name for name in NAMES if Path(name).parts[0] in PLUGINS])
def test_plugins_do_not_import_each_other(name):
    if Path(name).name != "__init__.py":
        assert not sibling_imports(name, (ROOT / name).read_text())


@pytest.mark.parametrize("name", NAMES)
def test_files_are_short(name):
    assert (ROOT / name).read_text().count("\n") <= 400
    assert Path(name).name not in ("utils.py", "helpers.py", "common.py")


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("data/new.py", "from latent_trainer.modeling import LatentForCausalLM"),
        ("data/new.py", "def f():\n    import latent_trainer.rollout"),
        ("rollout.py", "from latent_trainer import data"),
        ("objectives/new.py", "from latent_trainer.feedback import FEEDBACKS"),
        ("errors.py", "import latent_trainer.configuration"),
        ("trainer.py", "from latent_trainer.cli.train import main"),
        ("evaluation/new.py", "from latent_trainer.objectives import OBJECTIVES"),
        ("modeling.py", "from latent_trainer import LatentTrainer"),
    ],
)
def test_the_check_finds_imports_that_go_up(name, source):
    assert complaint(name, source) is not None


def test_the_check_finds_siblings():
    assert sibling_imports("feedback/new.py", "from latent_trainer.feedback.soft import SoftFeedback")
    assert sibling_imports("feedback/new.py", "from latent_trainer.feedback import FEEDBACKS")
