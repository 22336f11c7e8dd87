"""The benchmarks of speed run from start to end on a tiny shape, and write what their tables read."""

import json
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RUNS = {
    "training": (
        ("--batch", "2", "--question", "20", "--steps", "Coconut, 6 latents"),
        "training-tiny-batch2",
        "training",
    ),
    "decoding": (("--batches", "1", "2"), "decoding-tiny", "decoding"),
    "scaling": (
        ("--axes", "latents", "layers", "--batch", "2", "--latents", *"0124", "--layers", *"1234"),
        "scaling-tiny",
        "growth",
    ),
    "bound": (("--batches", "2", "--question", "20"), "bound-tiny", "bound"),
    "parts": (("--batch", "2", "--question", "20"), "parts-tiny", "parts"),
}


@pytest.fixture
def program(monkeypatch):
    """Return what runs a benchmark with arguments in this process."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import common

    def run(name: str, *words: str):
        monkeypatch.setattr(common, "keep_freed_memory", lambda: None)  # it would stay so for all tests after this one
        monkeypatch.setattr(sys, "argv", [f"{name}.py", "--shape", "tiny", *words])
        # by its path: another test's helper may have the same name and be imported already
        runpy.run_path(str(ROOT / "benchmarks" / f"{name}.py"), run_name="__main__")

    return run


@pytest.mark.parametrize("name", RUNS)
def test_from_start_to_end(program, name, tmp_path):
    words, record, table = RUNS[name]
    program(name, *words, "--rounds", "1", "--results", str(tmp_path))
    written = json.loads((tmp_path / f"{record}.json").read_text())
    assert written["config"]["shape"] == "tiny"
    assert "results" not in written["config"]
    import speed_tables

    text = getattr(speed_tables, table)(written)
    assert all(name in text for name in written["rows"] if written["rows"][name].get("seconds"))
    assert f"python benchmarks/{name}.py" in text


def test_one_step_measured_again(program, tmp_path):
    """It takes the place of what the record said of it; steps that were not asked for stay."""
    path = tmp_path / "training-tiny.json"
    row = {"seconds": 0, "ratio": 0, "ratio_low": 0, "ratio_high": 0}
    words = ("training", "--rounds", "1", "--results", str(tmp_path), "--steps", "Coconut, 6 latents")
    path.write_text(json.dumps({"rows": {"Coconut, 6 latents": row, "another step": row}, "config": {"rounds": 9}}))
    program(*words)
    written = json.loads(path.read_text())
    assert written["rows"]["Coconut, 6 latents"]["seconds"] > 0
    assert written["rows"]["Coconut, 6 latents"]["rounds"] == 1
    assert written["rows"]["another step"] == row
    assert written["config"]["rounds"] == 9


def test_both_yardsticks(program, tmp_path):
    program("decoding", "--batches", "2", "--rounds", "1", "--results", str(tmp_path))
    rows = json.loads((tmp_path / "decoding-tiny.json").read_text())["rows"]
    ours = rows["6 latents, batch 2"]
    for yardstick, label in (("plain, as many passes", "over_passes"), ("plain, 30 tokens of steps", "over_steps")):
        assert ours[label] == pytest.approx(ours["seconds"] / rows[f"{yardstick}, batch 2"]["seconds"])


def test_published_code_that_is_not_there(program, tmp_path, capsys):
    with pytest.raises(SystemExit):
        program("peers", str(tmp_path), "--results", str(tmp_path))
    assert "clone the published repositories there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("decoding", "--batches", "0"), "'0' is not a number of at least 1"),
        (("bound", "--rounds", "none"), "'none' is not a number of at least 1"),
        (("grading", "--rounds", "3"), "unrecognized arguments: --rounds 3"),
        (("scaling", "--layers", "2", "4"), "add layers to --axes"),
        (("scaling", "--axes", "latents", "--latents", "4"), "give two or more different numbers"),
        (("parts", "--steps", "Cocnut"), "no step is called 'Cocnut'"),
    ],
)
def test_nonsense_is_refused_in_a_line(program, capsys, words, said):
    with pytest.raises(SystemExit):
        program(*words)
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_quartiles_of_two_rounds_lie_between_them(program):
    import common

    assert common.spread([1.0, 3.0]) == {"ratio": 2.0, "ratio_low": 1.5, "ratio_high": 2.5}


def test_a_straight_line_has_no_bend(program):
    import scaling

    points = [1, 2, 4, 8, 16]
    assert scaling.bend(points, [3.0 + 2 * point for point in points]) == pytest.approx(0, abs=1e-9)
    assert scaling.bend(points, [float(point**2) for point in points]) == pytest.approx(1)
    assert scaling.line(points, [3.0 + 2 * point for point in points]) == pytest.approx((2, 0))
