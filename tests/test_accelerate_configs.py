"""The shipped launch configurations say how they are used; the command line says how many processes."""

from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file

CONFIGS = sorted((Path(__file__).resolve().parents[1] / "accelerate_configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config(path):
    text = path.read_text()
    header = [line for line in text.splitlines() if line.startswith("#")]
    assert len(header) >= 2
    assert any(f"accelerate launch --config_file accelerate_configs/{path.name} " in line for line in header)
    # one process needs no flag; a number above one belongs to a machine, not to a file
    assert yaml.safe_load(text).get("num_processes", 1) == 1
    load_config_from_file(str(path))  # accelerate refuses keys it does not know


def test_all_of_them_were_read():
    assert {path.stem for path in CONFIGS} >= {"cpu", "single_gpu", "ddp"}


def test_ddp_differs_from_cpu_in_the_device_alone():
    """Two processes are tested with cpu.yaml; ddp.yaml says the same but for the device."""
    cpu, ddp = (yaml.safe_load((CONFIGS[0].parent / name).read_text()) for name in ("cpu.yaml", "ddp.yaml"))
    different = {name for name in cpu.keys() | ddp.keys() if cpu.get(name) != ddp.get(name)}
    assert different == {"use_cpu", "gpu_ids", "num_processes"}
