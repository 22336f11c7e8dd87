"""Two real processes (gloo, on the CPU) train, evaluate and save exactly like one with the same global batch, however they
share the model out."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from conftest import make_base
from filelock import FileLock
from forked_python import forked_python
from safetensors.torch import load_file
from train_and_evaluate import RUNS
from training import make_tokenizer

ROOT = Path(__file__).resolve().parents[2]
STRATEGIES = {"ddp": "cpu.yaml", "zero1": "zero1.yaml", "zero2": "zero2.yaml", "zero3": "zero3.yaml", "fsdp2": "fsdp2.yaml"}
SHARDED = ("zero3", "fsdp2")
UNEVEN = [name for name, run in RUNS.items() if run.get("rows") == 2]
pytestmark = pytest.mark.distributed


def launch(words: list, *script) -> None:
    """Run a script with the words of a launcher."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    command = [forked_python(), *words, *map(str, script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory):
    """Return a function from a strategy, or "one" for a single process, to the folder of its runs; each is launched once."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # all workers of this session

    def folder_of(strategy: str) -> Path:
        folder, done = root / "runs" / strategy, root / f"{strategy}.done"
        with FileLock(root / "base.lock"):
            if not (root / "base").exists():
                make_base(vocab_size=len(make_tokenizer()), dtype=torch.float32).save_pretrained(root / "base")
        with FileLock(root / f"{strategy}.lock"):
            if not done.exists():
                assert not folder.exists(), f"the runs of {strategy} have failed before"
                folder.mkdir(parents=True)
                words = []
                if strategy != "one":
                    words = ["-m", "accelerate.commands.launch", "--num_processes", "2", "--main_process_port", "0"]
                    words += ["--config_file", str(ROOT / "accelerate_configs" / STRATEGIES[strategy])]
                launch(words, Path(__file__).with_name("train_and_evaluate.py"), root / "base", folder)
                done.touch()
        return folder

    return folder_of


@pytest.fixture
def records(folder_of, strategy) -> tuple[dict, dict]:
    """Return what one process and what two processes wrote down."""
    return tuple(json.loads((folder_of(name) / "record.json").read_text()) for name in ("one", strategy))


def timeless(history: list[dict]) -> list[dict]:
    """Return a history without what a clock says."""
    entries = [entry for entry in history if "train_runtime" not in entry]
    return [{name: value for name, value in entry.items() if "seconds" not in name} for entry in entries]


def trained(record: dict) -> list[str]:
    """Return the names of the runs that a strategy did not refuse."""
    return [name for name in RUNS if name not in record["refused"]]


strategies = pytest.mark.parametrize("strategy", STRATEGIES)


@strategies
def test_histories(records, strategy):
    """Losses, gradient norms, stages and the metrics of every evaluation are the same; bf16 rounds."""
    one, two = records
    for name in trained(two):
        close = {"rel": 0.05, "abs": 0.02} if name == "bf16" else {"rel": 1e-5, "abs": 1e-7}
        for key in (name, f"{name}, one problem"):
            first, second = timeless(one[key]), timeless(two[key])
            assert len(first) == len(second), key
            for before, after in zip(first, second, strict=True):
                assert after == pytest.approx(before, **close), key


@strategies
def test_what_was_compared(records, strategy):
    """Two processes of the strategy; stages changed, answers were generated, and gradients were not zero."""
    one, two = records
    assert (one["processes"], two["processes"]) == (1, 2)
    assert two["strategy"] == {"ddp": "MULTI_CPU", "fsdp2": "FSDP"}.get(strategy, "DEEPSPEED")
    for name in trained(two):
        history = two[name]
        assert name in ("bf16", "compression") or len({entry["stage"] for entry in history}) > 1, name
        assert {entry["eval_problems"] for entry in history if "eval_loss" in entry} == {7}, name
        assert all(entry["grad_norm"] > 1e-3 for entry in history if "loss" in entry), name
        assert two[f"{name}, one problem"][0]["eval_problems"] == 1


@strategies
def test_what_is_refused(records, strategy):
    """One line each: resetting the optimizer of DeepSpeed, and training single rows of an embedding that is shared out."""
    expected = {"reset"} if strategy.startswith("zero") else set()
    expected |= {"adapters and rows"} if strategy in SHARDED else set()
    assert records[0]["refused"] == {}
    assert set(records[1]["refused"]) == expected
    for name, line in records[1]["refused"].items():
        assert "\n" not in line
        assert {"reset": "reset_optimizer=never", "adapters and rows": "zero2.yaml"}[name] in line


@strategies
def test_passes_differed(records, strategy):
    """Ranks needed different numbers of passes where parameters are shared out; elsewhere nobody counts them."""
    for name in trained(records[1]):
        first, second = records[1]["passes"][name]
        assert len(first) == len(second)
        if strategy not in SHARDED:
            assert not first
        elif name in UNEVEN:
            assert first != second, name


@strategies
def test_written(records, strategy):
    """Processes write texts of different length after different numbers of latents."""
    one, two = (record["written"] for record in records)
    for name in trained(records[1]):
        assert [len(tokens) for tokens in two[name]] == [2, 5], name
        assert name == "bf16" or one[name] == two[name], name


@strategies
def test_resumed_in_the_middle_of_an_epoch(records, strategy):
    for record in records:
        assert timeless(record["resumed"]) == timeless(record["epochs"])


@strategies
def test_saved_models(folder_of, records, strategy):
    """Every strategy saves whole weights under the same names, of which the trained ones have moved.

    Adam makes steps of rounding errors where the gradient is zero, as that of a key's bias is.
    """
    one, two = folder_of("one"), folder_of(strategy)
    base = load_file(one.parent.parent / "base" / "model.safetensors")
    for name in trained(records[1]):
        if name == "bf16":
            continue
        (file,) = (path.name for path in (one / name).glob("*.safetensors"))
        first, second = load_file(one / name / file), load_file(two / name / file)
        assert first.keys() == second.keys(), name
        for key, weight in first.items():
            torch.testing.assert_close(
                second[key], weight, rtol=1e-3, atol=1e-3, msg=lambda text, at=(name, key): f"{at} {text}"
            )
        if file == "model.safetensors":
            assert any(not torch.equal(weight, base[key.removeprefix("base.")]) for key, weight in first.items())
        config, other = (json.loads((path / name / "config.json").read_text()) for path in (one, two))
        tried = other.pop("base_form")  # where the base's weights are never whole, it is tried when the model is next loaded
        assert tried in (config.pop("base_form"), None) and (tried or strategy == "zero3"), name
        assert config == other, name


def test_evaluation_of_a_saved_model(folder_of):
    one, two = (json.loads((folder_of(name) / "evaluation.json").read_text()) for name in ("one", "ddp"))
    assert one["problems"] == 7
    for name in ("accuracy", "accuracy_stderr", "tokens_written", "latents", "problems", "data_hash"):
        assert one[name] == two[name], name
