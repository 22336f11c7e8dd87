"""The demonstration: a few steps of it in the ordinary tests, all of it and its claims in `make test-slow`."""

import json

import pytest

from latent_trainer.cli import main
from latent_trainer.cli.demo import METHODS, TEST_PROBLEMS


def run_demo(folder, capfd, *options: str) -> tuple[dict, str]:
    """Run the demonstration into ``folder``; return its record and what it printed."""
    main("demo", ["--output", str(folder / "results" / "demo.json"), "--runs", str(folder / "runs"), *options])
    record = json.loads((folder / "results" / "demo.json").read_text())
    assert (folder / "results" / "demo.png").stat().st_size > 10_000
    assert all((folder / "runs" / method / "model.safetensors").is_file() for method in METHODS)
    return record, capfd.readouterr().out


def test_demo_from_end_to_end(tmp_path, capfd):
    """Four models, a table, a figure and a record that says what was measured and with what."""
    record, printed = run_demo(tmp_path, capfd, "--max_steps", "2")
    assert set(record["methods"]) == {"latent", "pause", "no_cot", "cot"}
    for row in record["methods"].values():
        assert row["problems"] == TEST_PROBLEMS >= 500
        assert 0 <= row["accuracy"] <= 1
        assert row["accuracy_stderr"] == pytest.approx((row["accuracy"] * (1 - row["accuracy"]) / TEST_PROBLEMS) ** 0.5)
    assert record["methods"]["latent"]["latents"] == record["methods"]["pause"]["latents"]
    assert {"seconds", "config", "versions", "git_commit", "data_hash", "device"} <= set(record)
    assert record["config"]["seed"] == 0
    assert record["config"]["split"] == "test"
    audited = json.loads((tmp_path / "results" / "demo-audit.json").read_text())
    assert audited["problems"] == TEST_PROBLEMS and {"pause", "shuffle", "removed"} <= set(audited["arms"]["free"])
    assert "are the latents" in printed and not (tmp_path / "results" / "demo-audit.answers").exists()
    assert (tmp_path / "results" / "demo-audit.html").stat().st_size > 10_000
    for title in METHODS.values():
        assert title.split()[0] in printed


@pytest.mark.slow
def test_demo_claims(tmp_path, capfd):
    """In full: latents solve at least 90 % of the test problems, no-CoT at most 40 %, in under ten minutes."""
    record, printed = run_demo(tmp_path, capfd)
    accuracy = {name: row["accuracy"] for name, row in record["methods"].items()}
    assert accuracy["latent"] >= 0.9
    assert accuracy["no_cot"] <= 0.4
    assert accuracy["cot"] >= 0.9
    assert record["seconds"] < 600
    assert printed.count("written step it replaces") == 3
    audited = json.loads((tmp_path / "results" / "demo-audit.json").read_text())
    found = {name: one["verdict"] for name, one in audited["verdicts"].items()}
    assert found == {"necessary": "no", "specific": "yes", "sufficient": "yes", "needed given a forced answer": "yes"}
    assert audited["seconds"] < 180  # on two cores, every part
