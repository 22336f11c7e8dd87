"""A plug-in's code that a model needs travels with it when it can run on its own elsewhere; otherwise nothing is pushed."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hub_machines import QUESTION, clean_machine, run_program
from transformers import AutoTokenizer

from latent_trainer import LatentForCausalLM, encode_prompts, load_plugin, register_feedback
from latent_trainer.errors import InputError
from latent_trainer.hub import export_folder, push_folder
from latent_trainer.hub.code import modelling_code
from latent_trainer.hub.plugin_code import needed_source, travelling
from latent_trainer.methods.feedback import FEEDBACKS
from latent_trainer.methods.feedback.hidden import HiddenFeedback
from latent_trainer.methods.objectives import build_objective
from latent_trainer.model.configuration import LatentConfig

pytest_plugins = ["hub_fixtures", "plugin_fixtures"]
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")

# A feedback, built on one of the library's, in the file of a whole method.
PLUGIN = '''
"""Mine."""

import math
from typing import Literal

import torch
from torch import nn

import latent_trainer
from latent_trainer import register_dataset, register_objective
from latent_trainer.data.problem import Problem
from latent_trainer.methods.feedback.hidden import HiddenFeedback
from latent_trainer.methods.objectives.answer import AnswerObjective
from latent_trainer.options import Scale, checked


@latent_trainer.register_feedback(
    "tanh",
)
class Tanh(HiddenFeedback):
    """z = scale x tanh(h)."""

    @checked
    def __init__(self, hidden_size, scale: Scale = 1.0, norm: Scale | Literal["embedding"] | None = None):
        super().__init__(hidden_size, norm)
        self.scale = scale * math.sqrt(4.0)

    def forward(self, hidden, embed, head):
        return self.scale * super().forward(hidden, embed, head).tanh()


@register_objective("mine")
class Mine(AnswerObjective):
    def forward(self, step):
        return {"answer": torch.tensor(2.0) * super().forward(step)["answer"]}


@register_dataset("none")
def load(split, path=None, seed=0):
    return [Problem("1", (), "1")]


register_objective("again")(Mine)
'''

# Loads a repository with transformers alone; prints the logits of a question.
PROGRAM = """
import importlib.util, json, sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
assert importlib.util.find_spec("latent_trainer") is None
name, question = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(name, trust_remote_code=True)
tokenizer = AutoTokenizer.from_pretrained(name)
chat = [{"role": "user", "content": question}]
batch = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
with torch.no_grad():
    logits = model(**batch).logits[0].tolist()
model.save_pretrained("again")
print()  # a question about remote code, which nobody answered, may stand on this line
print(json.dumps([type(model.feedback).__module__, logits, json.load(open("again/config.json"))["plugins"]]))
"""


def change(path: Path, **settings) -> None:
    """Change settings of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


def line(call) -> str:
    with pytest.raises(InputError) as caught:
        call()
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.fixture
def place(trained, tmp_path):
    """Return a copy of a trained folder."""
    return Path(shutil.copytree(trained / "full", tmp_path / "run"))


def test_a_feedback_travels(hub, place, door, tmp_path, request):
    """The pushed folder loads with transformers alone, has the same logits and says what is a plug-in's."""
    load_plugin(door("tanhs.py", PLUGIN))
    model = LatentForCausalLM.from_pretrained(str(place))
    model.configure("tanh", {"scale": 1.5})
    model.save_pretrained(place)
    objective = {"objective": {"name": "mine", "module": "tanhs", "file": "tanhs.py"}}
    change(place / "training_arguments.json", objective="mine", feedback="tanh", plugins=objective)
    tokenizer = AutoTokenizer.from_pretrained(place)
    batch = encode_prompts([QUESTION], tokenizer, model.config.num_latents, model.config.template)
    with torch.no_grad():
        expected = model(**batch).logits[0]
        model.configure("hidden")
        assert (model(**batch).logits[0] - expected).abs().max() > 1e-3
    push_folder(place, "me/tanh")
    files = hub.files("me/tanh")
    assert json.loads(files["config.json"])["plugins"] == {
        "feedback": {"name": "tanh", "module": "tanhs", "file": "tanhs.py"}
    }
    code = files["latent_plugin_tanhs.py"].decode()
    assert "class Tanh" in code and "register_" not in code and "latent_trainer." not in code.split("\n", 1)[1]
    card = files["README.md"].decode()
    assert "The feedback `tanh` is code of plug-in `tanhs.py`, which travels with the model." in card
    assert "The objective `mine` is code of plug-in `tanhs.py`, which running the model does not need." in card
    python = clean_machine(request.config.cache.mkdir("hub-transformers"), "torch", "transformers")
    words = ["me/tanh", QUESTION]
    module, logits, plugins = run_program(PROGRAM, *words, python=python, server=hub, folder=tmp_path, library=False)
    assert module.startswith("transformers_modules.") and module.endswith(".latent_plugin_tanhs")
    assert plugins == json.loads(files["config.json"])["plugins"]
    torch.testing.assert_close(torch.tensor(logits), expected, rtol=1e-5, atol=1e-6)


FEEDBACK = """
    from latent_trainer import register_feedback
    from latent_trainer.methods.feedback.hidden import HiddenFeedback

    @register_feedback("half")
    class Half(HiddenFeedback):
        pass
"""
ROLLOUT = """
    from latent_trainer import register_rollout
    from latent_trainer.rollout.sequential import SequentialRollout

    @register_rollout("plain")
    class Plain(SequentialRollout):
        pass
"""


@pytest.mark.parametrize(
    ("files", "plugins", "pushed"),
    [
        ({"two.py": FEEDBACK + ROLLOUT}, ["two"], {"latent_plugin_two.py": {"Half", "Plain"}}),
        (
            {"one/part.py": FEEDBACK, "other/part.py": ROLLOUT},
            ["one.part", "other.part"],
            {"latent_plugin_one_part.py": {"Half"}, "latent_plugin_other_part.py": {"Plain"}},
        ),
    ],
    ids=["one file", "modules of one name"],
)
def test_a_feedback_and_a_rollout_travel(place, door, monkeypatch, files, plugins, pushed):
    """Neither takes the other's place."""
    paths = [door(name, source) for name, source in files.items()]
    monkeypatch.syspath_prepend(str(paths[0].parents[plugins[0].count(".")]))
    for plugin in plugins:
        load_plugin(plugin)
    change(place / "config.json", feedback="half", feedback_options={}, rollout="plain", rollout_options={})
    code = modelling_code(travelling(LatentConfig.from_pretrained(place)))
    defined = {
        name: {node.name for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
        for name, source in code.items()
        if name.startswith("latent_plugin_")
    }
    assert defined == pushed
    for name, classes in pushed.items():
        imports = [f"from .{name.removesuffix('.py')} import {one} " for one in classes]
        assert all(any(words in source for source in code.values()) for words in imports)


KEPT = """
    from latent_trainer import register_objective
    from latent_trainer.methods.objectives.answer import AnswerObjective
    from torch import nn

    @register_objective("kept")
    class Kept(AnswerObjective):
        def __init__(self, options=None, config=None):
            super().__init__(options, config)
            self.line = nn.Linear(2, 2)
"""


def test_a_kept_objective_travels(place, door, tmp_path):
    """The pushed configuration finds it before the model is built, in a process that has no library."""
    load_plugin(door("keeps.py", KEPT))
    model = LatentForCausalLM.from_pretrained(str(place))
    model.add_objective("kept", {}, build_objective("kept", {}, model.config))
    model.save_pretrained(place)
    export_folder(place, tmp_path / "to")
    program = (
        "import sys; sys.modules['latent_trainer'] = None; from transformers import AutoModelForCausalLM; "
        f"model = AutoModelForCausalLM.from_pretrained({str(tmp_path / 'to')!r}, trust_remote_code=True); "
        "print(type(model.objective).__module__, sorted(model.objective.state_dict()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "latent_plugin_keeps ['line.bias', 'line.weight']" in done.stdout, done.stderr[-2000:]


def test_what_only_trained_the_model_hinders_nothing(place, tmp_path):
    """A plug-in's objective, curriculum, template and data set need not even be loaded."""
    said = {kind: {"name": "mine", "module": "mine", "file": "mine.py"} for kind in ("objective", "curriculum", "template")}
    change(place / "training_arguments.json", objective="mine", curriculum="mine", template="mine", plugins=said)
    change(place / "data_arguments.json", dataset="mine", plugins={"dataset": said["objective"]})
    to = export_folder(place, tmp_path / "to")
    assert not [path for path in to.iterdir() if path.name.startswith("latent_plugin_")]
    assert json.loads((to / "training_arguments.json").read_text())["plugins"] == said


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import numpy\nC = numpy.pi", "line 1 imports numpy; use torch, transformers and Python's own modules"),
        ("from .beside import x\nC = x", "line 1 imports a file beside it; keep everything in one file"),
        ("import latent_trainer.data as d\nC = d", "line 1 imports latent_trainer.data as a whole; write from"),
        (
            "from latent_trainer import LatentConfig\nC = LatentConfig",
            "line 1 imports LatentConfig from latent_trainer",
        ),
        ("import latent_trainer as lt\nC = lt.LatentConfig", "line 1 imports latent_trainer as a whole"),
        ("from math import *\nC = pi", "line 1 imports all of math; name what is used"),
        ("from latent_trainer import register_x\nC = register_x('x')(object)", "line 1 imports register_x from"),
        ("try:\n    import numpy as np\nexcept ImportError:\n    np = None\nC = np", "line 2 imports numpy"),
        ("def C():\n    import numpy", "line 2 imports numpy"),
    ],
)
def test_code_that_cannot_travel(source, says):
    assert line(lambda: needed_source(source, {"C"}, "at: ")).startswith(f"at: {says}")


SEVERAL = '''"""Says what it is."""

import numpy
from math import pi, sqrt, tau
from torch import nn
from latent_trainer import register_feedback, register_dataset
from latent_trainer.data import load_problems

SIZE = 3
OTHER = numpy.zeros(3)
TABLE = {}
TABLE["a"] = lambda: tau
numpy.random.seed(0)

def used(x: "Late" = SIZE):
    return x

class Late: ...

@register_feedback(
    "mine"
)
@nn.Module.compile
class Mine(nn.Module):
    size = used(pi)
    table = TABLE

@register_dataset("mine")
def load():
    return numpy, load_problems
'''


def test_what_is_not_needed_stays():
    """A class travels with what it uses and with what works on that; lines keep their numbers."""
    left = needed_source(SEVERAL, {"Mine"}, "at: ")
    assert left.count("\n") == SEVERAL.count("\n")
    kept = """
        \"""Says what it is.\"""
        from math import pi, tau
        from torch import nn
        SIZE = 3
        TABLE = {}
        TABLE["a"] = lambda: tau
        def used(x: "Late" = SIZE):
            return x
        class Late: ...
        @nn.Module.compile
        class Mine(nn.Module):
            size = used(pi)
            table = TABLE
    """
    assert left.split() == kept.split()
    assert left.splitlines().index("class Mine(nn.Module):") == SEVERAL.splitlines().index("class Mine(nn.Module):")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import numpy as np\nmath = np\n", "line 1 imports numpy"),
        (
            "from latent_trainer.data import load_problems\nmath = load_problems\n",
            ".data, which needs datasets",
        ),
        ("import latent_trainer.options\nmath = latent_trainer\n", "imports latent_trainer.options as a whole"),
    ],
)
def test_a_push_that_is_refused(place, door, tmp_path, source, says):
    """Nothing is written."""
    body = PLUGIN.replace('"""Mine."""\n', "").replace("import math\n", "").replace("math.sqrt(4.0)", "len(dir(math))")
    load_plugin(door("heavy.py", source + body.lstrip()))
    change(place / "config.json", feedback="tanh", feedback_options={})
    said = line(lambda: export_folder(place, tmp_path / "to"))
    assert "feedback=tanh is code of heavy" in said and "which cannot travel with the model: " in said and says in said
    assert not (tmp_path / "to").exists()


def test_code_of_the_program_that_runs(place, door, tmp_path, monkeypatch):
    """Its file would begin a training where it is loaded; and a class within a function cannot be named."""

    class Inner(HiddenFeedback):
        pass

    register_feedback("inner", Inner)
    change(place / "config.json", feedback="inner", feedback_options={})
    assert "Inner is not defined at the top of its module" in line(lambda: export_folder(place, tmp_path / "to"))
    FEEDBACKS.forget("inner")
    monkeypatch.setattr(Inner, "__module__", "__main__")
    register_feedback("inner", Inner)
    assert "move it to a file of its own" in line(lambda: export_folder(place, tmp_path / "to"))


def test_a_plugin_that_is_not_loaded(place, tmp_path):
    said = {"feedback": {"name": "mine", "module": "mine", "file": "mine.py"}}
    change(place / "config.json", feedback="mine", plugins=said)
    assert "give --plugin mine.py" in line(lambda: export_folder(place, tmp_path / "to"))
    assert "mine" not in sys.modules


def test_its_folder_is_not_published(place, door, tmp_path):
    """The code is text that a person has written, and may name a folder of this machine."""
    used = PLUGIN.replace("math.sqrt(4.0)", "len(FOLDER) * math.sqrt(4.0)")
    load_plugin(door("paths.py", used + f"\nFOLDER = {str(place.resolve())!r}\n"))
    change(place / "config.json", feedback="tanh", feedback_options={})
    assert "latent_plugin_paths.py would publish" in line(lambda: export_folder(place, tmp_path / "to"))
