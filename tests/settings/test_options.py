"""Every option states its type and range where it is declared, and is held to them wherever it is given."""

import inspect
import math
from dataclasses import MISSING, dataclass, field, fields
from typing import Annotated, Literal, get_args, get_type_hints

import pytest
from conftest import make_latent
from transformers import TrainingArguments

from latent_trainer import LatentTrainingArguments, load_problems
from latent_trainer.cli import compare, data, demo, evaluate, generate, probe, push, sweep
from latent_trainer.cli.arguments import DataArguments, ModelArguments
from latent_trainer.data import DATASETS
from latent_trainer.errors import InputError
from latent_trainer.methods.feedback import FEEDBACKS
from latent_trainer.methods.objectives import OBJECTIVES, build_objective
from latent_trainer.options import Bounds, admits, check_fields, check_options, checked, conform
from latent_trainer.rollout import ROLLOUTS
from latent_trainer.training.training_args import STOCK_BOUNDS

COMMANDS = [
    *(ModelArguments, DataArguments, LatentTrainingArguments, compare.CompareArguments, data.ExportArguments),
    *(data.ValidateArguments, demo.DemoArguments, evaluate.EvaluateArguments, generate.GenerateArguments),
    *(probe.ProbeArguments, push.PushArguments, sweep.SweepArguments),
]
PLUGINS = {
    **{f"objective {name}": (kind.Options, ()) for name, kind in OBJECTIVES.items()},
    **{f"feedback {name}": (call, ("hidden_size",)) for name, call in FEEDBACKS.items()},
    **{f"rollout {name}": (call.Options, ()) for name, call in ROLLOUTS.items()},
    **{f"dataset {name}": (call, ("split", "path", "seed")) for name, call in DATASETS.items()},
}


def refusal(call) -> str:
    """Return the one line a call is refused with."""
    with pytest.raises(InputError) as caught:
        call()
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def arguments(**changes) -> LatentTrainingArguments:
    """Return training arguments that write nowhere."""
    return LatentTrainingArguments("nowhere", **{"use_cpu": True, "report_to": "none", **changes})


# ---- what is declared ----


def bounds_of(hint) -> Bounds | None:
    """Return the first range in an annotation, however deep."""
    return next((note for note in getattr(hint, "__metadata__", ()) if isinstance(note, Bounds)), None) or next(
        filter(None, map(bounds_of, get_args(hint))), None
    )


def takes_whole_numbers(hint) -> bool:
    """Return whether an annotation admits whole numbers, alone or in a list."""
    return admits(hint, int) or any(takes_whole_numbers(part) for part in get_args(hint))


def test_every_whole_number_of_every_command_has_a_lower_bound():
    found = 0
    for cls in COMMANDS:
        hints = get_type_hints(cls, include_extras=True)
        for one in fields(cls):
            if one.name == "backprop" or not takes_whole_numbers(hints[one.name]):  # "full", or a number >= 0: check_rollout
                continue
            found += 1
            range_ = bounds_of(hints[one.name]) or STOCK_BOUNDS.get(one.name)
            assert range_ is not None and range_.least is not None, f"{cls.__name__}.{one.name} has no lower bound"
    assert found > 40


def test_every_number_of_the_stock_arguments_has_a_range():
    hints = get_type_hints(TrainingArguments)
    numbers = {
        one.name for one in fields(TrainingArguments) if admits(hints[one.name], int) or admits(hints[one.name], float)
    }
    assert numbers == set(STOCK_BOUNDS)


@pytest.mark.parametrize("name", PLUGINS)
def test_every_option_of_every_plugin_has_a_type(name):
    """A wrong type for each, by name; its own default is always taken."""
    call, taken = PLUGINS[name]
    for option, parameter in inspect.signature(call, eval_str=True).parameters.items():
        if option in taken:
            continue
        default = {} if parameter.default is parameter.empty else {option: parameter.default}
        assert check_options(name, call, default, taken) == default
        assert f"x_options.{option}=" in refusal(
            lambda option=option: check_options(name, call, {option: 1j}, taken, "x_options")
        )
    assert "has no option 'flavour'" in refusal(lambda: check_options(name, call, {"flavour": 1}, taken))


def test_every_boolean_of_every_plugin_takes_words():
    found = 0
    for name, (call, taken) in PLUGINS.items():
        for option, parameter in inspect.signature(call, eval_str=True).parameters.items():
            if option not in taken and parameter.annotation is bool:
                found += 1
                for word, value in {"no": False, "off": False, "yes": True, "True": True}.items():
                    assert check_options(name, call, {option: word}, taken) == {option: value}
                for wrong in ("perhaps", 1, 0.0, None, []):
                    refusal(lambda o=option, w=wrong, c=call, t=taken: check_options("x", c, {o: w}, t))
    assert found >= 4


# ---- the mechanism ----


@pytest.mark.parametrize(
    ("value", "hint", "right"),
    [
        (3, int, 3),
        (3, float, 3),
        (3, int | None, 3),
        (None, int | None, None),
        ("off", bool, False),
        ("off", str, "off"),
        ("off", str | None, "off"),
        ("a", list[str], ["a"]),
        (("a", "b"), list[str], ["a", "b"]),
        (["a"], tuple[str, ...], ("a",)),
        (5, list[int] | None, [5]),
        ({"a": 1}, dict | str | None, {"a": 1}),
        ("l2", Literal["l1", "l2"], "l2"),
        (2.5, Annotated[float, Bounds(above=0)] | Literal["auto"] | None, 2.5),
        ("auto", Annotated[float, Bounds(above=0)] | Literal["auto"] | None, "auto"),
        (1j, complex | None, 1j),  # a type that is not known here is not checked
    ],
)
def test_what_is_taken(value, hint, right):
    found = conform("x", value, hint)
    assert found == right and type(found) is type(right)


@pytest.mark.parametrize(
    ("value", "hint", "says"),
    [
        (True, int, "x=True: expected a whole number"),
        (True, float, "x=True: expected a number"),
        (3.0, int, "x=3.0: expected a whole number"),
        ("3", int, "x='3': expected a whole number"),
        (1, bool, "x=1: expected true or false"),
        ("maybe", bool, "x='maybe': expected true or false"),
        ("yes", bool | str, "x='yes' may be a text or a truth value"),
        (5, str, "x=5: expected a text"),
        (None, int, "x=None: expected a whole number"),
        ("None", str | None, "x='None' is a text; leave the option out"),
        ("null", int | None, "x='null' is a text; leave the option out"),
        (math.nan, float, "x=nan must be finite"),
        (-math.inf, float | None, "x=-inf must be finite"),
        ([1, "a"], list[int], "x=[1, 'a'], entry 2='a': expected a whole number"),
        ({"a": 1}, list[int], "x={'a': 1}: expected a list"),
        ([1], int, "x=[1]: expected a whole number"),
        ("l3", Literal["l1", "l2"], "x='l3' is not one of l1, l2"),
        (3, Literal["l1", "l2"], "x=3: expected 'l1' or 'l2'"),
        ("a\nb", Literal["l1", "l2"], "x='a\\nb' is not one of"),
        ("automatic", float | Literal["auto"], "x='automatic': expected a number or 'auto'"),
        (0, Annotated[float, Bounds(above=0)], "x=0 must be above 0"),
        (2, Annotated[float, Bounds(least=0, most=1)], "x=2 must lie between 0 and 1"),
        (1, Annotated[float, Bounds(least=0, below=1)], "x=1 must be at least 0 and below 1"),
        (9, Annotated[int, Bounds(most=8)] | None, "x=9 must be at most 8"),
        (["a" * 200], str, "...: expected a text"),
    ],
)
def test_what_is_refused(value, hint, says):
    assert says in refusal(lambda: conform("x", value, hint))


def test_fields_and_constructors():
    @dataclass
    class Fields:
        size: Annotated[int, Bounds(least=1)] = 0  # a default says what it likes
        names: list[str] = field(default_factory=list)
        wide: bool = False

    one = Fields(names="a", wide="on")
    check_fields(one)
    assert one == Fields(0, ["a"], True) and fields(Fields)[0].default is not MISSING
    assert "size=-1 must be at least 1" in refusal(lambda: check_fields(Fields(-1)))
    assert "size=1 must be at least 5" in refusal(lambda: check_fields(Fields(1), {"size": Bounds(least=5)}))

    class Built:
        @checked
        def __init__(self, size: int, *, wide: bool = False):
            self.given = size, wide

    assert Built(3, wide="yes").given == (3, True)
    assert "size=True" in refusal(lambda: Built(size=True))


# ---- where options are given ----

GIVEN = {
    "objective": (
        {"method": "codi", "objective_options": {"factor": "two"}},
        "objective_options.factor='two': expected a number",
    ),
    "objective's word": (
        {"method": "codi", "objective_options": {"normalise": "maybe"}},
        "objective_options.normalise='maybe'",
    ),
    "objective's range": (
        {"method": "codi", "objective_options": {"factor": -1}},
        "objective_options.factor=-1 must be at least 0",
    ),
    "objective's name": (
        {"objective_options": {"factor": 1}},
        "objective_options: objective 'answer' has no option 'factor'",
    ),
    "objective's JSON": ({"method": "codi", "objective_options": '{"factor": "two"}'}, "objective_options.factor='two'"),
    "feedback": ({"feedback_options": {"norm": "no"}}, "feedback_options.norm='no': expected a number or 'embedding'"),
    "feedback's range": ({"method": "codi", "feedback_options": {"dropout": 2}}, "feedback_options.dropout=2"),
    "feedback's count": ({"method": "codi", "feedback_options": {"size": 0}}, "feedback_options.size=0 must be at least 1"),
    "rollout": ({"method": "pccot", "rollout_options": {"iterations": 2.5}}, "rollout_options.iterations=2.5"),
    "rollout's range": ({"method": "pccot", "rollout_options": {"tolerance": -1}}, "rollout_options.tolerance=-1"),
    "mapping": ({"objective_options": [1]}, "objective_options=[1]: expected a mapping"),
    "learning rate": ({"learning_rate": math.nan}, "learning_rate=nan must be finite"),
    "learning rate's sign": ({"learning_rate": -1.0}, "learning_rate=-1.0 must be at least 0"),
    "seed": ({"seed": 2**32}, "seed=4294967296 must lie between 0 and 4294967295"),
    "seed's sign": ({"data_seed": -1}, "data_seed=-1 must lie between"),
    "boolean for a number": ({"max_steps": True}, "max_steps=True: expected a whole number"),
    "number for a boolean": ({"bf16": 1}, "bf16=1: expected true or false"),
    "no steps": ({"max_steps": 0}, "max_steps=0 would train num_train_epochs"),
    "batch": ({"per_device_train_batch_size": 0}, "per_device_train_batch_size=0 must be at least 1"),
    "checkpoints": ({"save_total_limit": 0}, "save_total_limit=0 must be at least 1"),
    "share": ({"uniform_prob": math.nan}, "uniform_prob=nan must be finite"),
    "text for a number": ({"num_latents": "3"}, "num_latents='3': expected a whole number"),
    "stages": ({"steps_per_stage": [3, True]}, "steps_per_stage=[3, True], entry 2=True"),
    "no stages": ({"steps_per_stage": []}, "steps_per_stage=[]"),
    "backprop": ({"backprop": True}, "backprop=True: expected a whole number or a text"),
}


@pytest.mark.parametrize("case", GIVEN)
def test_training_arguments(case):
    changes, says = GIVEN[case]
    assert says in refusal(lambda: arguments(**changes))


def test_words_in_training_arguments():
    args = arguments(
        method="codi", objective_options={"drop_last_step": "no"}, bf16="off", generate_in_eval="on", backprop="2"
    )
    assert args.objective_options == {"drop_last_step": False}
    assert (args.bf16, args.generate_in_eval, args.backprop) == (False, True, 2)


def test_models_and_data_sets():
    assert "feedback_options.temperature='hot'" in refusal(
        lambda: make_latent(feedback="soft", feedback_options={"temperature": "hot"})
    )
    assert "feedback_options.top_k=0 must be at least 1" in refusal(lambda: make_latent().configure("soft", {"top_k": 0}))
    assert "rollout_options.iterations='3'" in refusal(
        lambda: make_latent().configure("hidden", None, "jacobi", "full", {"iterations": "3"})
    )
    assert make_latent(feedback="projection", feedback_options={"layer_norm": "no"}).config.feedback_options == {
        "layer_norm": False
    }
    assert "temperature=0 must be above 0" in refusal(lambda: FEEDBACKS["soft"](8, temperature=0))
    assert "factor=-1 must be at least 0" in refusal(lambda: build_objective("self_distillation", {"factor": -1}))
    assert "dataset_options.size='5'" in refusal(lambda: load_problems("arithmetic", size="5"))
    assert "dataset_options.operations=True" in refusal(lambda: load_problems("arithmetic", operations=True))
    assert "operations=-1 must lie between 1 and 1000" in refusal(lambda: load_problems("arithmetic", operations=-1))
    assert "operations=100000 must lie between" in refusal(lambda: load_problems("arithmetic", operations=100_000))
    for name in ("arithmetic", "combinatorics", "convex"):
        assert "size=-1 must be at least 1" in refusal(lambda name=name: load_problems(name, size=-1))
    assert len(load_problems("combinatorics", size=3, families="drawers")) == 3


MODELS = {
    "rank": ({"use_peft": True, "lora_r": 0}, "lora_r=0 must be at least 1"),
    "dropout": ({"use_peft": True, "lora_dropout": 2}, "lora_dropout=2 must be at least 0 and below 1"),
    "nothing to adapt": ({"lora_r": 8}, "lora_r=8 has no effect without use_peft"),
    "modules of nothing": ({"lora_target_modules": ["c_attn"]}, "has no effect without use_peft"),
    "vocabulary": ({"model_config": {}, "tokenizer_vocab_size": -5}, "tokenizer_vocab_size=-5 must be at least 257"),
    "vocabulary of a base": ({"model_name_or_path": "a", "tokenizer_vocab_size": 300}, "has no effect without model_config"),
    "tokenizer of nothing": ({"model_config": {"a": 1}, "tokenizer_name": "a"}, "has no effect without model_name_or_path"),
    "number type": ({"dtype": "float8"}, "dtype='float8' is not one of float32"),
    "two kinds of modules": ({"use_peft": True, "lora_target_modules": ["q_proj", "all-linear"]}, "must be the only entry"),
    "expression": ({"use_peft": True, "lora_target_modules": ["("]}, "not a regular expression"),
}


@pytest.mark.parametrize("case", MODELS)
def test_model_arguments(case):
    changes, says = MODELS[case]
    assert says in refusal(lambda: ModelArguments(**changes))


def test_target_modules():
    """PEFT reads one text as a word of its own or an expression of whole names, and a list as names."""
    for given, read in (
        (["all-linear"], "all-linear"),
        ([r".*\.(c_attn|c_proj)"], r".*\.(c_attn|c_proj)"),
        (["c_attn"], ["c_attn"]),
        ("c_attn", ["c_attn"]),
        (["c_attn", "mlp.c_fc"], ["c_attn", "mlp.c_fc"]),
        (None, None),
    ):
        assert ModelArguments(use_peft=True, lora_target_modules=given).target_modules == read


@pytest.mark.parametrize("name", ["max_train_problems", "max_eval_problems"])
def test_counts_of_problems(name):
    for value in (-1, 0):
        assert f"{name}={value} must be at least 1" in refusal(lambda value=value: DataArguments(**{name: value}))


OTHERS = {
    "most": (lambda: probe.ProbeArguments("m", "o", most=1), "most=1 must be at least 2"),
    "batch": (lambda: probe.ProbeArguments("m", "o", batch_size=0), "batch_size=0"),
    "latents": (lambda: probe.ProbeArguments("m", "o", num_latents=-1), "num_latents=-1"),
    "mass": (lambda: evaluate.EvaluateArguments("m", temperature=1.0, top_p=0.0), "top_p=0.0 must be above 0 and at most 1"),
    "heat": (lambda: evaluate.EvaluateArguments("m", temperature=-1.0), "temperature=-1.0 must be above 0"),
    "seed": (lambda: evaluate.EvaluateArguments("m", seed=-1), "seed=-1"),
    "tokens": (lambda: generate.GenerateArguments("m", max_new_tokens=0), "max_new_tokens=0"),
    "patience": (lambda: generate.GenerateArguments("m", entropy_threshold=1.0, patience=0), "patience=0"),
    "threshold": (lambda: generate.GenerateArguments("m", entropy_threshold=math.nan), "entropy_threshold=nan"),
    "steps": (lambda: demo.DemoArguments(max_steps=0), "max_steps=0 must be at least 1"),
    "cores": (lambda: sweep.SweepArguments("b", "o", axes={"seed": [1]}, cores=0), "cores=0"),
    "memory": (lambda: sweep.SweepArguments("b", "o", axes={"seed": [1]}, memory_gb=-1.0), "memory_gb=-1.0"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_commands(case):
    call, says = OTHERS[case]
    assert says in refusal(call)
