"""The code of plug-ins that a model is made of: checked, made flat, and sent beside the library's own."""

import ast
import sys
from typing import NamedTuple

from latent_trainer.errors import InputError
from latent_trainer.registry import REGISTRIES, Origin, module_file

LIBRARY = "latent_trainer"
# What a model is made of; curricula, data sets, templates and objectives without kept weights only made it.
NEEDED = ("feedback", "rollout", "objective")
DOORS = (LIBRARY, f"{LIBRARY}.plugins")
THERE = {"torch", "transformers", *sys.stdlib_module_names}  # packages wherever the pushed code is loaded


class Travelling(NamedTuple):
    """A plug-in's entry whose code goes with a model.

    Args:
        kind: one of ``NEEDED``.
        name: what the configuration calls it.
        module: the module that defines it.
        attribute: what that module calls it.
        origin: the plug-in it comes from.
        source: its code, without what registers it.
    """

    kind: str
    name: str
    module: str
    attribute: str
    origin: Origin
    source: str


def travelling(config) -> list[Travelling]:
    """Return the plug-ins' entries that a `LatentConfig` names.

    Raises:
        InputError: one whose code cannot run on its own elsewhere, with the reason, in one line.
    """
    named = [(kind, getattr(config, kind)) for kind in NEEDED if kind in REGISTRIES]
    return [_travelling(kind, name) for kind, name in named if name and REGISTRIES[kind].origin(name) is not None]


def _travelling(kind: str, name: str) -> Travelling:
    entry, origin = REGISTRIES[kind][name], REGISTRIES[kind].origin(name)
    module, attribute = sys.modules[entry.__module__], entry.__qualname__
    at = f"{kind}={name} is code of {module_file(entry.__module__).name}, which cannot travel with the model: "
    if entry.__module__ == "__main__":
        raise InputError(f"{at}it stands in the program that runs; move it to a file of its own and load that by --plugin")
    if getattr(module, attribute, None) is not entry:
        raise InputError(f"{at}{attribute} is not defined at the top of its module; define it there")
    try:
        source = module_file(entry.__module__).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{at}its source cannot be read; keep it in a Python file") from None
    return Travelling(kind, name, entry.__module__, attribute, origin, without_doors(source, at))


def without_doors(source: str, at: str) -> str:
    """Return a plug-in's source without what registers it; lines keep their numbers.

    Raises:
        InputError: an import of what is not everywhere, or another use of what registers; begins with ``at``.
    """
    tree = ast.parse(source)
    lines = source.splitlines(keepends=True)
    doors, aliases = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            raise InputError(f"{at}line {node.lineno} imports a file beside it; keep everything in one file")
        if isinstance(node, ast.Import):
            whole = [alias for alias in node.names if alias.name == LIBRARY]
            aliases |= {alias.asname or LIBRARY for alias in whole}
            if whole and len(node.names) == 1:
                _blank(lines, node)
            modules = [alias.name for alias in node.names if alias.name != LIBRARY]
        elif isinstance(node, ast.ImportFrom) and node.module in DOORS:
            doors |= {alias.asname or alias.name for alias in node.names}
            others = [alias.name for alias in node.names if not _is_door(alias.name)]
            if others:
                raise InputError(
                    f"{at}line {node.lineno} imports {others[0]} from {node.module}; name the module that has it"
                )
            _blank(lines, node)
            continue
        else:
            modules = [node.module] if isinstance(node, ast.ImportFrom) else []
        for module in modules:
            top = module.split(".")[0]
            if top not in {*THERE, LIBRARY}:
                raise InputError(f"{at}line {node.lineno} imports {top}; use torch, transformers and Python's own modules")
            if top == LIBRARY and isinstance(node, ast.Import):
                raise InputError(f"{at}line {node.lineno} imports {module} as a whole; write from {module} import ...")
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _registers(node, doors, aliases)]
    statements = {id(one.value) for one in tree.body if isinstance(one, ast.Expr)}
    decorators = {id(one) for node in tree.body for one in getattr(node, "decorator_list", ())}
    outer = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}  # register_x("name")(it)
    for call in calls:
        whole = call if id(call) in statements | decorators else outer.get(id(call), call)
        if id(whole) not in statements | decorators:
            raise InputError(f"{at}line {call.lineno} registers something in the middle of a statement; use a decorator")
        _blank(lines, whole)
    left = "".join(lines)
    for node in ast.walk(ast.parse(left)):
        if isinstance(node, ast.Name) and node.id in doors | aliases:
            raise InputError(f"{at}line {node.lineno} uses {node.id} for something else than registering; leave it out")
    return left


def _is_door(name: str) -> bool:
    return name.startswith("register_")


def _registers(call: ast.Call, doors: set[str], aliases: set[str]) -> bool:
    """Return whether a call is ``register_x(...)`` or ``latent_trainer.register_x(...)``."""
    if isinstance(call.func, ast.Name):
        return call.func.id in doors
    owner = call.func.value if isinstance(call.func, ast.Attribute) else None
    return isinstance(owner, ast.Name) and owner.id in aliases and _is_door(call.func.attr)


def _blank(lines: list[str], node: ast.AST) -> None:
    """Empty the lines of a statement or a decorator."""
    for number in range(node.lineno - 1, node.end_lineno):
        lines[number] = "\n"


def foreign_imports(source: str) -> list[str]:
    """Return the packages a module of the library imports that are not wherever pushed code is loaded."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
        found += [top for top in (name.split(".")[0] for name in names) if top not in {*THERE, LIBRARY, ""}]
    return found
