"""Private and undocumented names of transformers are in one file, and every tested release has them."""

import ast
import importlib
import inspect
from configparser import ConfigParser
from pathlib import Path

import pytest
import transformers
from test_layers import FILES, ROOT

import latent_trainer.compat
from latent_trainer import LatentForCausalLM, LatentTrainer
from latent_trainer.compat import (
    CACHE,
    DEFINED,
    MODULES,
    TESTED,
    cache_argument,
    check_release,
    known_releases,
    takes_either_cache,
)

STOCK = ("accelerate", "peft", "transformers")
# of torch, multiprocessing, optuna, argparse, pint and os
ELSEWHERE = {"_version", "_process", "_trial_id", "_actions", "_units", "_exit", "_C", "_is_view", "_unsafe_view"}
PRIVATE = ("compat.py", "serving/hooks.py")  # the second one is for vLLM, which is not there where the library is
LIBRARY = {name: file.read_text(encoding="utf-8") for file in FILES if (name := str(file.relative_to(ROOT))) not in PRIVATE}


def own_names(sources) -> set[str]:
    """Return every private name that the library itself gives to a function, a class or an attribute."""
    found = set()
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                found |= {node.attr} if isinstance(node.value, ast.Name) and node.value.id == "self" else set()
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
    return found


def foreign(source: str, own: set[str]) -> set[str]:
    """Return the private attributes a file reads that the library does not define, and what is hidden in its imports."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            found |= {node.attr} - own - ELSEWHERE
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("getattr", "setattr", "hasattr")
        ):
            names = [one.value for one in node.args[1:2] if isinstance(one, ast.Constant)]
            found |= {name for name in names if name.startswith("_")} - own
        if isinstance(node, ast.keyword) and (node.arg or "").startswith("_"):
            found.add(node.arg)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in STOCK:
            parts = [*node.module.split("."), *(alias.name for alias in node.names)]
            found |= {part for part in parts if part.startswith("_") or part in MODULES}
    return found


def test_private_names_are_in_one_file():
    own = own_names(LIBRARY.values()) | {name for names in DEFINED.values() for name in names}
    found = {name: foreign(source, own) for name, source in LIBRARY.items()}
    assert not {name: names for name, names in found.items() if names}


@pytest.mark.parametrize(
    "source",
    [
        "model._of_somebody_else",
        "model.config._attn_implementation = 'eager'",
        "getattr(model, '_is_stateful')",
        "from transformers.utils import _is_package_available",
        "from peft._x import y",
        "trainer.save_model(_internal_call=True)",
        "def f():\n    from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR",
    ],
)
def test_the_check_finds_them(source):
    assert foreign(source, own_names(LIBRARY.values()))


@pytest.mark.parametrize("name", MODULES)
def test_every_name_is_where_it_is_said_to_be(name):
    assert getattr(latent_trainer.compat, name) is getattr(importlib.import_module(MODULES[name]), name)


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="nothing_like_it"):
        latent_trainer.compat.nothing_like_it  # noqa: B018


@pytest.mark.parametrize(
    ("stock", "own"),
    [("PreTrainedModel", LatentForCausalLM), ("GenerationMixin", LatentForCausalLM), ("Trainer", LatentTrainer)],
)
def test_private_names_that_are_defined(stock, own):
    """Those the stock class has are the ones listed, no more, so none is overridden by accident."""
    base = getattr(transformers, stock)
    mine = {
        name
        for kind in own.__mro__
        if kind.__module__.startswith("latent_trainer.")
        for name in vars(kind)
        if name.startswith("_") and not name.startswith("__") and hasattr(base, name)
    }
    assert mine - {"_auto_class"} == set(DEFINED[stock]) - {"_no_split_modules"}  # that one is of the object
    assert all(hasattr(base, name) for name in DEFINED[stock])


def test_releases():
    """The requirement of the package is the range that is tested, and this release is in it."""
    setup = ConfigParser()
    setup.read(Path(__file__).resolve().parents[1] / "setup.cfg")
    (oldest, newest), requirements = TESTED, setup["options"]["install_requires"].split()
    assert f"transformers>={oldest[0]}.{oldest[1]},<{newest[0]}.{newest[1] + 1}" in requirements
    assert check_release()


@pytest.mark.parametrize(("release", "fine"), [("5.16.1", False), ("5.17.0", True), ("5.24.2", True), ("5.25.0", False)])
def test_another_release_is_named(release, fine, caplog, monkeypatch):
    monkeypatch.setattr(transformers.utils.logging.get_logger("transformers"), "propagate", True)
    monkeypatch.setattr(transformers.utils.logging.get_logger("latent_trainer"), "propagate", True)
    assert check_release(release) == fine
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == (not fine) and all(
        release in line and known_releases() in line and "\n" not in line for line in said
    )


def test_either_name_of_the_cache():
    @takes_either_cache
    def forward(ids, past_key_values=None):
        return ids, past_key_values

    assert forward(1, cache=2) == forward(1, past_key_values=2) == forward(1, 2) == (1, 2)
    assert forward(1, cache=None) == (1, None)
    assert list(inspect.signature(forward).parameters) == ["ids", "past_key_values"]
    with pytest.raises(TypeError, match="both cache and past_key_values"):
        forward(1, cache=2, past_key_values=3)


def test_what_a_decoder_calls_it():
    """A model whose code is older than the release keeps the older name."""
    assert cache_argument(lambda inputs_embeds, past_key_values, **kwargs: None) == "past_key_values"
    assert cache_argument(lambda inputs_embeds, cache, **kwargs: None) == "cache"
    assert cache_argument(lambda **kwargs: None) == CACHE
