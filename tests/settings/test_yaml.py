"""Recipes are read as they are written: every value means what it says, or is refused in one line that names its place."""

import re
import time
from pathlib import Path

import pytest

from latent_trainer.cli.arguments import DataArguments, ModelArguments, as_words, parse
from latent_trainer.cli.config_file import Word, read_config
from latent_trainer.cli.sweep import SweepArguments
from latent_trainer.errors import InputError
from latent_trainer.training.training_args import LatentTrainingArguments

BASE = "output_dir: nowhere\nuse_cpu: true\nreport_to: none\n"


@pytest.fixture
def file(tmp_path):
    """Return a function that writes a YAML file and returns its path."""

    def write(text: str | bytes) -> str:
        path = tmp_path / "recipe.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


@pytest.fixture
def train(file):
    """Return a function that reads a recipe and words of the command line as ``train`` does."""

    def read(text: str, *words: str):
        argv = ["--config", file(BASE + text), *words]
        model, data, args = parse("train", (ModelArguments, DataArguments, LatentTrainingArguments), argv)
        return {**vars(model), **vars(data), **vars(args)}

    return read


def refusal(call, *args) -> str:
    """Return the one line a call is refused with, quickly."""
    began = time.perf_counter()
    with pytest.raises(InputError) as caught:
        call(*args)
    assert time.perf_counter() - began < 5
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


# ---- values, whose type the option decides ----


def test_words_of_a_boolean(train):
    for word in ("yes", "Yes", "on", "ON", "true", "True", "y", "1", "no", "No", "off", "OFF", "false", "False", "n", "0"):
        assert train(f"save_only_model: {word}\n")["save_only_model"] is (word.lower() in ("yes", "on", "true", "y", "1"))
    settings = train("save_only_model: 'on'\n", "--use_peft", "off", "--prediction_loss_only")
    assert (settings["save_only_model"], settings["use_peft"], settings["prediction_loss_only"]) == (True, False, True)


@pytest.mark.parametrize("word", ["yes", "no", "on", "off", "true", "false", "'no'"])
def test_words_of_a_boolean_inside_a_mapping(train, word):
    options = train(f"method: codi\nobjective_options:\n  drop_last_step: {word}\n  factor: 2\n")["objective_options"]
    assert options == {"drop_last_step": word in ("yes", "on", "true"), "factor": 2}


def test_words_of_a_text(train):
    settings = train("save_strategy: no\nrun_name: on\ndataset: textbook\ndataset_options: {types: [no, 1.0e]}\n")
    assert (settings["save_strategy"], settings["run_name"]) == ("no", "on")
    assert settings["dataset_options"] == {"types": ["no", "1.0e"]}


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("seed: 010", "seed", 10),
        ("seed: 1_000", "seed", 1000),
        ("seed: +5", "seed", 5),
        ("learning_rate: 1e-4", "learning_rate", 1e-4),
        ("learning_rate: 1E-4", "learning_rate", 1e-4),
        ("learning_rate: .5", "learning_rate", 0.5),
        ("learning_rate: 5.", "learning_rate", 5.0),
        ("run_name: 1.10", "run_name", "1.10"),
        ("run_name: 010", "run_name", "010"),
        ("run_name: 0x10", "run_name", "0x10"),
        ("run_name: 1:30", "run_name", "1:30"),
        ("run_name: 2024-01-02", "run_name", "2024-01-02"),
        ("run_name: true", "run_name", "true"),
        ("run_name: null", "run_name", None),
        ("run_name: ~", "run_name", None),
        ("run_name:", "run_name", None),
        ("steps_per_stage: 3\nmethod: icot", "steps_per_stage", [3]),
        ("steps_per_stage: [3, 010]\nmethod: icot", "steps_per_stage", [3, 10]),
        ("use_peft: on\nlora_target_modules: c_attn", "lora_target_modules", ["c_attn"]),
        ("method: codi\nobjective_options: {factor: 1e-4}", "objective_options", {"drop_last_step": True, "factor": 1e-4}),
        ("method: codi\nobjective_options: {factor: .5}", "objective_options", {"drop_last_step": True, "factor": 0.5}),
        ("method: codi\nfeedback_options: {size: null}", "feedback_options", {"size": None}),
        ("dataset_options: {families: walks}\ndataset: combinatorics", "dataset_options", {"families": "walks"}),
    ],
)
def test_values(train, text, name, value):
    found = train(f"{text}\n")[name]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("seed: 1:30", ["--seed", "'1:30'"]),
        ("seed: 0x10", ["--seed", "'0x10'"]),
        ("seed: 0o10", ["--seed", "'0o10'"]),
        ("seed: true", ["--seed", "'true'"]),
        ("seed: 1.0", ["--seed", "'1.0'"]),
        ("seed: None", ["--seed", "'None'"]),
        ("seed: 2024-01-02", ["--seed", "'2024-01-02'"]),
        ("run_name: None", ["run_name='None'", "null"]),
        ("learning_rate: .inf", ["--learning_rate", "finite", "'.inf'"]),
        ("learning_rate: .nan", ["--learning_rate", "finite", "'.nan'"]),
        ("learning_rate: 1:30", ["--learning_rate", "'1:30'"]),
        ("save_only_model: maybe", ["--save_only_model", "true or false", "'maybe'"]),
        ("seed: [1]", ["seed=['1']", "one value", "list"]),
        ("run_name: [a, b]", ["run_name=['a', 'b']", "one value", "list"]),
        ("run_name: {a: b}", ["run_name={'a': 'b'}", "one value", "mapping"]),
        ("steps_per_stage: {a: 1}", ["steps_per_stage={'a': 1}", "mapping"]),
        ("steps_per_stage: [[1]]", ["recipe.yaml:4: steps_per_stage", "entry"]),
        ("steps_per_stage: [1, null]", ["recipe.yaml:4: steps_per_stage", "entry"]),
        ("steps_per_stage: [3, 1:30]", ["--steps_per_stage", "'1:30'"]),
        ("objective_options: no", ["objective_options=no", "JSON"]),
        ("objective_options: [a]", ["objective_options=['a']", "list"]),
        ("method: codi\nobjective_options: {factor: 010}", ["objective_options.factor='010'", "a number"]),
        ("method: codi\nobjective_options: {factor: 1:30}", ["objective_options.factor='1:30'", "a number"]),
        ("method: codi\nobjective_options: {factor: 0x10}", ["objective_options.factor='0x10'", "a number"]),
        ("method: codi\nobjective_options: {factor: .nan}", ["objective_options.factor='.nan'", "a number"]),
        ("method: codi\nobjective_options: {factor: 2024-01-02}", ["objective_options.factor='2024-01-02'", "a number"]),
        ("method: codi\nobjective_options: {factor: yes}", ["objective_options.factor='yes'", "a number"]),
        ("model_config: {model_type: llama, attention_bias: no}", ["'no' in model_config", "true or false"]),
        ("model_config: {a: {b: [x, 010]}}", ["'010' in model_config", "decimal number"]),
        ("activation_checkpointing_kwargs: {use_reentrant: off}", ["'off' in activation_checkpointing_kwargs"]),
        ("1: x", ["unknown key '1'"]),
        ("true: x", ["unknown key 'true'"]),
        ("learning-rate: 1", ["unknown key 'learning-rate'", "did you mean 'learning_rate'?"]),
    ],
)
def test_refused_values(train, text, says):
    line = refusal(train, f"{text}\n")
    for part in says:
        assert part in line


# ---- the file ----


def blow_up(depth: int) -> str:
    """Return a list of ten and, ``depth`` times, a list of ten aliases of the one before: 10 ** depth values."""
    lines = [f"  - &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, depth)]
    return "\n".join(["axes:", f"  - &a0 [{', '.join('0123456789')}]", *lines])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("seed: 1\nseed: 2", ["recipe.yaml:2: key 'seed' appears twice"]),
        ("seed: 1\n'seed': 2", ["recipe.yaml:2: key 'seed' appears twice"]),
        ("model_config:\n  n_layer: 1\n  n_layer: 2", ["recipe.yaml:3: key 'n_layer' appears twice"]),
        ("points: {a: {x: {b: 1, b: 1}}}", ["recipe.yaml:1: key 'b' appears twice"]),
        (blow_up(6), ["recipe.yaml", "once aliases are written out"]),
        ("a: &a [*a]", ["recipe.yaml:1", "aliases that refer to themselves"]),
        ("a:\n- &b0 1\n" + "".join(f"- &b{n + 1} [*b{n}]\n" for n in range(200)), ["aliases are written out"]),
        ("a: " + "[" * 5000 + "]" * 5000, ["recipe.yaml:1", "deep"]),
        ("a: " + "{a: " * 5000, ["recipe.yaml:1", "deep"]),
        ("\n".join(" " * level + "a:" for level in range(3000)), ["deep"]),
        ("a: [" + "1, " * 20000 + "1]", ["more than 10000 values"]),
        ("a: *b", ["recipe.yaml:1: malformed YAML", "undefined alias"]),
        ("a:\n\tb: 1", ["recipe.yaml:2: malformed YAML", "'\\t'"]),
        ("a: 1\n---\nb: 2", ["recipe.yaml:2", "second document"]),
        ("a: 1\n--- !!map {}", ["recipe.yaml:2", "second document"]),
        ("a: !!python/object:os.system ls", ["recipe.yaml:1", "the tag !!python/object:os.system"]),
        ("a: !!python/object/apply:os.system [ls]", ["recipe.yaml:1", "the tag !!python"]),
        ("a: {b: !mine 1}", ["recipe.yaml:1", "the tag !mine"]),
        ("a: !!int 010", ["the tag !!int"]),
        ("", ["is empty"]),
        ("# nothing yet\n", ["is empty"]),
        ("- a", ["found a list"]),
        ("hello", ["found a text"]),
        ("null: x", ["recipe.yaml:1", "a key must be a text"]),
        ("~: x", ["a key must be a text"]),
        ("[a]: x", ["a key must be a text"]),
        ("a: {<<: 3}", ["<< merges mappings"]),
        ("a: \x07", ["malformed YAML", "special characters"]),
        ("seed: 1\n".encode("utf-16"), ["written in UTF-16", "save it as UTF-8"]),
        ("seed: 1\n".encode("utf-16-be"), ["UTF-16", "save it as UTF-8"]),
        ("seed: 1\n".encode("utf-32"), ["written in UTF-32", "save it as UTF-8"]),
        ("a: 1\nrun_name: café\n".encode("latin-1"), ["recipe.yaml:2: not UTF-8", "latin-1"]),
    ],
)
def test_refused_files(file, text, says):
    line = refusal(read_config, file(text))
    for part in says:
        assert part in line


def test_what_a_file_may_have(file):
    """A byte order mark, Windows line ends, a document mark, anchors, merged mappings, quoted and block texts."""
    assert read_config(file("\ufeffrun_name: café\r\nseed: 1\r\n")) == {"run_name": "café", "seed": "1"}
    assert read_config(file("---\nseed: 1\n...\n")) == {"seed": "1"}
    assert read_config(file("a: &x 5\nb: *x\nc: |\n  text\n")) == {"a": "5", "b": "5", "c": "text\n"}
    merged = "p: {a: &a {x: 1, y: 2}, b: {<<: *a, y: 3}, c: {<<: [{y: 4}, *a], z: 5}}"
    assert read_config(file(merged))["p"] == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 1, "y": 4, "z": 5}}
    values = read_config(file("m: {a: no, b: 'no', c: 1, d: 1.5, e: true, f: ~, 1: x, g: +7, h: -0, i: 1e3}"))["m"]
    assert values == {"a": "no", "b": "no", "c": 1, "d": 1.5, "e": True, "f": None, "1": "x", "g": 7, "h": 0, "i": 1000.0}
    assert type(values["a"]) is Word and type(values["b"]) is str


# ---- the command line ----


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--objective_options", '{"factor": 1, "factor": 2}'], ["objective_options", "'factor' appears twice"]),
        (["--objective_options", '{"factor": NaN}'], ["objective_options", "NaN"]),
        (["--objective_options", '{"factor": -Infinity}'], ["objective_options", "-Infinity"]),
        (["--objective_options", '{"factor": 1e999}'], ["objective_options.factor=inf", "finite"]),
        (["--objective_options", '{"drop_last_step": "perhaps"}'], ["objective_options.drop_last_step='perhaps'"]),
        (["--objective_options", '{"a":' * 100_000], ["objective_options", "deep"]),
        (["--objective_options", '{"factor":' + "9" * 5000 + "}"], ["objective_options", "digits"]),
        (["--activation_checkpointing_kwargs", '{"a": 1, "a": 2}'], ["activation_checkpointing", "'a' appears twice"]),
        (["--config", "another.yaml"], ["--config is given 2 times"]),
        (["--config=another.yaml"], ["--config is given 2 times"]),
        (["--generate_in_eval", "true", "--no_generate_in_eval"], ["--generate_in_eval and --no_generate_in_eval"]),
        (["--generate-in-eval=true", "--no-generate-in-eval"], ["--generate_in_eval and --no_generate_in_eval"]),
        (["--seed", "2", "--seed=3"], ["--seed is given 2 times"]),
        (["--max-steps", "2", "--max_steps", "2"], ["--max_steps is given 2 times"]),
        (["--no_generate_in_eval", "--no-generate-in-eval"], ["--generate_in_eval is given 2 times"]),
        (["--dataset_path", "None"], ["dataset_path='None'", "leave the option out"]),
        (["--learning_rate", "inf"], ["--learning_rate", "finite"]),
    ],
)
def test_refused_words(train, words, says):
    line = refusal(train, "method: codi\n", *words)
    for part in says:
        assert part in line


def test_the_command_line_wins(train):
    settings = train("generate_in_eval: true\nseed: 1\n", "--no_generate_in_eval", "--seed=3")
    assert settings["generate_in_eval"] is False and settings["seed"] == 3
    settings = train("method: codi\n", "--objective_options", '{"drop_last_step": "no"}')
    assert settings["objective_options"] == {"drop_last_step": False}


# ---- sweeps, which hand options on ----


def test_a_sweep_hands_words_on_to_the_option(file):
    text = "base: b\noutput_dir: o\nsettings: {max_steps: 010, save_strategy: no}\naxes: {save_only_model: [yes, no]}\n"
    (args,) = parse("sweep", (SweepArguments,), ["--config", file(text)])
    assert args.settings == {"max_steps": "010", "save_strategy": "no"} and args.axes == {"save_only_model": ["yes", "no"]}
    words = [*as_words(args.settings), *as_words({"save_only_model": args.axes["save_only_model"][1]})]
    (found,) = parse("train", (LatentTrainingArguments,), ["--output_dir", "o", "--use_cpu", "true", *words])
    assert (found.max_steps, found.save_strategy, found.save_only_model) == (10, "no", False)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("search: {learning_rate: {low: 1e-5, high: 1e-2, log: perhaps}}", "search.learning_rate.log='perhaps'"),
        ("search: {learning_rate: {low: tiny, high: 1e-2}}", "search.learning_rate.low='tiny'"),
        ("search: {learning_rate: {low: 1e-5, high: 1e-2, lag: true}}", "did you mean 'log'?"),
        ("axes: {num_latents: 4}", "must be a list"),
        ("axes: {num_latents: [4]}\ntrials: 0", "trials=0 must be at least 1"),
        ("axes: {num_latents: [4]}\nseeds: [-1]", "entry 1=-1 must lie between 0"),
        ("axes: {num_latents: [4]}\nexecutor: slurm\nslurm: {exclusive: no}", "'no' in slurm"),
    ],
)
def test_refused_sweeps(file, text, says):
    assert says in refusal(parse, "sweep", (SweepArguments,), ["--config", file(f"base: b\noutput_dir: o\n{text}\n")])


def test_a_search_on_no_log_scale(file):
    text = "base: b\noutput_dir: o\nsearch: {learning_rate: {low: 1e-5, high: 1e-2, log: no}}\n"
    (args,) = parse("sweep", (SweepArguments,), ["--config", file(text)])
    assert args.space.search == {"learning_rate": {"low": 1e-5, "high": 1e-2, "log": False}}


# ---- what the documentation says ----

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "settings.md").read_text(encoding="utf-8")
READ = re.findall(r"^\| `(.+)` \| `(\w+)` = `(.+)` \|$", PAGE, re.MULTILINE)
NOT_READ = re.findall(r"^\| `(.+)` \| `([^`]+)` \|$", PAGE, re.MULTILINE)


def test_the_tables_are_found():
    assert len(READ) == 16 and len(NOT_READ) == 13


@pytest.mark.parametrize(("line", "name", "value"), READ)
def test_documented_values(train, line, name, value):
    found = train(f"method: codi\n{line}\n")[name]
    assert repr(getattr(found, "value", found)) == value


@pytest.mark.parametrize(("line", "says"), NOT_READ)
def test_documented_refusals(train, line, says):
    assert says in refusal(train, f"method: codi\n{line}\n")
