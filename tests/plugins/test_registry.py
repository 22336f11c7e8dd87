"""Registries: order, names that are taken, module:Class, plug-ins of installed packages, what a saved model may import."""

import sys
import textwrap

import pytest

from latent_trainer import registry
from latent_trainer.errors import InputError, check_choice
from latent_trainer.methods.curriculum import CURRICULA
from latent_trainer.methods.feedback import FEEDBACKS
from latent_trainer.methods.feedback.hidden import HiddenFeedback
from latent_trainer.registry import Registry, not_loaded, origins

pytest_plugins = ["plugin_fixtures"]

FEEDBACK = """
    from torch import nn

    class Mine(nn.Module):
        sequential = True

        def __init__(self, hidden_size, scale: float = 2.0):
            super().__init__()
            self.scale = scale

        def forward(self, hidden, embed, head):
            return self.scale * hidden
"""


@pytest.fixture
def letters():
    yield Registry("letter", {"a": 1, "b": 2}, lambda name, entry: entry)
    del registry.REGISTRIES["letter"]


def line(call) -> str:
    with pytest.raises(InputError) as caught:
        call()
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_is_a_mapping_in_order(letters):
    letters.register("d", 4)
    assert letters.register("c")(3) == 3
    assert list(letters) == ["a", "b", "d", "c"] and len(letters) == 4 and dict(letters)["c"] == 3
    assert letters["d"] == 4 and letters.get("x") is None and "x" not in letters and 7 not in letters
    with pytest.raises(KeyError):
        letters["x"]
    assert letters.origin("a") is None and letters.origin("c") == (__name__, "test_registry.py")
    assert origins(letter="c", unknown="c") == {
        "letter": {"name": "c", "module": "test_registry", "file": "test_registry.py"}
    }
    assert origins(letter="a") == {}


def test_a_name_that_is_taken(letters):
    assert line(lambda: letters.register("a", 5)) == (
        "letter 'a' is taken by the library itself; give another name, or replace=True"
    )
    letters.register("c", 3)
    assert "taken by plug-in test_registry.py (module test_registry)" in line(lambda: letters.register("c")(4))
    letters.register("a", 5, replace=True)
    assert letters["a"] == 5
    letters.forget("a")
    assert letters["a"] == 1 and "no plug-in's" in line(lambda: letters.forget("a"))
    for name in ("", " ", "a b", "m:C", None):
        assert "one word without a colon" in line(lambda name=name: letters.register(name, 1))


def test_the_nearest_is_named():
    assert line(lambda: check_choice("feedback", "hiden", FEEDBACKS)).endswith("did you mean 'hidden'?")
    assert line(lambda: FEEDBACKS.choose("feedback", "hiden")).endswith("did you mean 'hidden'?")
    assert "is not one of" in line(lambda: FEEDBACKS.choose("feedback", ["hidden"]))


def test_module_and_class(door, monkeypatch):
    folder = door("afeedback.py", FEEDBACK).parent
    door("broken.py", "x = 1\ny = x / 0\n")
    door("needs.py", "import nowhere_to_be_found\n")
    monkeypatch.syspath_prepend(folder)
    assert FEEDBACKS.choose("feedback", "afeedback:Mine") is sys.modules["afeedback"].Mine is FEEDBACKS["afeedback:Mine"]
    assert FEEDBACKS.origin("afeedback:Mine") == ("afeedback", "afeedback.py")
    says = {
        "afeedback:Mime": "feedback=afeedback:Mime: module afeedback has no Mime; check its spelling",
        "afeedbak:Mine": "feedback=afeedbak:Mine: there is no module afeedbak; install its package, ",
        "needs:Mine": "feedback=needs:Mine: module needs cannot be imported: No module named 'nowhere_to_be_found'",
        "broken:Mine": "feedback=broken:Mine: module broken cannot be imported: broken.py, line 2: ZeroDivisionError: "
        "division by zero",
        ":Mine": "feedback=:Mine: write package.module:Class",
        "afeedback:": "feedback=afeedback:: module afeedback has no name after the colon; check its spelling",
        "afeedback:nn": "feedback 'afeedback:nn' must be a class derived from torch.nn.Module",
        "os:system": "feedback 'os:system' must be a class derived from torch.nn.Module",
        "torch.nn:Linear": "feedback 'torch.nn:Linear': Linear must say sequential = True or False in its class",
    }
    for name, said in says.items():
        assert line(lambda name=name: FEEDBACKS.choose("feedback", name)).startswith(said)


def test_a_name_nobody_has_chosen_imports_nothing(door, monkeypatch):
    """A saved model's settings name a module: that module is imported only if the user has asked for it."""
    monkeypatch.syspath_prepend(door("asecond.py", FEEDBACK).parent)
    assert "asecond:Mine" not in FEEDBACKS and "asecond" not in sys.modules
    said = {"feedback": {"name": "asecond:Mine", "module": "asecond", "file": "asecond.py"}}
    assert not_loaded("feedback", "asecond:Mine", said) == (
        "feedback=asecond:Mine is code of plug-in asecond.py (module asecond), which is not loaded; give --plugin asecond, "
        "or call load_plugin('asecond')"
    )
    from latent_trainer import load_plugin

    load_plugin("asecond")
    assert "asecond:Mine" in FEEDBACKS and not_loaded("feedback", "asecond:Mine", said) is None


def test_one_of_the_librarys_own_that_a_plugin_replaced():
    """The model was trained with the plug-in's, and must not load with the library's."""
    said = {"feedback": {"name": "hidden", "module": "m", "file": "m.py"}}
    assert "plug-in m.py (module m), which is not loaded" in not_loaded("feedback", "hidden", said)
    FEEDBACKS.register("hidden", HiddenFeedback, replace=True)
    assert not_loaded("feedback", "hidden", said) is None
    FEEDBACKS.forget("hidden")


class Point:
    """An entry point of an installed package."""

    class dist:
        name, version = "my-latents", "1.2"

    def __init__(self, name: str, module: str):
        self.name, self.module, self.loads = name, module, 0

    def load(self):
        self.loads += 1
        return __import__(self.module)


def test_installed_packages(door, monkeypatch):
    """They are loaded once, by the first name that is not known or when names are listed."""
    source = "from latent_trainer import register_feedback\n" + textwrap.dedent(FEEDBACK)
    monkeypatch.syspath_prepend(door("athird.py", source + "\nregister_feedback('third', Mine)\n").parent)
    point = Point("third", "athird")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == "latent_trainer.plugins" else [])
    monkeypatch.setattr(registry, "_loaded", False)
    assert "hidden" in FEEDBACKS and FEEDBACKS["soft"] and point.loads == 0
    assert "third" not in list(FEEDBACKS)
    assert "third" in FEEDBACKS and point.loads == 1
    assert FEEDBACKS.names()[-1] == "third" and "nope" not in CURRICULA and point.loads == 1
    assert "third" in line(lambda: check_choice("feedback", "thirt", FEEDBACKS))


def test_an_installed_package_that_is_broken(door, monkeypatch):
    monkeypatch.syspath_prepend(door("afourth.py", "\nraise RuntimeError('no\\nluck')\n").parent)
    monkeypatch.setattr(registry, "entry_points", lambda group: [Point("fourth", "afourth")])
    monkeypatch.setattr(registry, "_loaded", False)
    assert line(lambda: FEEDBACKS.choose("feedback", "fourth")) == (
        "plug-in 'fourth' of the installed package my-latents 1.2: afourth.py, line 1: RuntimeError: no luck; fix or "
        "uninstall it"
    )
