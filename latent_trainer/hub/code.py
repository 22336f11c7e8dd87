"""The code that travels with a model, generated from the library's own files.

transformers loads a repository's code from flat files that import each other relatively, so every module that
`LatentForCausalLM` needs becomes one file, named without its room: ``latent_trainer/methods/feedback/soft.py`` is pushed as
``latent_feedback_soft.py``. The file of a plug-in that the model needs goes with it, as ``latent_plugin_NAME.py``, and the
file of its registry registers it.
"""

import ast
from collections.abc import Sequence
from pathlib import Path

from latent_trainer.compat import known_releases
from latent_trainer.errors import InputError
from latent_trainer.hub.plugin_code import Travelling, cannot_travel, foreign_imports
from latent_trainer.version import __version__

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT.name
AUTO_MAP = {
    "AutoConfig": "latent_configuration.LatentConfig",
    "AutoModelForCausalLM": "latent_modeling.LatentForCausalLM",
}
HEADER = (
    f"# SPDX-License-Identifier: Apache-2.0. Generated from {LIBRARY} {__version__}; changes belong there.\n"
    f"# Tested with transformers {known_releases()}.\n"
)


HOMES = {
    "feedback": ("methods.feedback", "FEEDBACKS"),
    "objective": ("methods.objectives", "OBJECTIVES"),
    "rollout": ("rollout", "ROLLOUTS"),
}
PLUGIN_HEADER = f"# Code of {{origin}}, which the model needs; pushed with it by {LIBRARY} {__version__}.\n"
REGISTERS = """
from .{file} import {attribute} as plugin_{kind}
{registry}.add({name!r}, plugin_{kind}, {origin!r})
"""


def modelling_code(plugins: Sequence[Travelling] = ()) -> dict[str, str]:
    """Return the files, name -> source, that a model needs where the library is not installed.

    Args:
        plugins: entries of plug-ins that the model is made of.

    Raises:
        InputError: a plug-in imports a module of the library that needs other packages; in one line.
    """
    files = _library_code(["model.modeling"])
    last = [module.rpartition(".")[2] for module in {plugin.module for plugin in plugins}]
    for plugin in plugins:
        name = plugin.module.rpartition(".")[2]
        name = f"latent_plugin_{name if last.count(name) == 1 else plugin.module.replace('.', '_')}"
        at = cannot_travel(plugin)
        try:
            source, needed = flatten(plugin.source)
        except RuntimeError as error:
            raise InputError(f"{at}{error}") from None
        for module in needed:
            more = _library_code([module])
            foreign = [package for file in more.values() for package in foreign_imports(file)]
            if foreign:
                raise InputError(f"{at}it imports {LIBRARY}.{module}, which needs {foreign[0]}; leave that import out")
            files = {**more, **files}
        files[f"{name}.py"] = PLUGIN_HEADER.format(origin=plugin.origin) + source
        module, registry = HOMES[plugin.kind]
        files[f"{_flat_name(module)}.py"] += REGISTERS.format(
            file=name,
            attribute=plugin.attribute,
            kind=plugin.kind,
            registry=registry,
            name=plugin.name,
            origin=tuple(plugin.origin),
        )
    return dict(sorted(files.items()))


def _library_code(waiting: list[str]) -> dict[str, str]:
    """Return the files of modules and of all that they import of the library."""
    files = {}
    while waiting:
        module = waiting.pop()
        if _flat_name(module) + ".py" not in files:
            source, needed = flatten(_path(module).read_text(encoding="utf-8"))
            files[_flat_name(module) + ".py"] = HEADER + source
            waiting += needed
    return files


def flatten(source: str) -> tuple[str, list[str]]:
    """Return a module's source with its imports of the library made relative and flat, and the modules it needs.

    The lines that register the classes with transformers are left out: it registers pushed code under its own names, and a
    second model with code of its own would find the name taken.

    Raises:
        RuntimeError: an import of the library in another form than ``from latent_trainer.module import name``.
    """
    lines, needed = source.splitlines(keepends=True), []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import) and any(alias.name.split(".")[0] == LIBRARY for alias in node.names):
            raise RuntimeError(f"line {node.lineno} imports {LIBRARY} as a whole; name a module: from {LIBRARY}.x import y")
        if isinstance(node, ast.ImportFrom) and node.module == LIBRARY:
            raise RuntimeError(f"line {node.lineno} imports from {LIBRARY} itself; name a module: from {LIBRARY}.x import y")
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{LIBRARY}."):
            module = node.module.removeprefix(f"{LIBRARY}.")
            line = lines[node.lineno - 1]
            lines[node.lineno - 1] = line.replace(f"from {node.module} ", f"from .{_flat_name(module)} ", 1)
            needed.append(module)
        if isinstance(node, ast.Expr) and _registers(node.value):
            lines[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
    return "".join(lines), needed


def _registers(call: ast.expr) -> bool:
    """Return whether an expression is ``AutoConfig.register(...)`` or the like."""
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "register"):
        return False
    return isinstance(call.func.value, ast.Name) and call.func.value.id.startswith("Auto")


def _flat_name(module: str) -> str:
    room, _, rest = module.partition(".")
    return "latent_" + (rest or room).replace(".", "_")


def _path(module: str) -> Path:
    """Return the file of a module, given as a dotted name without the library's."""
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
