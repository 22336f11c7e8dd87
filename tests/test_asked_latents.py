"""A thought of another length than a model was trained with is said in one line, wherever it is asked for."""

import logging
import subprocess
import sys

import pytest
import torch
import transformers
from conftest import make_latent
from training import make_trainer

from latent_trainer import LatentForCausalLM, encode_prompts
from latent_trainer.cli import main
from latent_trainer.hub import export_folder
from latent_trainer.model.asked_latents import thought_lengths
from latent_trainer.model.configuration import LatentConfig
from latent_trainer.model.thinking import ThinkingProcessor

OTHER = "latents are asked of a model that was trained with"
IN_STAGE_0 = f"6 {OTHER} 0, in stage 0 of its curriculum; ask with num_latents=0, or train it in a stage, or with a method, "
PUSHED = """
import sys, torch
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=True)
latent = model.config.latent_token_id
model.generate(torch.tensor([[1, model.config.bot_token_id, latent, latent, model.config.eot_token_id]]), max_new_tokens=2)
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[int, str]:
    """Return the folders of a model that was trained in stage 0, with no latents, and of one in stage 2, with two."""
    found = {}
    for stage in (0, 2):
        found[stage] = str(tmp_path_factory.mktemp("stage"))
        trainer = make_trainer(found[stage], first_stage=stage, last_stage=stage, max_steps=1)
        trainer.train()
        trainer.save_model()
    return found


@pytest.fixture
def said(caplog, monkeypatch):
    """Return a function that returns what has been said about the number of latents; each line once."""
    monkeypatch.setattr(transformers.utils.logging.get_logger("latent_trainer"), "propagate", True)
    transformers.utils.logging.warning_once.cache_clear()
    caplog.set_level(logging.WARNING)
    return lambda: [record.getMessage() for record in caplog.records if OTHER in record.getMessage()]


def load(folder: str):
    return LatentForCausalLM.from_pretrained(folder), transformers.AutoTokenizer.from_pretrained(folder)


def test_generate(folders, said):
    """The tour's own mistake: six latents of a model that has only learnt to write its steps."""
    model, tokenizer = load(folders[0])
    model.generate(**encode_prompts(["1 2", "3"], tokenizer, 0, model.config.template), max_new_tokens=2)
    assert not said()
    for _ in range(2):
        model.generate(**encode_prompts(["1 2", "3"], tokenizer, 6, model.config.template), max_new_tokens=2)
    (line,) = said()
    assert line.startswith(IN_STAGE_0)
    model, tokenizer = load(folders[2])
    for number in (2, 3):
        model.generate(**encode_prompts(["1 2"], tokenizer, number, model.config.template), max_new_tokens=2)
    assert said()[1:] == [f"3 {OTHER} 2, in stage 2 of its curriculum; ask with num_latents=2"]


@pytest.mark.parametrize("command", ["generate", "evaluate", "probe"])
def test_commands(folders, said, command, tmp_path):
    data = ["--dataset", "arithmetic", "--dataset_options", '{"operations": 1, "size": 4}', "--max_eval_problems", "2"]
    words = {
        "generate": ["--question", "1 2"],
        "evaluate": [*data, "--max_new_tokens", "2"],
        "probe": [*data, "--probes", "norms"],
    }[command]

    def out(number: int) -> list[str]:
        return ["--out", str(tmp_path / str(number))] if command == "probe" else []

    for number, lines in ((2, 0), (3, 1)):
        main(command, ["--model", folders[2], "--num_latents", str(number), *words, *out(number)])
        assert len(said()) == lines


def test_a_thought_whose_length_the_model_decides(folders, said):
    model, _ = load(folders[2])
    ThinkingProcessor(model.config, 1), ThinkingProcessor(model.config, 2)
    assert not said()
    ThinkingProcessor(model.config, 5)
    assert said() == [f"5 {OTHER} 2, in stage 2 of its curriculum; ask with num_latents=2"]


def test_a_model_nobody_has_trained_may_think_as_long_as_it_likes(said):
    model = make_latent(feedback="soft")
    model.generate(torch.tensor([[1, 98, 97, 97, 97, 99]]), max_new_tokens=2)
    ThinkingProcessor(model.config, 32)
    assert not said()


def test_a_pushed_model(folders, tmp_path):
    """Where the library is not installed, too."""
    export_folder(folders[0], str(tmp_path / "exported"))
    words = [sys.executable, "-c", PUSHED, str(tmp_path / "exported")]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"2 {OTHER} 0, in stage 0" in done.stderr


def test_lengths_of_thoughts():
    """The last thought of a row counts; one that is open has no length yet."""
    config = LatentConfig(latent_token_id=7, bot_token_id=8, eot_token_id=9)
    rows = [[8, 7, 9, 1, 8, 7, 7, 9], [1, 1, 1, 8, 7, 7, 7, 9], [1, 1, 1, 1, 1, 1, 8, 9], [8, 7, 7, 7, 7, 9, 1, 8]]
    assert [thought_lengths(torch.tensor([row]), config) for row in rows] == [[2], [3], [0], []]
    assert thought_lengths(torch.tensor(rows), config) == [0, 2, 3]
    assert thought_lengths(torch.tensor([[7, 7, 7]]), config) == [3]
