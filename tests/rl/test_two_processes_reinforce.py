"""Two real processes (gloo, on the CPU) draw the thoughts of one, and train the same weights."""

import os
import subprocess
from pathlib import Path

import pytest
import torch
from forked_python import forked_python
from reinforced import save_model
from safetensors.torch import load_file

pytest.importorskip("trl")
pytestmark = pytest.mark.distributed
ROOT = Path(__file__).resolve().parents[2]


STRATEGIES = [
    pytest.param("cpu", 1e-6, id="ddp"),
    pytest.param("zero2", 1e-5, id="zero2", marks=pytest.mark.slow),  # in float32
]


@pytest.mark.parametrize(("strategy", "tolerance"), STRATEGIES)
@pytest.mark.parametrize("policy", ["multiplex"])
def test_two_processes_are_one(policy, strategy, tolerance, tmp_path):
    save_model(tmp_path / "model")
    tests = ROOT / "tests"
    paths = [*map(str, (ROOT, tests, tests / "rl", tests / "distributed")), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    environment |= {"DS_ACCELERATOR": "cpu"}
    launcher = ["-m", "accelerate.commands.launch", "--num_processes", "2", "--main_process_port", "0"]
    launcher += ["--config_file", str(ROOT / "accelerate_configs" / f"{strategy}.yaml")]
    for name, words, rows in (("one", [], 4), ("two", launcher, 2)):
        script = [str(Path(__file__).with_name("reinforce_once.py")), str(tmp_path / "model"), str(tmp_path / name)]
        command = [forked_python(), *words, *script, str(rows), policy, strategy]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    one, two, first = (
        load_file(tmp_path / folder / f"{file}.safetensors")
        for folder, file in (("one", "trained"), ("two", "trained"), ("model", "model"))
    )
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], rtol=0, atol=tolerance, msg=lambda text, at=name: f"{at}: {text}")
    assert any(not torch.equal(one[name].double(), value.double()) for name, value in first.items())
