"""Registries: what a name in the settings stands for, from the library itself or from a plug-in.

A registry is a mapping name -> entry. The library's own entries stand in one literal dictionary; a plug-in adds its own with
`latent_trainer.register_objective` and the like. A plug-in is loaded by ``--plugin FILE``, by an entry point of the group
``latent_trainer.plugins`` of an installed package, or because a setting names ``package.module:Class``.
"""

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple

from latent_trainer.errors import InputError, check_choice

GROUP = "latent_trainer.plugins"
OWN = "latent_trainer"  # the package that installed plug-ins register with, not a copy of it pushed with a model
REGISTRIES: dict[str, "Registry"] = {}
TRUSTED: set[str] = set()  # modules that the user has asked for, and those of installed packages


class Origin(NamedTuple):
    """Where an entry comes from.

    Args:
        module: the module that registered it.
        file: name of its file, without its folder.
    """

    module: str
    file: str

    def __str__(self):
        return f"plug-in {self.file} (module {self.module})"


class Registry(Mapping):
    """Entries of one kind by name, in the order they were added.

    A name that is not known loads the plug-ins of installed packages before it counts as unknown. Names such as
    ``package.module:Class`` import that module only where a person gave the name (`choose`): the settings saved with a model
    that somebody else made must not choose what is imported.

    Args:
        kind: what the entries are, "objective".
        entries: the library's own.
        take: (name, entry) -> entry; checks what a plug-in registers and raises an `InputError` where it keeps to no
            contract.
    """

    def __init__(self, kind: str, entries: Mapping[str, Any], take: Callable[[str, Any], Any] | None = None):
        self.kind = kind
        self._own = dict(entries)
        self._entries = dict(entries)
        self._origins: dict[str, Origin] = {}
        self._take = take or (lambda name, entry: entry)
        REGISTRIES[kind] = self

    def __getitem__(self, name: str):
        if name not in self:
            raise KeyError(name)
        return self._entries[name]

    def __contains__(self, name) -> bool:
        if not isinstance(name, str):
            return False
        if name in self._entries:
            return True
        load_entry_points()
        module = name.partition(":")[0]
        if name not in self._entries and ":" in name and module in TRUSTED:
            self._import(name)
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self):
        return f"Registry({self.kind}: {', '.join(self)})"

    def register(self, name: str, entry=None, *, replace: bool = False, origin: Origin | None = None) -> Any:
        """Add an entry; without one, return a decorator that does.

        Args:
            name: what settings call it.
            entry: what it is; returned as it was given.
            replace: whether it takes the place of an entry of that name.
            origin: where it comes from, by default the module that calls.

        Raises:
            InputError: the name is taken or malformed, or the entry keeps to no contract; in one line.
        """
        origin = origin or _caller()
        if entry is None:
            return lambda decorated: self.register(name, decorated, replace=replace, origin=origin)
        if not isinstance(name, str) or not name.strip() or ":" in name or len(name.split()) != 1:
            raise InputError(f"{self.kind} {name!r}: a name is one word without a colon; give another")
        if name in self._entries and not replace:
            raise InputError(
                f"{self.kind} '{name}' is taken by {self._origins.get(name, 'the library itself')}; give another name, or "
                "replace=True"
            )
        self.add(name, entry, origin)
        return entry

    def add(self, name: str, entry, origin: tuple[str, str]) -> None:
        """Add a checked entry under any name; code that was pushed with a model adds what its plug-in has registered."""
        self._entries[name] = self._take(name, entry)
        self._origins[name] = Origin(*origin)

    def choose(self, setting: str, name: str) -> Any:
        """Return the entry a person has named in a setting; ``package.module:Class`` is imported.

        Raises:
            InputError: no such name (names the nearest), module or class; in one line.
        """
        if isinstance(name, str) and ":" in name and name not in self._entries:
            self._import(name, f"{setting}={name}: ")
        check_choice(setting, name, self)
        return self[name]

    def names(self) -> list[str]:
        """Return every name, those of installed plug-ins included."""
        load_entry_points()
        return list(self._entries)

    def origin(self, name: str) -> Origin | None:
        """Return which plug-in an entry comes from, None where it is the library's own or not known."""
        return self._origins.get(name)

    def forget(self, name: str) -> None:
        """Take an entry of a plug-in away again; one of the library's own that it replaced is back."""
        if name not in self._origins:
            raise InputError(f"{self.kind} '{name}' is no plug-in's; only what was registered can be forgotten")
        del self._entries[name], self._origins[name]
        if name in self._own:
            self._entries[name] = self._own[name]

    def entries(self) -> tuple[dict[str, Any], dict[str, Origin]]:
        """Return all entries and the origins of those of plug-ins as they are now, for `restore`."""
        return dict(self._entries), dict(self._origins)

    def restore(self, entries: tuple[dict[str, Any], dict[str, Origin]] | None) -> None:
        """Go back to what `entries` returned; None, to the library's own."""
        self._entries, self._origins = entries or (dict(self._own), {})

    def _import(self, name: str, at: str = "") -> None:
        """Add ``package.module:Class``."""
        place, _, attribute = name.partition(":")
        at = at or f"{self.kind}={name}: "
        try:
            module = importlib.import_module(place)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{place}.".startswith(f"{error.name}."):
                raise InputError(f"{at}module {place} cannot be imported: {error}") from None
            raise InputError(
                f"{at}there is no module {error.name}; install its package, or load a file by --plugin"
            ) from None
        except (ValueError, TypeError):
            raise InputError(f"{at}write package.module:Class") from None
        except (Exception, SystemExit) as error:  # a module may fail in any way while it runs
            raise InputError(f"{at}module {place} cannot be imported: {failure(error, module_file(place))}") from error
        entry = module
        for part in attribute.split("."):
            if not hasattr(entry, part):
                raise InputError(f"{at}module {place} has no {attribute or 'name after the colon'}; check its spelling")
            entry = getattr(entry, part)
        self.add(name, entry, Origin(place, module_file(place).name))
        TRUSTED.add(place)


def origins(**names: str | None) -> dict[str, dict[str, str]]:
    """Return, for names by kind, where those of plug-ins come from; the library's own are left out.

    >>> origins(objective="answer")
    {}
    """
    found: dict[str, dict[str, str]] = {}
    for kind, name in names.items():
        origin = REGISTRIES[kind].origin(name) if kind in REGISTRIES and name else None
        if origin is not None and name:
            found[kind] = {"name": name, "module": origin.module, "file": origin.file}
    return found


def not_loaded(kind: str, name: str, plugins: dict | None) -> str | None:
    """Return why a saved model's entry is not here where a plug-in defines it, None where it is here or no plug-in's.

    Args:
        kind: "feedback", "rollout" or "objective".
        name: the entry the model was trained with.
        plugins: what `origins` said when the model was saved.
    """
    said = (plugins or {}).get(kind)
    if not isinstance(said, dict) or said.get("name") != name:
        return None
    registry = REGISTRIES.get(kind)
    if registry is not None and name in registry and registry.origin(name) is not None:
        return None
    origin = Origin(str(said.get("module")), str(said.get("file")))
    load = origin.module if ":" in name else origin.file
    return f"{kind}={name} is code of {origin}, which is not loaded; give --plugin {load}, or call load_plugin('{load}')"


_loaded = False


def load_entry_points() -> None:
    """Load the plug-ins of installed packages, once.

    Raises:
        InputError: one of them cannot be loaded; names the package, in one line.
    """
    global _loaded
    if _loaded or __package__ != OWN:
        return
    _loaded = True  # before anything runs: a plug-in that looks up a name must not load itself
    for point in entry_points(group=GROUP):
        whose = f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown package"
        try:
            point.load()
        except (Exception, SystemExit) as error:  # a plug-in may fail in any way
            why = failure(error, module_file(point.module))
            raise InputError(
                f"plug-in '{point.name}' of the installed package {whose}: {why}; fix or uninstall it"
            ) from error
        TRUSTED.add(point.module)


def module_file(name: str) -> Path:
    """Return the file of a module that is loaded or can be found; a path that nobody has where there is none."""
    file = vars(sys.modules[name]).get("__file__") if name in sys.modules else None
    return Path(file) if file else Path(f"{name.rpartition('.')[2]}.py")


def failure(error: BaseException, file: Path) -> str:
    """Return in one line where in a plug-in's file an error arose, and what it says."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename).name == file.name:
            line = trace.tb_lineno
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).name == file.name:
        line = error.lineno
    says = " ".join((error.msg if isinstance(error, SyntaxError) else str(error)).split())
    says = says if isinstance(error, InputError) else f"{type(error).__name__}: {says}"
    return f"{file.name}, line {line}: {says}" if line else says


def _caller() -> Origin:
    """Return the module that registers something."""
    frame, name = inspect.currentframe(), __name__
    while frame is not None and name in (__name__, f"{OWN}.plugins"):  # whoever registers is below these modules
        frame = frame.f_back
        name = "__main__" if frame is None else frame.f_globals.get("__name__", "__main__")
    file = None if frame is None else frame.f_globals.get("__file__")
    return Origin(name, Path(file or f"{name}.py").name)
