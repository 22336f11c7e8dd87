"""Every recipe with a published figure against the published configuration, field by field."""

import re
from pathlib import Path

import pytest
import yaml

from latent_trainer.cli import main
from latent_trainer.methods.presets import METHODS

ROOT = Path(__file__).resolve().parents[1]
RECIPES = {
    path.stem if folder == "gsm8k" else f"{folder}/{path.stem}": path
    for folder in ("gsm8k", "prosqa")
    for path in sorted((ROOT / "recipes" / folder).glob("*.yaml"))
}
SAYS = {"source", "commit", "data", "figure", "accuracy", "problems", "settings"}
MAY_SAY = {"accuracy_stderr", "deviations", "stages", "start", "unread"}
NOTHING = "the settings this project started from"
# What changes how a model is trained. Each stands in the published settings, or the recipe says beside it that it is ours.
TRAINING = re.compile(
    r"(num_train_epochs|max_steps|.*batch_size|gradient_accumulation_steps|learning_rate|lr_scheduler_type|warmup_steps"
    r"|weight_decay|max_grad_norm|bf16|dtype|lora_.*|num_latents|latents_per_step|max_stage|.*_per_stage|first_stage"
    r"|pad_latent_to_max|reset_optimizer|internalize_.*|step_decoder.*|objective_options|feedback_options|rollout_options"
    r"|mixed_stages|model_name_or_path|dataset)"
)


def reproduces(text: str) -> str:
    return next(line for line in text.splitlines() if line.startswith("# Reproduces: ")).removeprefix("# Reproduces: ")


PUBLISHED = [name for name, path in RECIPES.items() if "published" in yaml.safe_load(path.read_text())]
QUOTING = [name for name in PUBLISHED if "accuracy" in yaml.safe_load(RECIPES[name].read_text())["published"]]


def effective(settings: dict, text: str) -> dict:
    """Return a recipe's settings with the batch of all processes that its launch line starts."""
    processes = int(re.search(r"--num_processes (\d+)", text)[1])
    batch = settings["per_device_train_batch_size"] * settings["gradient_accumulation_steps"] * processes
    stock = {"reset_optimizer": "never", "uniform_prob": 0.0, "mixed_stages": False, "use_peft": False}
    return {**stock, **METHODS[settings["method"]].defaults, **settings, "global_batch_size": batch}


def unexplained(settings: dict, text: str) -> list[str]:
    """Return what differs from the published settings without a reason, and reasons for what does not differ."""
    published, own = settings["published"], effective(settings, text)
    reasons = published.get("deviations", {})
    differs = {name for name, value in published["settings"].items() if own.get(name) != value}
    return sorted(differs ^ set(reasons)) + [name for name, reason in reasons.items() if len(str(reason)) < 10]


def test_every_recipe_says_what_is_published():
    """All but the one with the settings this project started from, which nobody has published."""
    without = set(RECIPES) - set(PUBLISHED)
    assert [reproduces(RECIPES[name].read_text()).partition(";")[0] for name in without] == [NOTHING]
    assert (len(PUBLISHED), len(QUOTING)) == (28, 18)


@pytest.mark.parametrize("name", PUBLISHED)
def test_nothing_differs_without_a_reason(name):
    text = RECIPES[name].read_text()
    settings = yaml.safe_load(text)
    unread = settings["published"].get("unread", {})
    assert set(settings["published"]) - MAY_SAY == SAYS - ({"accuracy"} & set(unread))
    assert re.fullmatch("[0-9a-f]{7,40}|none", settings["published"]["commit"])  # none: no code is published
    assert unexplained(settings, text) == []


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_setting_of_training_is_published_or_ours(name):
    text = RECIPES[name].read_text()
    settings = yaml.safe_load(text)
    named = {*settings["published"]["settings"], "per_device_train_batch_size", "gradient_accumulation_steps"}
    comments = dict(re.findall(r"^(\w+):.*?#(.*)$", text, re.MULTILINE))
    left = [one for one in settings if TRAINING.fullmatch(one) and one not in named and one != "per_device_eval_batch_size"]
    assert [one for one in left if not re.search(r"\bours\b|published README", comments.get(one, ""))] == []


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name not in QUOTING])
def test_a_figure_that_was_not_read_is_not_quoted(name):
    """Neither by the block nor by the header, and the block says why; no setting is both published and unread."""
    text = RECIPES[name].read_text()
    published = yaml.safe_load(text)["published"]
    assert published["figure"].startswith("none: ") and re.match("no |nothing ", reproduces(text))
    assert all(len(reason) > 20 for reason in published["unread"].values())
    assert not set(published["unread"]) & set(published["settings"])
    assert not re.search(r"\d %", reproduces(text) + published["figure"])


@pytest.mark.parametrize("name", QUOTING)
def test_the_header_quotes_the_same_figure(name):
    text = RECIPES[name].read_text()
    figure = re.search(r"[\d.]+(?= \+-| %)", yaml.safe_load(text)["published"]["figure"])[0]
    assert figure in reproduces(text)
    assert "memory" not in text


def test_a_deviation_is_noticed():
    text = RECIPES["gpt2-coconut"].read_text()
    settings = yaml.safe_load(text)
    assert unexplained({**settings, "learning_rate": 2.0e-4}, text) == ["learning_rate"]
    assert unexplained({**settings, "per_device_train_batch_size": 16}, text) == ["global_batch_size"]
    stale = {**settings, "published": {**settings["published"], "deviations": {"seed": "another one was taken"}}}
    assert unexplained(stale, text) == ["seed"]


def test_a_block_that_is_no_mapping(tmp_path, capsys):
    config = tmp_path / "recipe.yaml"
    config.write_text("method: cot\npublished: true\n")
    with pytest.raises(SystemExit):
        main("train", ["--config", str(config)])
    (line,) = capsys.readouterr().err.splitlines()
    assert "recipe.yaml: published=true: expected a mapping of source" in line
