"""`latent-trainer reinforce`: the recipe, every kind of model, and what is refused in one line."""

import json
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest
import yaml
from reinforced import save_model

pytest.importorskip("trl")

from latent_trainer import LatentForCausalLM
from latent_trainer.cli import main
from latent_trainer.rl import trl_release

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted((ROOT / "recipes" / "reinforce").glob("*.yaml"))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("latent"), feedback="hidden")


def words(saved, out, **changes) -> list[str]:
    """Return a command that takes one step."""
    options = {
        "model": saved.folder,
        "dataset": "arithmetic",
        "dataset_options": '{"operations": 2}',
        "output_dir": str(out),
    }
    options |= {"max_train_problems": 16, "max_eval_problems": 4, "max_steps": 1, "per_device_train_batch_size": 4}
    options |= {"num_generations": 2, "max_completion_length": 4, "bf16": "false", "use_cpu": "true"}
    options |= {"report_to": "none", "save_strategy": "no", "disable_tqdm": "true", "gradient_checkpointing": "false"}
    return [word for name, value in {**options, **changes}.items() for word in (f"--{name}", str(value))]


def history(out) -> dict:
    return json.loads((out / "trainer_state.json").read_text())["log_history"][0]


def test_a_step(saved, tmp_path, capsys):
    """Rewards by name, options as JSON; what is saved is a latent model with its tokenizer and what it was trained on."""
    changes = {"policy": "gaussian", "policy_options": '{"sigma": 0.5}', "reward_options": '{"length": {"bar": 0.2}}'}
    argv = [*words(saved, tmp_path, **changes), "--rewards", "correct", "length", "format", "steps"]
    main("reinforce", argv)
    entry = history(tmp_path)
    assert all(f"rewards/{name}/mean" in entry for name in ("correct", "length", "format", "steps"))
    assert LatentForCausalLM.from_pretrained(tmp_path).config.num_latents == 2
    assert (tmp_path / "tokenizer.json").is_file() and (tmp_path / "data_arguments.json").is_file()
    assert f"saved to {tmp_path}" in capsys.readouterr().out


def test_adapters_on_an_adapter(saved, tmp_path):
    """An adapter is trained on the model, and another on that: each loads as what it was trained on."""
    main("reinforce", words(saved, tmp_path / "one", use_peft="true", lora_r=2))
    assert (tmp_path / "one" / "adapter_config.json").is_file() and (tmp_path / "one" / "config.json").is_file()
    main("reinforce", words(saved, tmp_path / "two", model=str(tmp_path / "one"), use_peft="true", lora_r=2))
    below = json.loads((tmp_path / "two" / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert below == str(tmp_path / "one")
    assert LatentForCausalLM.from_pretrained(tmp_path / "two").config.num_latents == 2


def test_a_plain_base_model_and_evaluation(saved, tmp_path, capsys):
    """A base model thinks in soft latents, with multiplexed tokens; the validation reward is printed."""
    model = LatentForCausalLM.from_pretrained(saved.folder)
    model.base.save_pretrained(tmp_path / "base")
    saved.tokenizer.save_pretrained(tmp_path / "base")
    changes = {"model": str(tmp_path / "base"), "feedback": "soft", "num_latents": 3, "policy": "multiplex"}
    changes |= {"do_eval": "true", "eval_strategy": "steps", "eval_steps": 1, "per_device_eval_batch_size": 4}
    main("reinforce", words(saved, tmp_path / "out", **changes))
    assert "validation reward " in capsys.readouterr().out
    config = LatentForCausalLM.from_pretrained(tmp_path / "out").config
    assert config.feedback == "soft" and config.num_latents == 3  # with which it is graded


def test_other_algorithms_and_stops(saved, tmp_path):
    """The algorithm decides which options there are, on the command line and in a file; a learned stop is saved."""
    stops = {"stop": "learned", "max_latents": 3, "cold_start": 0}
    main("reinforce", words(saved, tmp_path / "one", algorithm="rloo", normalize_advantages="true", **stops))
    assert "kl" in history(tmp_path / "one")  # RLOO's own default has a reference model
    config = LatentForCausalLM.from_pretrained(tmp_path / "one").config
    assert config.stop_head and config.open_thought and config.num_latents == 3
    (tmp_path / "rloo.yaml").write_text("algorithm: rloo\nnormalize_advantages: true\n")
    stops = {"stop": "entropy", "stop_entropy": 0.5, "beta": 0.0}
    main("reinforce", ["--config", str(tmp_path / "rloo.yaml"), *words(saved, tmp_path / "two", **stops)])
    assert LatentForCausalLM.from_pretrained(tmp_path / "two").config.stop_entropy == 0.5


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe(path, saved, tmp_path):
    """A step of the recipe's own settings on a tiny model; its header says what it is."""
    settings, text = yaml.safe_load(path.read_text()), path.read_text()
    name = path.relative_to(ROOT).as_posix()
    assert all(part in text for part in ("# Reproduces: ", "# Hardware and time: ", f"recipes/reinforce.py --config {name}"))
    assert settings["output_dir"] == "runs/" + name.removeprefix("recipes/").removesuffix(".yaml")
    small = ["--per_device_train_batch_size", str(settings["num_generations"]), "--max_train_problems", "16"]
    quiet = ["--disable_tqdm", "true", "--use_cpu", "true", "--max_steps", "1", "--logging_steps", "1"]
    main("reinforce", ["--config", str(path), "--model", saved.folder, "--output_dir", str(tmp_path), *small, *quiet])
    assert "reward" in history(tmp_path)


def test_number_of_recipes():
    """A recipe that is added or lost is noticed."""
    assert len(RECIPES) == 1


REFUSED = {
    "no model": ({"model": None}, "model is missing"),
    "no such policy": ({"policy": "gausian"}, "did you mean 'gaussian'"),
    "a policy that does not fit": ({"policy": "multiplex"}, "policy=multiplex makes latents of token embeddings"),
    "a group of one": ({"num_generations": 1}, "num_generations=1: an advantage compares"),
    "no such algorithm": ({"algorithm": "rlo"}, "did you mean 'rloo'"),
    "options of another algorithm": ({"normalize_advantages": "true"}, "normalize_advantages"),
    "no such reward": ({"rewards": "corect"}, "did you mean 'correct'"),
    "an unknown option": ({"polcy": "gaussian"}, "did you mean 'policy'"),
    "batches that are no groups": ({"num_generations": 3}, "must be divisible by num_generations"),
    "adapters' options without adapters": ({"lora_r": 2}, "lora_r=2 has no effect without use_peft"),
    "options of no feedback": ({"feedback_options": "{}"}, "feedback_options go with feedback"),
    "another feedback": ({"feedback": "soft"}, "has its own feedback"),
}


def refused(argv, capsys) -> str:
    """Return the one line a command ends with."""
    with pytest.raises(SystemExit) as ended:
        main("reinforce", argv)
    (line,) = [one for one in capsys.readouterr().err.splitlines() if one.startswith("latent-trainer: ")]
    assert ended.value.code == 2
    return line


@pytest.mark.parametrize("name", REFUSED)
def test_refused(saved, tmp_path, capsys, name):
    changes, says = REFUSED[name]
    argv = words(saved, tmp_path / "out", **changes)
    if changes.get("model", "") is None:
        argv = argv[2:]
    assert says in refused(argv, capsys)
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_trl_of_another_release(saved, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(trl_release, "version", lambda name: "1.17.0")
    assert "made for trl>=1.16,<1.17, and this is 1.17.0" in refused(words(saved, tmp_path), capsys)


def test_trl_is_missing(saved, tmp_path, capsys, monkeypatch):
    def absent(name):
        raise trl_release.PackageNotFoundError(name)

    monkeypatch.setattr(trl_release, "version", absent)
    assert "is not installed; pip install 'latent_trainer[rl]'" in refused(words(saved, tmp_path), capsys)


def test_the_extra_is_the_range():
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert f"trl{trl_release.RANGE}" in setup["options.extras_require"]["rl"].split()


def test_nobody_else_imports_trl():
    """Importing the library, its registries and the room of reinforcement learning leaves TRL alone."""
    code = "import sys, latent_trainer, latent_trainer.rl, latent_trainer.rl.rewards; assert 'trl' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=170)
