"""The command's help and version answer without importing the library; everything else goes to it."""

import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

from latent_trainer import __version__
from latent_trainer.cli import COMMANDS, main
from latent_trainer_command import answer

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = """
import sys
from latent_trainer_command import main
main()
print(sorted({name.split(".")[0] for name in sys.modules} & {"torch", "transformers", "numpy", "latent_trainer"}))
"""


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"], ["--version"]], ids=str)
def test_nothing_is_imported(words, capsys):
    done = subprocess.run([sys.executable, "-c", PROGRAM, *words], cwd=ROOT, capture_output=True, text=True, check=True)
    printed, _, imported = done.stdout.rstrip().rpartition("\n")
    assert imported == "[]" and done.stderr == ""
    main(argv=words)  # recipes and programs that call it say the same
    assert printed == capsys.readouterr().out.rstrip()
    if words == ["--version"]:
        assert printed == f"latent-trainer {__version__}"
    else:
        assert all(f"  {name} " in printed for name in COMMANDS)


def test_importing_the_library_imports_little_more_than_the_stock_trainer():
    """Modules are counted and not seconds, which depend on what else the machine does."""
    program = """
import sys
import torch
from transformers import Trainer
stock = set(sys.modules)
import latent_trainer
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
print(len(sys.modules) / len(stock), "latent" in CONFIG_MAPPING)
print(*sorted({name.split(".")[0] for name in set(sys.modules) - stock}))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    counted, others = done.stdout.splitlines()
    ratio, registered = counted.split()
    assert float(ratio) <= 1.15
    assert registered == "True"  # so that AutoModelForCausalLM.from_pretrained knows a saved latent model
    assert not {"scipy", "matplotlib", "sklearn", "math_verify", "pint", "optuna", "rich"} & set(others.split())


@pytest.mark.parametrize(
    "words", [["train"], ["train", "--help"], ["evaluate", "--version"], ["no such"], ["--config"]], ids=str
)
def test_the_rest_is_the_librarys(words):
    assert answer(words) is None


def test_it_is_what_is_installed():
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert config["options.entry_points"]["console_scripts"].strip() == "latent-trainer = latent_trainer_command:main"
    assert config["options"]["py_modules"] == "latent_trainer_command"
