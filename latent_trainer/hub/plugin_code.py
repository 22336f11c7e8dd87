"""The code of plug-ins that a model is made of: checked, made flat, and sent beside the library's own."""

import ast
import sys
from dataclasses import dataclass, replace

from latent_trainer.errors import InputError
from latent_trainer.registry import REGISTRIES, Origin, module_file

LIBRARY = "latent_trainer"
# What a model is made of; curricula, data sets, templates and objectives without kept weights only made it.
NEEDED = ("feedback", "rollout", "objective")
DOORS = (LIBRARY, f"{LIBRARY}.plugins")
THERE = {"torch", "transformers", *sys.stdlib_module_names}  # packages wherever the pushed code is loaded


@dataclass(frozen=True)
class Travelling:
    """A plug-in's entry whose code goes with a model.

    Args:
        kind: one of ``NEEDED``.
        name: what the configuration calls it.
        module: the module that defines it.
        attribute: what that module calls it.
        origin: the plug-in it comes from.
        source: of its module what all entries need that travel.
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
    found = [_travelling(kind, name) for kind, name in named if name and REGISTRIES[kind].origin(name) is not None]
    together = {one.module: {other.attribute for other in found if other.module == one.module} for one in found}
    return [replace(one, source=needed_source(one.source, together[one.module], cannot_travel(one))) for one in found]


def cannot_travel(entry: Travelling) -> str:
    """Return what begins a message that refuses an entry."""
    return f"{entry.kind}={entry.name} is code of {module_file(entry.module).name}, which cannot travel with the model: "


def _travelling(kind: str, name: str) -> Travelling:
    """Return an entry with the whole source of its module."""
    entry, origin = REGISTRIES[kind][name], REGISTRIES[kind].origin(name)
    module, attribute = sys.modules[entry.__module__], entry.__qualname__
    found = Travelling(kind, name, entry.__module__, attribute, origin, "")
    at = cannot_travel(found)
    if entry.__module__ == "__main__":
        raise InputError(f"{at}it stands in the program that runs; move it to a file of its own and load that by --plugin")
    if getattr(module, attribute, None) is not entry:
        raise InputError(f"{at}{attribute} is not defined at the top of its module; define it there")
    try:
        return replace(found, source=module_file(entry.__module__).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{at}its source cannot be read; keep it in a Python file") from None


def needed_source(source: str, attributes: set[str], at: str) -> str:
    """Return of a plug-in's source what classes or functions at its top need, without what registers them.

    Everything else of the file, a data set or an objective for instance, stays where it is; lines keep their numbers.

    Raises:
        InputError: what is needed imports a package that is not everywhere, or a file beside it; begins with ``at``.
    """
    tree = ast.parse(source)
    lines = source.splitlines(keepends=True)
    for node in tree.body:
        for decorator in getattr(node, "decorator_list", ()):
            if _is_door(decorator):
                _blank(lines, decorator)
        if isinstance(node, ast.Expr) and _is_door(node.value):
            _blank(lines, node)
    text = "".join(lines)
    statements = ast.parse(text).body
    wanted = _reached(statements, attributes)
    for node in statements:
        binds = _binds(node)
        if isinstance(node, ast.Import | ast.ImportFrom) and getattr(node, "module", None) != "__future__":
            kept = [alias for alias in node.names if _bound(alias) in wanted or alias.name == "*"]
            if kept:
                _check_import(node, kept, at)
            if len(kept) < len(node.names):
                _blank(lines, node)
                node.names = kept
                lines[node.lineno - 1] = f"{ast.unparse(node)}\n" if kept else "\n"
        elif binds & wanted or _touches(node, wanted, statements):
            for one in ast.walk(node):
                if isinstance(one, ast.Import | ast.ImportFrom):
                    _check_import(one, one.names, at)
        elif not _is_docstring(node):
            _blank(lines, node)
            for decorator in getattr(node, "decorator_list", ()):
                _blank(lines, decorator)
    return "".join(lines)


def _reached(statements: list[ast.stmt], attributes: set[str]) -> set[str]:
    """Return the names at the top of a module that some of them need, themselves among them."""
    wanted, before = set(attributes), set()
    while wanted != before:
        before = set(wanted)
        for node in statements:
            if _binds(node) & wanted or _touches(node, wanted, statements):
                wanted |= _uses(node)
    return wanted


def _touches(node: ast.stmt, wanted: set[str], statements: list[ast.stmt]) -> bool:
    """Return whether a statement that binds no name works on something that is wanted: ``TABLE["a"] = 1``."""
    if _binds(node):
        return False
    own = {name for one in statements if not isinstance(one, ast.Import | ast.ImportFrom) for name in _binds(one)}
    return bool(_uses(node) & wanted & own)


def _binds(node: ast.stmt) -> set[str]:
    """Return the names a statement at the top of a module gives a value."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    found = set()
    for one in ast.walk(node):
        if isinstance(one, ast.Import | ast.ImportFrom):
            found |= {_bound(alias) for alias in one.names}
        elif isinstance(one, ast.FunctionDef | ast.ClassDef):
            found.add(one.name)
        elif isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
            found.add(one.id)
    return found


def _uses(node: ast.stmt) -> set[str]:
    """Return the names a statement reads, those in the texts of annotations too."""
    names = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
    return names | {one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)}


def _bound(alias: ast.alias) -> str:
    return alias.asname or alias.name.split(".")[0]


def _check_import(node: ast.Import | ast.ImportFrom, kept: list[ast.alias], at: str) -> None:
    """Refuse an import of what is not wherever pushed code is loaded."""
    at = f"{at}line {node.lineno} imports "
    if isinstance(node, ast.ImportFrom) and node.level:
        raise InputError(f"{at}a file beside it; keep everything in one file")
    for module, name in [(node.module, one.name) if isinstance(node, ast.ImportFrom) else (one.name, "") for one in kept]:
        top = module.split(".")[0]
        if name == "*":
            raise InputError(f"{at}all of {module}; name what is used")
        if top not in {*THERE, LIBRARY}:
            raise InputError(f"{at}{top}; use torch, transformers and Python's own modules")
        if top == LIBRARY and not name:
            raise InputError(f"{at}{module} as a whole; write from {LIBRARY}.x import y")
        if module in DOORS:
            raise InputError(f"{at}{name} from {module}; name the module that has it, and only decorate with register_...")


def _is_door(node: ast.expr) -> bool:
    """Return whether an expression is ``register_x(...)``, ``latent_trainer.register_x(...)`` or a call of one."""
    while isinstance(node, ast.Call):
        node = node.func
        name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
        if name.startswith("register_"):
            return True
    return False


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


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
