"""Settings that reach the run itself: what is resumed, and which modules get adapters."""

import json

import pytest
import yaml
from conftest import make_base
from peft import LoraConfig, PeftModel
from training import make_trainer
from transformers import TrainerCallback

from latent_trainer import LatentForCausalLM
from latent_trainer.cli import main
from latent_trainer.errors import InputError
from latent_trainer.model.adapters import add_adapters, latent_model
from latent_trainer.training.checkpoints import checkpoints, resumption

RECIPE = {
    "model_config": {"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64},
    "dataset": "arithmetic",
    "dataset_options": {"size": 20, "operations": 2},
    "template": "plain",
    "max_steps": 1,
    "last_stage": 0,
    "per_device_train_batch_size": 2,
    "report_to": "none",
    "disable_tqdm": True,
    "use_cpu": True,
}


# ---- resume_from_checkpoint ----


@pytest.mark.parametrize("value", [None, False, "false", "False", "no", "off"])
def test_nothing_is_resumed(value):
    assert resumption(value) is None


@pytest.mark.parametrize("value", [True, "true", "True", "yes", "latest"])
def test_the_newest_is_resumed(value):
    assert resumption(value) == "latest"


def test_a_folder_is_resumed(tmp_path):
    assert resumption("runs/checkpoint-5") == "runs/checkpoint-5"
    assert resumption(tmp_path) == str(tmp_path)
    for value in ("", " ", 3, 0, ["a"]):
        with pytest.raises(InputError, match="expected true, false, latest or a checkpoint folder"):
            resumption(value)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return the folder of a run of two steps, with a checkpoint of each."""
    folder = tmp_path_factory.mktemp("run")
    make_trainer(folder, save_strategy="steps", save_steps=1, max_steps=2).train()
    return folder


class FirstStep(TrainerCallback):
    """Notes the step a run begins at."""

    def on_train_begin(self, args, state, control, **kwargs):
        """Note it."""
        self.step = state.global_step


@pytest.mark.parametrize("by", ["arguments", "call"])
def test_resuming(run, by):
    def train(value) -> int:
        first, given = FirstStep(), {"resume_from_checkpoint": value}
        trainer = make_trainer(run, max_steps=3, callbacks=[first], **(given if by == "arguments" else {}))
        trainer.train(**(given if by == "call" else {}))
        return first.step

    first, second = checkpoints(run)
    for value, step in {"latest": 2, str(first): 1}.items() if by == "call" else {True: 2, str(second): 2}.items():
        assert train(value) == step, value
    for value in (False, "false", None):
        with pytest.raises(InputError, match="already holds another run"):
            train(value)
    with pytest.raises(InputError, match="resume_from_checkpoint=absent: no such folder"):
        train("absent")
    with pytest.raises(InputError, match="contains checkpoints but is not one itself; name one"):
        train(str(run))


def test_resuming_from_the_command_line(tmp_path, capsys):
    """``false`` starts anew in an empty folder; ``latest`` goes on, from the recipe as from the command line."""
    out, recipe = tmp_path / "out", tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({**RECIPE, "output_dir": str(out), "resume_from_checkpoint": False}))
    main("train", ["--config", str(recipe)])
    with pytest.raises(SystemExit):
        main("train", ["--config", str(recipe), "--max_steps", "2"])
    assert "already holds another run" in capsys.readouterr().err
    main("train", ["--config", str(recipe), "--max_steps", "2", "--resume_from_checkpoint", "latest"])
    assert json.loads((out / "trainer_state.json").read_text())["global_step"] == 2


# ---- lora_target_modules ----


def adapted(model: PeftModel) -> set[str]:
    """Return the names of the modules that have adapters."""
    return {name.removeprefix("base_model.model.") for name, module in model.named_modules() if hasattr(module, "lora_A")}


def latent(architecture: str, **changes) -> LatentForCausalLM:
    """Return a tiny latent model."""
    ids = {"latent_token_id": 61, "bot_token_id": 62, "eot_token_id": 63}
    return LatentForCausalLM.from_base(make_base(architecture, vocab_size=64), **ids, **changes)


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_every_linear_layer_of_the_base(architecture):
    """The head, the feedback and the step decoder apart; the last two train in full."""
    model = latent(architecture, feedback="projection")
    model.add_step_decoder("copy", 1)
    names = adapted(add_adapters(model, LoraConfig(target_modules="all-linear", r=2)))
    kinds = {name.rpartition(".")[2] for name in names}
    attention = {"c_attn", "c_proj", "c_fc"} if architecture == "gpt2" else {f"{one}_proj" for one in "qkvo"}
    assert attention <= kinds and "lm_head" not in kinds
    assert all(name.startswith("base.") for name in names)


def test_expressions_and_names():
    by_expression = adapted(add_adapters(latent("gpt2"), LoraConfig(target_modules=r".*\.1\..*c_(attn|fc)", r=2)))
    assert by_expression == {"base.transformer.h.1.attn.c_attn", "base.transformer.h.1.mlp.c_fc"}
    by_name = adapted(add_adapters(latent("gpt2"), LoraConfig(target_modules=["mlp.c_proj"], r=2)))
    assert by_name == {"base.transformer.h.0.mlp.c_proj", "base.transformer.h.1.mlp.c_proj"}
    for targets in (["nope"], "nope.*"):
        with pytest.raises(InputError, match="nope") as caught:
            add_adapters(latent("gpt2"), LoraConfig(target_modules=targets, r=2))
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("targets", ["all-linear", ".*c_attn", "c_attn", ["c_attn", "c_fc"]])
def test_a_recipe_trains_adapters(tmp_path, targets):
    """One step, saved and loaded again."""
    base = tmp_path / "base"
    out, recipe = tmp_path / "out", tmp_path / "recipe.yaml"
    settings = {**RECIPE, "output_dir": str(base), "save_strategy": "no"}
    recipe.write_text(yaml.safe_dump(settings))
    main("train", ["--config", str(recipe)])
    del settings["model_config"]
    changes = {"model_name_or_path": str(base), "use_peft": True, "lora_target_modules": targets, "output_dir": str(out)}
    recipe.write_text(yaml.safe_dump({**settings, **changes}))
    main("train", ["--config", str(recipe)])
    saved = json.loads((out / "adapter_config.json").read_text())
    assert saved["fan_in_fan_out"] is True
    assert latent_model(LatentForCausalLM.from_pretrained(str(out))).config.num_latents == 0


@pytest.mark.parametrize("question", ["", " \n"])
def test_an_empty_question_is_refused(question, capsys):
    with pytest.raises(SystemExit, match="2"):
        main("generate", ["--model", "nowhere", "--question", question])
    assert "question='' is empty" in capsys.readouterr().err
