"""Every shipped recipe says what it is, parses without an unknown key, and trains a step on a tiny model of its kind."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from conftest import make_base

from latent_trainer.cli import main
from latent_trainer.data import load_problems
from latent_trainer.data.tokenizer import train_tokenizer

ROOT = Path(__file__).resolve().parents[1]
OTHERS = ("sweeps", "reinforce")  # tested in tests/sweep and tests/rl
RECIPES = sorted(path for path in (ROOT / "recipes").rglob("*.yaml") if path.parent.name not in OTHERS)
# by a word of the model's name
FAMILIES = {"llama": "llama", "smollm2": "llama", "qwen": "qwen2", "gpt2": "gpt2", "prosqa": "llama"}
SHORT = {"prosqa": {"nodes": 6, "min_steps": 2, "max_steps": 2}}  # rows that fit the tiny models' tokenizer
FEW = 6_000  # generated problems: more take a minute or two
QUESTION = "He buys {0} pens and {1} books. How many things does he have?"


def test_number_of_recipes():
    """A recipe that is added or lost is noticed."""
    assert len(RECIPES) == 134


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(ROOT / "recipes")))
def test_header(path):
    """The header says what the run reproduces, how it is launched and on what."""
    name = str(path.relative_to(ROOT))
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert len(header) >= 4
    for part in ("# Reproduces: ", "# Launch: ", "# Hardware and time: "):
        assert any(line.startswith(part) for line in header), f"{name} lacks {part}"
    launch = next(line for line in header if line.startswith("# Launch: "))
    assert f"--config {name}" in launch
    if "accelerate_configs/" in launch:
        config = launch.split("--config_file ")[1].split()[0]
        assert (ROOT / config).is_file()
    settings = yaml.safe_load(path.read_text())
    assert settings["output_dir"] == "runs/" + name.removeprefix("recipes/").removesuffix(".yaml").removeprefix("tiny/") or (
        settings["output_dir"] == "runs/" + name.removeprefix("recipes/").removesuffix(".yaml")
    )


def generated() -> list:
    """Return the settings of one recipe for every way in which recipes ask for generated problems; many take minutes."""
    recipes = [yaml.safe_load(path.read_text()) for path in RECIPES]
    asking = [settings for settings in recipes if "size" in settings.get("dataset_options", {})]
    found = {json.dumps([one["dataset"], one["dataset_options"]]): one for one in asking}.values()
    return [pytest.param(one, marks=[pytest.mark.slow] * (one["dataset_options"]["size"] > FEW)) for one in found]


@pytest.mark.parametrize("settings", generated(), ids=lambda settings: Path(settings["output_dir"]).name)
def test_as_many_problems_as_it_asks_for(settings):
    """The validation split, of which there are fewest problems, has the size that a recipe names: 8,000 were too many."""
    options = settings["dataset_options"]
    found = load_problems(settings["dataset"], "validation", seed=settings.get("dataset_seed", 0), **options)
    assert len(found) == options["size"]


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Return local stand-ins: rows in the form of each data set, and tiny base models with a tokenizer."""
    folder = tmp_path_factory.mktemp("sources")
    solutions = [(a, b, f"<<{a}+{b}={a + b}>>", a + b) for a in range(1, 7) for b in range(1, 7)]
    rows = [
        {"question": QUESTION.format(a, b), "answer": f"He has {a}+{b} = {step}{total} things.\n#### {total}"}
        for a, b, step, total in solutions
    ]
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "train.txt").write_text(
        "\n".join(f"{QUESTION.format(a, b)}||{step} #### {total}" for a, b, step, total in solutions)
    )
    tokenizer = train_tokenizer([row["question"] + row["answer"] for row in rows], 400)
    models = {}
    for architecture in ("gpt2", "llama", "qwen2"):
        models[architecture] = str(folder / architecture)
        context = {"n_positions": 1024} if architecture == "gpt2" else {"max_position_embeddings": 1024}
        base = make_base(architecture, vocab_size=len(tokenizer), dtype=torch.float32, **context)
        base.save_pretrained(models[architecture])
        tokenizer.save_pretrained(models[architecture])
    return {"gsm8k": str(folder / "train.jsonl"), "gsm8k_aug": str(folder / "train.txt"), "models": models}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(ROOT / "recipes")))
def test_recipe_trains(path, sources, tmp_path):
    """One step of the recipe's own settings; only the model's size, the data and the machine's number types are replaced."""
    settings = yaml.safe_load(path.read_text())
    out = tmp_path / "out"
    argv = ["--config", str(path), "--output_dir", str(out), "--max_steps", "1", "--disable_tqdm", "true"]
    argv += ["--last_stage", str(settings.get("first_stage", 0))]
    argv += ["--save_strategy", "no", "--load_best_model_at_end", "false", "--report_to", "none"]
    argv += ["--max_eval_problems", "4"] if "advance_at" in settings else ["--eval_strategy", "no"]
    argv += ["--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "2", "--log_level", "error"]
    if settings["dataset"] in sources:
        argv += ["--dataset_path", sources[settings["dataset"]]]
    elif settings["dataset"] == "arithmetic":
        argv += ["--max_train_problems", "64"]
    else:
        argv += ["--dataset_options", json.dumps({"size": 64, **SHORT.get(settings["dataset"], {})})]
    if "model_name_or_path" in settings:
        name = settings["model_name_or_path"].lower()
        architecture = next(one for word, one in FAMILIES.items() if word in name)
        argv += ["--model_name_or_path", sources["models"][architecture]]
        argv += ["--dtype", "float32"]
    if settings.get("bf16"):
        argv += ["--bf16", "false"]
    main("train", argv)
    state = json.loads((out / "trainer_state.json").read_text())
    assert state["global_step"] == 1
    assert 0 < state["log_history"][-1]["train_loss"] < 50
    assert list(out.glob("*.safetensors"))
