"""The metric for the `evaluate` library loads from its folder without a network."""

import os
import subprocess
import sys
from pathlib import Path

import latent_trainer.evaluation

FOLDER = Path(latent_trainer.evaluation.__file__).with_name("answer_accuracy")

PROGRAM = """
import sys
import evaluate
metric = evaluate.load(sys.argv[1])
result = metric.compute(predictions=["0.5", "n^2", "Yes.", ""], references=["1/2", "2n", "yes", "5"])
assert result == {"accuracy": 0.5, "accuracy_stderr": 0.25}, result
result = metric.compute(predictions=["so\\n### 5", "it is 5"], references=["5", "5"], extract="strict")
assert result["accuracy"] == 0.5, result
result = metric.compute(predictions=["so\\n### 5", "it is 5"], references=["5", "5"], extract="flexible")
assert result == {"accuracy": 1.0, "accuracy_stderr": 0.0}, result
"""


def test_metric_loads_and_computes_offline(tmp_path):
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_EVALUATE_OFFLINE": "1",
        "HF_HOME": str(tmp_path),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(FOLDER)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_folder_can_be_pushed_as_it_is():
    assert {path.name for path in FOLDER.iterdir() if path.is_file()} == {
        "answer_accuracy.py",
        "README.md",
        "requirements.txt",
    }
    assert FOLDER.joinpath("README.md").read_text(encoding="utf-8").startswith("---\ntitle:")
