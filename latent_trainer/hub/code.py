"""The code that travels with a model, generated from the library's own files.

transformers loads a repository's code from flat files that import each other relatively, so every module that
`LatentForCausalLM` needs becomes one file, named without its room: ``latent_trainer/methods/feedback/soft.py`` is pushed as
``latent_feedback_soft.py``.
"""

import ast
from pathlib import Path

from latent_trainer.compat import known_releases
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


def modelling_code() -> dict[str, str]:
    """Return the files, name -> source, that a model needs where the library is not installed."""
    files, waiting = {}, ["model.modeling"]
    while waiting:
        module = waiting.pop()
        if _flat_name(module) + ".py" not in files:
            source, needed = flatten(_path(module).read_text(encoding="utf-8"))
            files[_flat_name(module) + ".py"] = HEADER + source
            waiting += needed
    return dict(sorted(files.items()))


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
