"""The shipped launch configurations say how they are used; the command line says how many processes, the recipe the rest."""

import shlex
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted((ROOT / "accelerate_configs").glob("*.yaml"))
DEEPSPEED = {"zero1": 1, "zero2": 2, "zero3": 3, "zero3_offload": 3}


def settings(name: str) -> dict:
    """Return what a configuration says."""
    return yaml.safe_load((CONFIGS[0].parent / f"{name}.yaml").read_text())


def header(path: Path) -> list[str]:
    """Return the comment at the top of a configuration."""
    lines = path.read_text().splitlines()
    return lines[: next(index for index, line in enumerate(lines) if not line.startswith("#"))]


def launch_line(path: Path) -> str:
    """Return the command that a configuration is used with."""
    (line,) = [line for line in header(path) if line.startswith("# Launch: ")]
    return line.removeprefix("# Launch: ")


def launched(*words):
    """Return what `accelerate launch` makes of its words and the configuration they name."""
    return _validate_launch_command(launch_command_parser().parse_args(list(map(str, words))))[0]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config(path):
    assert len(header(path)) >= 2
    assert launch_line(path).startswith(f"accelerate launch --config_file accelerate_configs/{path.name} ")
    # one process needs no flag; a number above one belongs to a machine, not to a file
    assert settings(path.stem).get("num_processes", 1) == 1
    load_config_from_file(str(path))  # accelerate refuses keys it does not know


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_launch_command(path, monkeypatch):
    """The command of the header names a recipe that exists, and accelerate accepts its words with the file's settings."""
    monkeypatch.chdir(ROOT)
    words = shlex.split(launch_line(path))[2:]
    if words[-1] != "RECIPE.yaml":
        assert Path(words[-1]).is_file()
    args = launched(*words)
    assert args.training_script == "recipes/train.py"
    assert args.use_deepspeed == (path.stem in DEEPSPEED)
    assert args.use_fsdp == (path.stem == "fsdp2")


def test_all_of_them_were_read():
    assert {path.stem for path in CONFIGS} == {"cpu", "single_gpu", "ddp", "fsdp2", "multi_node", *DEEPSPEED}


def test_ddp_differs_from_cpu_in_the_device_alone():
    """Two processes are tested with cpu.yaml; ddp.yaml says the same but for the device."""
    cpu, ddp = settings("cpu"), settings("ddp")
    different = {name for name in cpu.keys() | ddp.keys() if cpu.get(name) != ddp.get(name)}
    assert different == {"use_cpu", "gpu_ids", "num_processes"}


@pytest.mark.parametrize("name", DEEPSPEED)
def test_deepspeed_leaves_to_the_recipe_what_the_recipe_says(name):
    """Sizes, clipping and precision are filled in from the training arguments; a number here would clash with a recipe's."""
    config = settings(name)
    own = dict(config["deepspeed_config"])
    assert own.pop("zero_stage") == DEEPSPEED[name]
    assert own.pop("gradient_accumulation_steps") == own.pop("gradient_clipping") == "auto"
    assert "mixed_precision" not in config
    saved = {"zero3_init_flag": True, "zero3_save_16bit_model": True} if DEEPSPEED[name] == 3 else {}
    offload = {"offload_optimizer_device": "cpu", "offload_param_device": "cpu"} if name == "zero3_offload" else {}
    assert own == {**saved, **offload}


def test_fsdp2_saves_whole_models():
    config = settings("fsdp2")["fsdp_config"]
    assert config["fsdp_version"] == 2
    assert config["fsdp_state_dict_type"] == "FULL_STATE_DICT"


@pytest.mark.parametrize("name", ["multi_node", "zero2", "fsdp2"])
def test_several_machines(name):
    """The command line says which of how many machines this is, whatever the file says."""
    words = ["--num_machines", 2, "--machine_rank", 1, "--num_processes", 16, "--main_process_ip", "first"]
    words += ["--deepspeed_multinode_launcher", "standard"] if name in DEEPSPEED else ["--rdzv_backend", "c10d"]
    args = launched("--config_file", CONFIGS[0].parent / f"{name}.yaml", *words, "recipes/train.py")
    assert (args.num_machines, args.machine_rank, args.num_processes, args.main_process_ip) == (2, 1, 16, "first")
    if name in DEEPSPEED:
        assert args.deepspeed_multinode_launcher == "standard"
    else:
        assert args.rdzv_backend == "c10d"
    if name == "multi_node":
        assert not args.same_network  # which would leave the rendezvous without an address
