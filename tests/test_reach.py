"""Every stage of a run is trained: presets reach theirs, and a run that is too short for its own is refused."""

import json
import logging
import re
from pathlib import Path

import pytest
import transformers
import yaml
from conftest import make_base
from training import has_stages, history, make_tokenizer, make_trainer, quick, uneven_problems

from latent_trainer import LatentForCausalLM, LatentTrainer, LatentTrainingArguments
from latent_trainer.cli import main
from latent_trainer.cli.arguments import DataArguments, ModelArguments, parse
from latent_trainer.errors import InputError
from latent_trainer.methods.presets import METHODS
from latent_trainer.training.stages import refuse_unreachable

STAGED = [name for name in METHODS if has_stages(name)]
REACHED = {"icot": (4, 0), "lotus": (7, 6 * 13)}  # last stage and latents; as Coconut where nothing is said
RECIPES = Path(__file__).resolve().parents[1] / "recipes"
RUNS = sorted(path for path in RECIPES.rglob("*.yaml") if path.parent.name not in ("sweeps", "reinforce"))
# rows of a step and steps of an epoch: 20 problems make 3 steps of 8 rows, 2 of 16, 5 of 4
SHORT = {
    "epochs": ({"num_train_epochs": 3}, "num_train_epochs=3 with epochs_per_stage=3 ends in stage 0", "num_train_epochs=12"),
    "exactly": (
        {"epochs_per_stage": 1, "num_train_epochs": 3},
        "num_train_epochs=3 with epochs_per_stage=1 ends in stage 2",
        "num_train_epochs=4",
    ),
    "half an epoch": (
        {"steps_per_stage": [4, 2], "num_train_epochs": 2.5},
        "num_train_epochs=2.5 with steps_per_stage=[4, 2] (3 steps an epoch) ends in stage 2",
        "num_train_epochs=3",
    ),
    "steps": (
        {"steps_per_stage": [2], "max_steps": 6},
        "max_steps=6 with steps_per_stage=[2] ends in stage 2",
        "max_steps=7",
    ),
    "steps on top of epochs": (
        {"epochs_per_stage": 1, "num_train_epochs": 99, "max_steps": 9},
        "max_steps=9 with epochs_per_stage=1 (3 steps an epoch) ends in stage 2",
        "max_steps=10",
    ),
    "accumulation": (
        {"epochs_per_stage": 1, "max_steps": 6, "gradient_accumulation_steps": 2},
        "max_steps=6 with epochs_per_stage=1 (2 steps an epoch) ends in stage 2",
        "max_steps=7",
    ),
    "first stage": (
        {"first_stage": 2, "epochs_per_stage": 2, "num_train_epochs": 2},
        "num_train_epochs=2 with epochs_per_stage=2 ends in stage 2",
        "num_train_epochs=4",
    ),
    "icot": (
        {"method": "icot", "num_train_epochs": 3},
        "num_train_epochs=3 with epochs_per_stage=1 ends in stage 2",
        "num_train_epochs=4",
    ),
}


@pytest.fixture
def said(caplog, monkeypatch):
    """Return a function that returns the lines said by the library so far."""
    monkeypatch.setattr(transformers.utils.logging.get_logger("latent_trainer"), "propagate", True)
    caplog.set_level(logging.WARNING)
    return lambda: [record.getMessage() for record in caplog.records if record.name.startswith("latent_trainer")]


@pytest.mark.parametrize("method", STAGED)
def test_presets_train_their_last_stage(tmp_path, method):
    """As they come, in few steps: three rows are one step an epoch."""
    settings = {name: value for name, value in quick().items() if name not in ("method", "latents_per_step", "max_stage")}
    args = LatentTrainingArguments(str(tmp_path), method=method, **settings)
    tokenizer = make_tokenizer()
    model = LatentForCausalLM.from_base(make_base(vocab_size=len(tokenizer)).float(), tokenizer=tokenizer)
    trainer = LatentTrainer(model, args, train_dataset=uneven_problems(3), processing_class=tokenizer)
    metrics = trainer.train().metrics
    stages = [stage for _, stage in history(trainer)]
    last, latents = REACHED.get(method, (4, 6))
    assert sorted(set(stages)) == [*range(last + 1)] and all(stages.count(one) >= args.epochs_per_stage for one in stages)
    assert (metrics["train_stage"], metrics["train_last_stage"]) == (last, last)
    assert model.config.num_latents == latents and model.config.stage == last


def test_epochs_of_presets(tmp_path):
    """Their own, as many as there are stages where those are more, and those that are asked for before either."""

    def epochs(**changes) -> float:
        return LatentTrainingArguments(str(tmp_path), report_to="none", **changes).num_train_epochs

    assert epochs(method="coconut") == epochs(method="sim_cot") == epochs(steps_per_stage=[1]) == 25
    assert epochs(method="coconut", max_stage=10) == 36 and epochs(method="icot") == 5
    assert epochs(method="coconut", max_stage=10, last_stage=8) == 27 and epochs(max_stage=8, first_stage=3) == 25
    assert epochs(method="coconut", num_train_epochs=7) == 7 and epochs(method="codi") == epochs(method="cot") == 3


@pytest.mark.parametrize("name", SHORT)
def test_too_short(tmp_path, name):
    """The line names a number that is enough, and the stage that a shorter run may end in on purpose."""
    changes, says, enough = SHORT[name]
    short = make_trainer(tmp_path / "short", last_stage=None, **changes)
    with pytest.raises(InputError) as caught:
        short.train()
    line = str(caught.value)
    assert says in line and f"set {enough}," in line and "\n" not in line and short.state.global_step == 0
    length, number = enough.split("=")
    whole = make_trainer(tmp_path / "whole", last_stage=None, **{**changes, length: int(number)})
    whole.train()
    assert whole.stages.stage == whole.curriculum.num_stages - 1
    last = int(re.search(r"last_stage=(\d+)", line)[1])
    cut = make_trainer(tmp_path / "cut", last_stage=last, **changes)
    cut.train()
    assert cut.stages.stage == last and cut.model.config.num_latents == cut.curriculum.latents(last)


def test_nothing_says_when_a_stage_ends(tmp_path):
    changes = {"method": "codi", "curriculum": "staged", "max_stage": 1, "latents_per_step": 1}
    with pytest.raises(
        InputError, match="curriculum=staged has stages 0 to 2, and nothing says when one ends; set epochs_p"
    ):
        make_trainer(tmp_path, last_stage=None, **changes).train()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"last_stage": 4}, "last_stage=4: curriculum=staged has stages 0 to 3"),
        ({"first_stage": 4}, "first_stage=4: curriculum=staged has stages 0 to 3"),
        ({"method": "cot", "first_stage": 1}, "first_stage=1: curriculum=fixed has stages 0 to 0"),
        ({"last_stage": 1, "first_stage": 2}, "last_stage=1 comes before first_stage=2"),
    ],
)
def test_stages_that_are_not_there(tmp_path, changes, says):
    with pytest.raises(InputError, match=says):
        LatentTrainingArguments(str(tmp_path), **quick(**changes))


@pytest.mark.parametrize(
    ("first", "what"),
    [
        (0, "the model thinks in 0 latents instead of 2"),
        (2, "it was never without the written steps that stage 3 drops"),
    ],
)
def test_a_stage_that_was_not_reached_is_said(tmp_path, said, first, what):
    """By accuracy nobody knows beforehand: the end says it, and so does the record. Stages 2 and 3 have two latents each."""
    changes = {
        "first_stage": first,
        "advance_at": 1.0,
        "eval_strategy": "epoch",
        "eval_dataset": uneven_problems(2),
        "num_train_epochs": 1,
    }
    metrics = make_trainer(tmp_path, last_stage=None, **changes).train().metrics
    (line,) = (line for line in said() if "ended in stage" in line)
    assert line == f"training ended in stage {first}, and stage 3 was not reached: {what}"
    assert (metrics["train_stage"], metrics["train_last_stage"]) == (first, 3)


def test_it_is_said_before_anything_is_loaded(tmp_path, capsys):
    """And the results of a run that was cut on purpose say where it ended."""
    config = '{"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64}'
    words = ["--model_config", config, "--dataset", "arithmetic", "--output_dir", str(tmp_path / "out")]
    words += ["--num_train_epochs", "1", "--disable_tqdm", "true", "--report_to", "none", "--save_strategy", "no"]
    with pytest.raises(SystemExit):
        main("train", [*words, "--dataset_options", '{"nonsense": 1}'])
    assert "num_train_epochs=1 with epochs_per_stage=3 ends in stage 0" in capsys.readouterr().err
    main("train", [*words, "--dataset_options", '{"size": 8}', "--last_stage", "0", "--log_level", "error"])
    results = json.loads((tmp_path / "out" / "train_results.json").read_text())
    assert (results["train_stage"], results["train_last_stage"]) == (0, 0)


@pytest.mark.parametrize("path", RUNS, ids=lambda path: str(path.relative_to(RECIPES)))
def test_recipes_reach_their_stages(path):
    """As they are; gsm8k-aug's 385,620 rows on four processes are the most, eight rows the fewest.

    Stages of so many steps beside epochs are made for one number of rows, which the recipe then states.
    """
    classes = (ModelArguments, DataArguments, LatentTrainingArguments)
    settings = yaml.safe_load(path.read_text())
    words = ["--bf16", "false"] if settings.get("bf16") else []
    args = parse("train", classes, ["--config", str(path), *words])[2]
    sizes: tuple = (None, 1, 3013)
    if "steps_per_stage" in settings and "num_train_epochs" in settings:
        sizes = (None, settings["published"]["problems"] // settings["published"]["settings"]["global_batch_size"])
    for steps in sizes:
        if not (steps and args.max_steps > 0 and args.epochs_per_stage is not None):
            refuse_unreachable(args, args.make_curriculum().num_stages, steps)
