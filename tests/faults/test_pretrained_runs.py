"""`benchmarks/pretrained.py` on a tiny model: stopped, it goes on where it was; its record says what the runs say."""

import json
import os
import signal
import subprocess

import pytest
import yaml
from forked_python import forked_python
from processes import RECIPE, ROOT, finish, wait_for, write_recipe

METHODS = {
    "no-cot": {"method": "no_cot"},
    "coconut": {
        "method": "coconut",
        "model_name_or_path": "runs/tiny/words-no-cot",
        "max_stage": 2,
        "first_stage": 1,
        "last_stage": 2,
        "steps_per_stage": [6],
    },
}
SHARED = {
    "dataset_options": {"size": 60, "operations": 2},
    "max_steps": 12,
    "eval_strategy": "steps",
    "eval_steps": 6,
    "max_eval_problems": 8,
    "max_new_tokens": 8,
}


@pytest.fixture
def recipes(tmp_path):
    """Return a folder with a recipe a method; the latent one starts from what the other has come to."""
    base = yaml.safe_load(write_recipe(tmp_path).read_text())["model_name_or_path"]
    settings = {name: value for name, value in RECIPE.items() if name != "steps_per_stage"}
    (tmp_path / "recipes").mkdir()
    for name, own in METHODS.items():
        recipe = {**settings, "model_name_or_path": base, **SHARED, **own}
        (tmp_path / "recipes" / f"words-{name}.yaml").write_text(yaml.safe_dump(recipe))
    return tmp_path / "recipes"


def start(recipes, seed):
    """Start the benchmark on all recipes, in a folder of its own."""
    words = ["words", "--seeds", str(seed), "--recipes", str(recipes), "--runs", "runs", "--results", "results"]
    words += ["--problems", "12", "--control_problems", "6"]
    return subprocess.Popen(
        [forked_python(), str(ROOT / "benchmarks" / "pretrained.py"), *words],
        cwd=recipes.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1", "FORK_CHILDREN": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def test_stopped_benchmark_goes_on(recipes):
    """The run in progress goes on from its checkpoint, finished ones are not repeated, and the record holds them all."""
    place = recipes.parent / "runs" / "words"
    stopped = start(recipes, 3)
    wait_for(lambda: list((place / "coconut-3").glob("checkpoint-*/trainer_state.json")), stopped)
    stopped.send_signal(signal.SIGTERM)
    status, printed = finish(stopped)
    assert status == 128 + signal.SIGTERM, printed[-2000:]
    done = {path: path.read_bytes() for path in (place / "records").glob("*-3.json")}
    assert {path.stem for path in done} == {"no-cot-3"}
    assert set(json.loads((recipes.parent / "results" / "words.json").read_text())["rows"]) == {"no-cot-3"}

    status, printed = finish(start(recipes, 3))
    assert status == 0, printed[-2000:]
    begun = [line for line in printed.splitlines() if line.endswith(" of words")]
    assert begun == ["coconut-3 of words", "controls of coconut-3 of words"]
    assert all(path.read_bytes() == before for path, before in done.items())
    record = json.loads((recipes.parent / "results" / "words.json").read_text())
    row = record["rows"]["coconut-3"]
    assert [(point["step"], point["stage"]) for point in row["curve"]] == [(6, 1), (12, 2)]
    assert [step for step, _ in row["loss"]] == list(range(1, 13))
    assert row["problems"] == 12 and row["latents"] == 4 and row["steps"] == 12 and row["seconds_a_step"] > 0
    assert set(row["controls"]) == {"zero", "noise", "shuffle", "frozen"}
    assert "controls" not in record["rows"]["no-cot-3"]
    answers = [
        [json.loads(line)["correct"] for line in path.read_text().splitlines()[1:]]
        for path in ((place / "records" / f"{name}-3.answers" / "intact.jsonl") for name in ("coconut", "no-cot"))
    ]
    test = next(test for test in record["tests"] if test["run"] == "coconut-3")
    assert test["baseline"] == "no-cot-3" and test["problems"] == 12
    assert test["only_first"] == sum(one and not other for one, other in zip(*answers, strict=True))
    assert test["difference"] == pytest.approx((sum(answers[0]) - sum(answers[1])) / 12)
    assert not list(place.glob("*/checkpoint-*"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["frob"], "task 'frob' has no recipe"),
        (["stories", "--methods", "cot", "pause"], "cot, pause of stories has no recipe"),
    ],
    ids=["task", "methods"],
)
def test_a_run_that_has_no_recipe(tmp_path, words, says):
    """Nothing is skipped without a word, and no empty record is written."""
    (tmp_path / "stories-no-cot.yaml").write_text("")
    script = [
        "benchmarks/pretrained.py",
        *words,
        "--recipes",
        tmp_path,
        "--runs",
        tmp_path / "runs",
        "--results",
        tmp_path / "out",
    ]
    done = subprocess.run([forked_python(), *map(str, script)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and says in done.stderr
    assert not (tmp_path / "out").exists() and not (tmp_path / "runs").exists()
