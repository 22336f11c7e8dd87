"""The door: what can be registered and what is refused, files, and the commands that load them."""

import json
import sys

import pytest

import latent_trainer
from latent_trainer import LatentTrainingArguments, load_plugin, load_problems, plugins
from latent_trainer.cli import main
from latent_trainer.cli.arguments import without_plugins
from latent_trainer.errors import InputError
from latent_trainer.methods.objectives import OBJECTIVES, AnswerObjective, build_objective
from latent_trainer.model.configuration import check_feedback
from latent_trainer.registry import REGISTRIES

pytest_plugins = ["plugin_fixtures"]

EVERYTHING = """
    from dataclasses import dataclass

    from latent_trainer import (
        register_control, register_curriculum, register_dataset, register_feedback, register_method, register_objective,
        register_probe, register_template,
    )
    from latent_trainer.data import Template
    from latent_trainer.methods.curriculum import Plan
    from latent_trainer.methods.feedback.hidden import HiddenFeedback
    from latent_trainer.methods.objectives.answer import AnswerObjective
    from latent_trainer.methods.presets import Method


    @register_objective("double")
    class Double(AnswerObjective):
        def forward(self, step):
            return {"answer": 2 * super().forward(step)["answer"]}


    @register_feedback("mine")
    class Mine(HiddenFeedback):
        pass


    @register_curriculum("two")
    @dataclass(frozen=True)
    class Two:
        most: int = 2
        num_stages = 1

        def plan(self, stage, row, rng=None):
            return Plan(min(self.most, len(row.steps)), 10**9)

        def plans(self, row):
            return [self.plan(0, row)]

        def latents(self, stage):
            return self.most


    @register_dataset("sums")
    def load(split, path=None, seed=0, size: int = 12):
        start = {"train": 0, "validation": 100, "test": 200}[split]
        return [{"question": f"{n} + 1", "steps": [str(n)], "answer": str(n + 1)} for n in range(start, start + size)]


    @register_control("half")
    def half(latents, problems, seed):
        return latents / 2


    @register_probe("count")
    def measure(subject):
        return {"problems": len(subject.traces.problems)}


    register_template("arrow", Template(question="{question} ->", step=" {step}", answer_prefix=" = "))
    register_method(
        "mine",
        Method(
            "A. Uthor 2026, Mine",
            {
                "objective": "double",
                "feedback": "mine",
                "curriculum": "two",
                "curriculum_options": {"most": 3},
                "template": "arrow",
                "learning_rate": 3e-3,
            },
        ),
    )
"""
RECIPE = {
    "model_config": {"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 128},
    "dataset": "sums",
    "method": "mine",
    "max_steps": 1,
    "per_device_train_batch_size": 2,
    "report_to": "none",
    "disable_tqdm": True,
    "save_strategy": "no",
    "use_cpu": True,
    "log_level": "error",
    "do_eval": True,
}


def line(call) -> str:
    with pytest.raises(InputError) as caught:
        call()
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_a_command_that_hands_its_words_on(door):
    """``serve`` loads plug-ins too; its other words are the server's."""
    path = door("served.py", "from latent_trainer import register_control\n@register_control('s')\ndef f(a, b, c): ...")
    assert without_plugins(["FOLDER", "--plugin", str(path), "--port", "8000"]) == ["FOLDER", "--port", "8000"]
    assert "s" in REGISTRIES["control"]


def test_every_kind_has_a_door():
    doors = {name.removeprefix("register_") for name in latent_trainer.__all__ if name.startswith("register_")}
    assert doors == set(plugins.HOMES)
    for kind in doors:
        assert plugins.registry(kind) is REGISTRIES[kind]


def test_a_method_from_a_file(door, tmp_path):
    """Everything a plug-in may hold, in one file: chosen by name, its options checked, its preset taken."""
    load_plugin(door("everything.py", EVERYTHING))
    args = LatentTrainingArguments(str(tmp_path / "out"), method="mine")
    assert (args.objective, args.feedback, args.curriculum, args.template) == ("double", "mine", "two", "arrow")
    assert args.curriculum_options == {"most": 3} and args.learning_rate == 3e-3
    assert args.make_curriculum().latents(0) == 3 and args.make_template().answer_prefix == " = "
    args = LatentTrainingArguments(
        str(tmp_path / "out"), method="mine", curriculum_options={"most": 1}, learning_rate=1.0, template="plain"
    )
    assert args.make_curriculum().latents(0) == 1 and (args.learning_rate, args.template) == (1.0, "plain")
    says = line(lambda: LatentTrainingArguments(str(tmp_path / "out"), method="mine", curriculum_options={"mosst": 1}))
    assert says.startswith("curriculum_options: curriculum 'two' has no option 'mosst'") and "did you mean 'most'" in says
    rows = load_problems("sums", "test", size=2)
    assert rows["question"] == ["200 + 1", "201 + 1"]
    assert "no option 'sise'" in line(lambda: load_problems("sums", "train", sise=2))


def test_a_preset_may_set_options_of_the_librarys_own_curricula(door, tmp_path):
    load_plugin(
        door(
            "preset.py",
            """
            from latent_trainer import register_method
            from latent_trainer.methods.presets import Method

            @register_method("short")
            def short():
                return Method("x", {"curriculum": "staged", "curriculum_options": {"max_stage": 1, "uniform_prob": 0.5}})

            register_method("wrong")(Method("x", {"learning_rat": 1.0}))
            register_method("worse")(Method("x", {"learning_rate": "fast"}))
            register_method("other")(Method("x", {"curriculum": "fixed", "curriculum_options": {"num_latent": 3}}))
            """,
        )
    )
    curriculum = LatentTrainingArguments(str(tmp_path), method="short").make_curriculum()
    assert (curriculum.max_stage, curriculum.uniform_prob) == (1, 0.5)
    curriculum = LatentTrainingArguments(str(tmp_path), method="short", max_stage=2).make_curriculum()
    assert (curriculum.max_stage, curriculum.uniform_prob) == (2, 0.5)
    curriculum = LatentTrainingArguments(str(tmp_path), curriculum_options={"max_stage": 1}).make_curriculum()
    assert curriculum.max_stage == 1  # of the preset's curriculum
    learning_rat = "sets learning_rat, which a method cannot set; did you mean 'learning_rate'?"
    num_latent = "curriculum 'fixed' has no option 'num_latent'; did you mean 'num_latents'?"
    for method, says in (("wrong", learning_rat), ("worse", "learning_rate='fast'"), ("other", num_latent)):
        assert says in line(lambda method=method: LatentTrainingArguments(str(tmp_path), method=method))


def test_options_without_a_default(door, tmp_path):
    """Said in one line by whatever asks for the part, with the setting that gives the option."""
    load_plugin(
        door(
            "needy.py",
            """
            from dataclasses import dataclass
            from latent_trainer import register_curriculum, register_dataset, register_feedback, register_method
            from latent_trainer import register_objective, register_rollout
            from latent_trainer.methods.curriculum import FixedCurriculum
            from latent_trainer.methods.feedback.hidden import HiddenFeedback
            from latent_trainer.methods.objectives.answer import AnswerObjective
            from latent_trainer.methods.presets import Method
            from latent_trainer.rollout.sequential import SequentialRollout

            @dataclass
            class Needy:
                size: int

            register_objective("needy", type("NeedyObjective", (AnswerObjective,), {"Options": Needy}))
            register_rollout("needy", type("NeedyRollout", (SequentialRollout,), {"Options": Needy}))

            @register_feedback("needy")
            class NeedyFeedback(HiddenFeedback):
                def __init__(self, hidden_size: int, size: int):
                    super().__init__(hidden_size)

            @register_curriculum("needy")
            @dataclass(frozen=True)
            class NeedyCurriculum:
                size: int
                num_stages = 1
                plan, plans, latents = FixedCurriculum.plan, FixedCurriculum.plans, FixedCurriculum.latents

            @register_dataset("needy")
            def load(split, size: int, path=None, seed=0):
                return None

            register_method("needy", Method("x", {"curriculum": "needy", "epochs_per_stage": 1}))
            """,
        )
    )
    out = str(tmp_path)
    for part, call in (
        ("objective", lambda: build_objective("needy")),
        ("rollout", lambda: LatentTrainingArguments(out, rollout="needy")),
        ("feedback", lambda: check_feedback("needy", {})),
        ("curriculum", lambda: LatentTrainingArguments(out, curriculum="needy")),
        ("curriculum", lambda: LatentTrainingArguments(out, method="needy")),
        ("dataset", lambda: load_problems("needy")),
    ):
        assert line(call) == f"{part} 'needy' needs its option 'size', which has no default; give {part}_options.size"
    assert "dataset 'needy' returns NoneType; return a list of problems" in line(lambda: load_problems("needy", size=1))


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (
            "@register_objective('x')\nclass A: pass",
            "must be a class derived from latent_trainer.methods.objectives.contract",
        ),
        ("@register_objective('x')\nclass A(Objective): pass", "A has no forward(self, step) -> dict of terms; write it"),
        ("@register_objective('x')\nclass A(AnswerObjective):\n    Options = dict", "A.Options must be a dataclass"),
        ("@register_objective('x')\nclass A(AnswerObjective):\n    needs = ()", "A.needs must be Needs(...); got ()"),
        (
            "@register_objective('x')\nclass A(Objective):\n    def forward(self, outputs, batch): pass",
            "A.forward takes (self, outputs, batch); it must take (self, step)",
        ),
        ("@register_feedback('x')\nclass A: pass", "must be a class derived from torch.nn.Module"),
        ("@register_feedback('x')\nclass A(nn.Module): pass", "A must say sequential = True or False in its class"),
        ("@register_feedback('x')\nclass A(nn.Module):\n    sequential = True", "A.__init__ must take hidden_size"),
        (
            "@register_feedback('x')\nclass A(nn.Module):\n    sequential = True\n    def __init__(self, hidden_size): ...",
            "A must define forward(self, hidden, embed, head)",
        ),
        ("@register_curriculum('x')\nclass A: pass", "curriculum 'x' must be a dataclass of its options"),
        ("@register_curriculum('x')\n@dataclass\nclass A: pass", "A has no num_stages"),
        (
            "@register_curriculum('x')\n@dataclass\nclass A:\n    num_stages = 1\n    def plan(self, a, b, c=0): ...",
            "A has no plans(row)",
        ),
        ("@register_rollout('x')\nclass A: pass", "must be a class derived from latent_trainer.rollout.contract.Rollout"),
        ("from latent_trainer.rollout.contract import Rollout\n@register_rollout('x')\nclass A(Rollout): pass", "no fill("),
        ("@register_dataset('x')\ndef load(split, path=None): ...", "must be a function load(split, path=None, seed=0"),
        ("register_template('x', {'question': 'q'})", "must be a Template, or a function that returns one"),
        ("register_method('x', {'objective': 'answer'})", "must be Method(citation, defaults)"),
        ("register_probe('x', 3)", "must be Probe(measure, figures), or the function measure(subject)"),
        ("@register_control('all')\ndef f(latents, problems, seed): ...", "control 'all' has another meaning in evaluate"),
        ("@register_control('x')\ndef f(latents): ...", "must be a function (latents, problems, seed) -> latents"),
        ("register_feedback('hidden', 1)", "feedback 'hidden' is taken by the library itself"),
        ("x = (1\n", "SyntaxError"),
        ("def f():\n    return 1 / 0\nf()", "ZeroDivisionError: division by zero"),
        ("import nowhere_at_all", "No module named 'nowhere_at_all'"),
        ("from latent_trainer import register_nothing", "cannot import name 'register_nothing'"),
        ("raise SystemError('line\\nbreak')", "SystemError: line break"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        (
            "register_method('x', Method('y', {'objective': {'name': 'answer'}}))",
            "method 'x' sets objective={'name': 'answer'}; set objective to the name and objective_options to the rest",
        ),
        (
            "@register_objective('x')\nclass A(AnswerObjective):\n    def sums(self, step): ...",
            "A has sums(step), which is asked only with sums_needs",
        ),
    ],
    ids=lambda value: "" if isinstance(value, tuple) else value[:40],
)
def test_a_file_that_fails(door, source, says):
    """One line with file, line and reason; what it had registered before is gone."""
    head = (
        "from dataclasses import dataclass\nfrom torch import nn\nfrom latent_trainer import *\n"
        "from latent_trainer.methods.objectives.answer import AnswerObjective\n"
        "from latent_trainer.methods.objectives.contract import Objective\n"
        "from latent_trainer.methods.presets import Method\n"
        "register_objective('answer', type('Other', (AnswerObjective,), {}), replace=True)\n"
        "register_template('before', lambda: __import__('latent_trainer.data').data.Template())\n"
    )
    path = door("wrong.py", "")
    path.write_text(head + source)
    said = line(lambda: load_plugin(path))
    assert said.startswith(f"plug-in file {path} cannot be loaded: wrong.py, line ") and says in said
    at = int(said.partition("wrong.py, line ")[2].partition(":")[0])
    assert 9 <= at <= 8 + source.count("\n") + 1
    assert "before" not in REGISTRIES["template"] and "wrong" not in sys.modules
    assert OBJECTIVES["answer"] is AnswerObjective and OBJECTIVES.origin("answer") is None


def test_names_of_files(door, tmp_path):
    first = door("one/mine_too.py", "X = 1")
    load_plugin(first)
    load_plugin(str(first))  # a second time does nothing
    assert plugins.loaded_files()[-1] == str(first) and sys.modules["mine_too"].X == 1
    assert "has the name of another module" in line(lambda: load_plugin(door("two/mine_too.py", "")))
    assert "has the name of another module" in line(lambda: load_plugin(door("json.py", "")))
    assert "must be named like a module" in line(lambda: load_plugin(door("my-method.py", "")))
    assert "there is no plug-in file" in line(lambda: load_plugin(tmp_path / "none.py"))
    assert "there is no plug-in file" in line(lambda: load_plugin("a b"))
    assert "there is no module no_such_module" in line(lambda: load_plugin("no_such_module.here"))


# ---- commands ----


def as_yaml(settings: dict) -> str:
    return "".join(f"{name}: {json.dumps(value)}\n" for name, value in settings.items())


def run(command: str, capsys, *words, status: int = 0, **settings) -> str:
    """Run a command in this process and return what it printed; on the error stream where it fails."""
    words = [str(word) for word in words]
    for name, value in settings.items():
        words.append(f"--{name}={json.dumps(value) if isinstance(value, dict) else value}")
    if status:
        with pytest.raises(SystemExit) as stop:
            main(command, words)
        assert stop.value.code == status
        return capsys.readouterr().err
    main(command, words)
    return capsys.readouterr().out


def test_train_evaluate_probe_and_generate(door, tmp_path, capsys):
    plugin, out = door("everything.py", EVERYTHING), tmp_path / "out"
    run("train", capsys, "--plugin", plugin, output_dir=out, **RECIPE)
    training, data = (json.loads((out / f"{kind}_arguments.json").read_text()) for kind in ("training", "data"))
    file = {"module": "everything", "file": "everything.py"}
    assert training["plugins"] == {
        "method": {"name": "mine", **file},
        "objective": {"name": "double", **file},
        "feedback": {"name": "mine", **file},
        "curriculum": {"name": "two", **file},
        "template": {"name": "arrow", **file},
    }
    assert data["plugins"] == {"dataset": {"name": "sums", **file}}
    assert json.loads((out / "config.json").read_text())["plugins"] == {"feedback": {"name": "mine", **file}}
    said = run("evaluate", capsys, "--plugin", plugin, "--controls", "half", "zero", model=out, dataset="sums")
    assert "half" in said and "accuracy" in said
    said = run("probe", capsys, "--plugin", plugin, "--probes", "count", model=out, dataset="sums", out=tmp_path / "probed")
    assert "count: numbers in the record" in said
    assert json.loads((tmp_path / "probed.json").read_text())["probes"] == {"count": {"problems": 12}}
    run("data", capsys, "export", "--plugin", plugin, "--dataset", "sums", "--output", tmp_path / "sums.jsonl")
    assert len((tmp_path / "sums.jsonl").read_text().splitlines()) == 12
    assert run("generate", capsys, "--plugin", plugin, "--question", "4 + 1", model=out)


def test_a_model_without_its_plugin(door, tmp_path, capsys):
    """What defines its feedback is named; the rest of what it was trained with is not needed."""
    out = tmp_path / "out"
    run("train", capsys, "--plugin", door("everything.py", EVERYTHING), output_dir=out, **RECIPE)
    for kind, one in REGISTRIES.items():
        for name in [name for name in one if one.origin(name)]:
            REGISTRIES[kind].forget(name)
    plugins._loaded.clear()
    said = run("generate", capsys, "--question", "4 + 1", status=2, model=out)
    assert said == (
        "latent-trainer: feedback=mine is code of plug-in everything.py (module everything), which is not loaded; give "
        "--plugin everything.py, or call load_plugin('everything.py')\n"
    )
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps({**config, "feedback": "hidden"}))
    assert run("generate", capsys, "--question", "4 + 1", model=out)


def test_plugins_in_a_recipe(door, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    door("everything.py", EVERYTHING)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "plugins: [everything.py]\n" + "".join(f"{name}: {json.dumps(value)}\n" for name, value in RECIPE.items())
    )
    run("train", capsys, "--config", recipe, "--output_dir", tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").is_file()
    for wrong, says in (
        ("plugin: everything.py\n", "write plugins: [everything.py]"),
        ("plugins: {a: 1}\n", "expected a list of Python files"),
    ):
        recipe.write_text(wrong)
        assert says in run("train", capsys, "--config", recipe, status=2)
    assert "there is no plug-in file nope.py" in run("train", capsys, "--plugin", "nope.py", status=2)


def test_help_names_what_was_loaded(door, capsys):
    with pytest.raises(SystemExit):
        main("train", ["--plugin", str(door("everything.py", EVERYTHING)), "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "--plugin PLUGIN" in text and "From plug-ins: double." in text and "From plug-ins: sums." in text


def test_a_sweep_hands_plugins_on(door, tmp_path, capsys):
    """Its jobs are processes of their own."""
    plugin = door("everything.py", EVERYTHING)
    recipe, sweep = tmp_path / "recipe.yaml", tmp_path / "sweep.yaml"
    recipe.write_text(as_yaml(RECIPE))
    settings = {"base": str(recipe), "output_dir": str(tmp_path / "sweep"), "metric": "eval_loss", "goal": "minimize"}
    sweep.write_text(as_yaml({**settings, "axes": {"learning_rate": [0.001]}}))
    out = run("sweep", capsys, sweep, "--plugin", plugin)
    assert "1 done" in out or "eval_loss" in out
    (result,) = (tmp_path / "sweep").rglob("outcome.json")
    assert json.loads(result.read_text())["state"] == "complete"
