"""What vLLM is not given is refused in one line, found out from the saved folder alone."""

import configparser
import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from peft import LoraConfig, get_peft_model

from latent_trainer import register_feedback
from latent_trainer.errors import InputError
from latent_trainer.methods.feedback import FEEDBACKS
from latent_trainer.methods.feedback.hidden import HiddenFeedback
from latent_trainer.serving import register
from latent_trainer.serving.checks import (
    BELOW,
    FROM,
    SETTINGS,
    latent_settings,
    refuse_model,
    refuse_prompt,
    refuse_settings,
    unfit_release,
)
from latent_trainer.serving.steps import ThoughtTokens
from latent_trainer.testing.tiny import make_tokenizer, tiny_model


def refusal(folder) -> str:
    """Return the one line in which a saved model is refused."""
    with pytest.raises(InputError) as error:
        refuse_model(latent_settings(str(folder)), str(folder))
    (line,) = str(error.value).splitlines()
    return line


@pytest.fixture
def custom():
    """The name of a feedback that a plug-in registers."""
    register_feedback("served-mine", type("Mine", (HiddenFeedback,), {}))
    yield "served-mine"
    FEEDBACKS.forget("served-mine")


def test_a_whole_model_of_the_librarys_own_parts_is_served(tmp_path):
    tiny_model(make_tokenizer(), feedback="projection").save_pretrained(tmp_path)
    refuse_model(latent_settings(str(tmp_path)), str(tmp_path))


def test_another_model_is_none_of_ours(tmp_path):
    tiny_model(make_tokenizer()).base.save_pretrained(tmp_path)
    assert latent_settings(str(tmp_path)) is None and latent_settings(str(tmp_path / "nowhere")) is None


def test_an_adapter_is_to_be_merged(tmp_path):
    model = tiny_model(make_tokenizer())
    get_peft_model(model, LoraConfig(target_modules=["c_attn"], fan_in_fan_out=True)).save_pretrained(tmp_path)
    model.config.save_pretrained(tmp_path)
    assert f"latent-trainer export {tmp_path} --to NEW_FOLDER --merge" in refusal(tmp_path)


def test_an_adapter_with_a_custom_feedback_is_refused_by_the_feedbacks_name(tmp_path, custom):
    model = tiny_model(make_tokenizer(), feedback=custom)
    get_peft_model(model, LoraConfig(target_modules=["c_attn"], fan_in_fan_out=True)).save_pretrained(tmp_path)
    model.config.save_pretrained(tmp_path)
    FEEDBACKS.forget(custom)  # as in vLLM's processes
    try:
        line = refusal(tmp_path)
    finally:
        register_feedback(custom, type("Mine", (HiddenFeedback,), {}))
    assert "adapter" in line and f"feedback={custom} is code of plug-in test_serving_checks.py" in line


def test_a_whole_model_with_a_custom_feedback_too(tmp_path, custom):
    tiny_model(make_tokenizer(), feedback=custom).save_pretrained(tmp_path)
    assert f"feedback={custom} is code of plug-in" in refusal(tmp_path)


@pytest.mark.parametrize("rollout", ["jacobi", "looped"])
def test_a_rollout_of_several_passes(tmp_path, rollout):
    tiny_model(make_tokenizer(), rollout=rollout).save_pretrained(tmp_path)
    assert f"rollout={rollout}" in refusal(tmp_path)


def test_a_base_model_that_was_never_compared(tmp_path):
    tiny_model(make_tokenizer()).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    settings = json.loads(file.read_text())
    settings["base_config"]["model_type"] = "gemma"
    file.write_text(json.dumps(settings))
    assert "gemma" in refusal(tmp_path)


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_that_do_not_go_with_thoughts(name):
    refuse_settings(dict.fromkeys(SETTINGS, False))
    with pytest.raises(InputError, match=f"with {name}:") as error:
        refuse_settings({**dict.fromkeys(SETTINGS, False), name: True})
    assert len(str(error.value).splitlines()) == 1


def test_prompts_without_a_column_before_a_latent():
    tokens = ThoughtTokens(latent=3, bot=4, eot=5)
    refuse_prompt([1, 3], tokens)
    for prompt, says in (([3, 1], "begins with"), (None, "embeddings")):
        with pytest.raises(InputError, match=says):
            refuse_prompt(prompt, tokens)


@pytest.mark.parametrize("release", ["0.31.2", BELOW, "1.0.0", "0.32.0rc1"])
def test_another_release_is_named_in_one_line(release):
    (line,) = unfit_release(release).splitlines()
    assert FROM in line and BELOW in line and release in line
    assert unfit_release("0.32.0") is None and unfit_release("0.32.5+cpu") is None


def test_under_another_release_the_entry_point_says_so_and_changes_nothing(tmp_path, monkeypatch, caplog):
    metadata = tmp_path / "vllm-0.99.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.99.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(logging.getLogger("vllm"), "propagate", True)
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).resolve().parents[2] / "setup.cfg")
    assert setup["options.entry_points"]["vllm.general_plugins"].split() == [
        "latent_trainer",
        "=",
        "latent_trainer.serving:register",
    ]
    assert setup["options.extras_require"]["vllm"].split() == [f"vllm>={FROM},<{BELOW}"]
    with caplog.at_level("WARNING"):
        register()
    assert caplog.messages == [unfit_release("0.99.0")]
    assert "vllm.model_executor" not in sys.modules


def test_the_library_imports_no_vllm():
    program = "import latent_trainer, latent_trainer.serving, sys; print('vllm' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "False"
