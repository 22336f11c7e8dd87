"""The door for plug-ins: names that settings may use, registered from outside the library (docs/plugins.md).

    from latent_trainer import register_feedback

    @register_feedback("mine")
    class MyFeedback(torch.nn.Module):
        ...

Every function works as a decorator and as a call, ``register_feedback("mine")(MyFeedback)`` or ``register_feedback("mine",
MyFeedback)``. It refuses a name that is taken, unless ``replace=True``, and an entry that breaks its contract. A file is
loaded by ``--plugin FILE`` or `load_plugin`. `latent_trainer.testing` holds the tests of every contract.
"""

import importlib
import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

from latent_trainer.errors import InputError
from latent_trainer.registry import REGISTRIES, TRUSTED, Registry, failure, module_file

# Where each registry lives; importing this module imports none of them.
HOMES = {
    "method": ("latent_trainer.methods.presets", "METHODS"),
    "objective": ("latent_trainer.methods.objectives", "OBJECTIVES"),
    "feedback": ("latent_trainer.methods.feedback", "FEEDBACKS"),
    "rollout": ("latent_trainer.rollout", "ROLLOUTS"),
    "policy": ("latent_trainer.methods.policies", "POLICIES"),
    "curriculum": ("latent_trainer.methods.curriculum", "CURRICULA"),
    "dataset": ("latent_trainer.data", "DATASETS"),
    "template": ("latent_trainer.data.template", "TEMPLATES"),
    "reward": ("latent_trainer.rl.rewards", "REWARDS"),
    "probe": ("latent_trainer.analysis", "PROBES"),
    "control": ("latent_trainer.evaluation.controls", "CONTROLS"),
}


def registry(kind: str) -> Registry:
    """Return the registry of a kind, a key of ``HOMES``."""
    module, name = HOMES[kind]
    return getattr(importlib.import_module(module), name)


def register_method(name: str, method=None, *, replace: bool = False) -> Any:
    """Register a preset: a `latent_trainer.methods.presets.Method`, or a function without parameters that returns one."""
    return registry("method").register(name, method, replace=replace)


def register_objective(name: str, objective: type | None = None, *, replace: bool = False) -> Any:
    """Register a class derived from `latent_trainer.methods.objectives.contract.Objective`."""
    return registry("objective").register(name, objective, replace=replace)


def register_feedback(name: str, feedback: type | None = None, *, replace: bool = False) -> Any:
    """Register a `torch.nn.Module` as `latent_trainer.methods.feedback` describes it; it becomes part of the model."""
    return registry("feedback").register(name, feedback, replace=replace)


def register_rollout(name: str, rollout: type | None = None, *, replace: bool = False) -> Any:
    """Register a class as `latent_trainer.rollout` describes it; it becomes part of the model."""
    return registry("rollout").register(name, rollout, replace=replace)


def register_policy(name: str, policy: type | None = None, *, replace: bool = False) -> Any:
    """Register a class as `latent_trainer.methods.policies` describes it."""
    return registry("policy").register(name, policy, replace=replace)


def register_curriculum(name: str, curriculum: type | None = None, *, replace: bool = False) -> Any:
    """Register a frozen dataclass as `latent_trainer.methods.curriculum` describes it."""
    return registry("curriculum").register(name, curriculum, replace=replace)


def register_dataset(name: str, load=None, *, replace: bool = False) -> Any:
    """Register a loader ``load(split, path=None, seed=0, **options)`` that returns problems or dictionaries."""
    return registry("dataset").register(name, load, replace=replace)


def register_template(name: str, template=None, *, replace: bool = False) -> Any:
    """Register a `latent_trainer.data.Template`, or a function without parameters that returns one."""
    return registry("template").register(name, template, replace=replace)


def register_reward(name: str, reward: type | None = None, *, replace: bool = False) -> Any:
    """Register a class as `latent_trainer.rl.rewards` describes it."""
    return registry("reward").register(name, reward, replace=replace)


def register_probe(name: str, probe=None, *, replace: bool = False) -> Any:
    """Register a `latent_trainer.analysis.Probe`, or a function ``measure(subject) -> dict`` without figures."""
    return registry("probe").register(name, probe, replace=replace)


def register_control(name: str, control=None, *, replace: bool = False) -> Any:
    """Register a function ``control(latents (N, K, H), problems, seed) -> latents``."""
    return registry("control").register(name, control, replace=replace)


_loaded: dict[str, None] = {}  # what `load_plugin` has loaded, in order


def loaded_files() -> list[str]:
    """Return what `load_plugin` has loaded in this process, so that another one can: whole paths of files, and modules."""
    return list(_loaded)


def load_plugin(plugin: str | Path) -> None:
    """Load a plug-in: a Python file, or an installed module by its dotted name. A second time does nothing.

    A file ``folder/name.py`` becomes the module ``name`` and its folder the last place where modules are looked for, so that
    every process that loads it finds the same module.

    Args:
        plugin: "folder/name.py" or "package.module".

    Raises:
        InputError: no such file or module, a name another module has, or code that fails; in one line with file and line.
    """
    plugin = str(plugin)
    if not plugin.endswith(".py") and re.fullmatch(r"\w+(\.\w+)*", plugin):
        _load_module(plugin, f"plug-in {plugin}", None)
        _loaded[plugin] = None
        return
    path = Path(plugin).expanduser().absolute()
    if not path.is_file():
        raise InputError(f"there is no plug-in file {plugin}; give a Python file or the name of an installed module")
    if path.suffix != ".py" or not path.stem.isidentifier():
        raise InputError(f"plug-in file {plugin} must be named like a module, such as my_method.py; rename it")
    _load_module(path.stem, f"plug-in file {plugin}", path)
    _loaded[str(path)] = None


def _load_module(name: str, what: str, file: Path | None) -> None:
    """Import a module; the one that a file becomes must be that file."""
    if file is not None:
        found = _file_of(name)
        if found is not None and found.resolve() != file.resolve():
            raise InputError(f"{what} has the name of another module ({found}); rename the file")
        if str(file.parent) not in sys.path:
            sys.path.append(str(file.parent))
            importlib.invalidate_caches()
    before = {kind: one.entries() for kind, one in REGISTRIES.items()}
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise InputError(f"there is no module {error.name} for --plugin {name}; install its package") from None
        _forget(before)
        raise InputError(f"{what} cannot be loaded: {failure(error, module_file(name))}") from error
    except (Exception, SystemExit) as error:  # a plug-in may fail in any way, or be a program that ends
        _forget(before)
        raise InputError(f"{what} cannot be loaded: {failure(error, file or module_file(name))}") from error
    TRUSTED.add(name)


def _file_of(name: str) -> Path | None:
    """Return the file of the module that has a name now, loaded or not."""
    if name in sys.modules:
        return module_file(name)
    spec = importlib.util.find_spec(name)
    return None if spec is None or not spec.origin else Path(spec.origin)


def _forget(before: dict[str, tuple[dict, dict]]) -> None:
    """Take away what a plug-in registered before it failed, so that it can be loaded when it is fixed."""
    for kind, one in REGISTRIES.items():
        one.restore(before.get(kind))
