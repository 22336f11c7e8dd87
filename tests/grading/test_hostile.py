"""What a model may write, however large or malformed: grading stays quick and small, and never raises or runs it."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import latent_trainer.evaluation
from latent_trainer.evaluation import answers
from latent_trainer.evaluation.answers import is_equivalent
from latent_trainer.evaluation.grading import comparison

sys.path.insert(0, str(Path(__file__).parent))
from hostile_kinds import KINDS
from hostile_outputs import hostile_answers, pairs, work

FOLDER = Path(latent_trainer.evaluation.__file__).parent
SECONDS = 30  # for a thousand answers
WORST = 1.0
BYTES = 2 * 10**9


def test_hostile_answers_are_compared_within_the_budget_in_either_order():
    texts = hostile_answers(len(KINDS))
    assert len(KINDS) > 100
    spent = [work(prediction, reference) for prediction, reference in pairs(texts)[::4]]
    assert max(spent) <= comparison.UNITS_OF_WORK + 1
    assert sum(units > comparison.UNITS_OF_WORK for units in spent) < len(spent) / 50
    assert sum(spent) / len(spent) < comparison.UNITS_OF_WORK / 20
    for prediction, reference in pairs(texts)[::10]:
        assert is_equivalent(prediction, reference) is is_equivalent(reference, prediction)


@pytest.mark.parametrize(
    "text", ["$" * 1000, "(" * 1000, "\\" * 999, "\ud800" * 99, "\x00" * 999, "9" * 5000, "√" * 999, "-" * 999]
)
def test_repeated_marks_equal_their_copy_only(text):
    assert is_equivalent(text, text)
    assert not is_equivalent(text, "5")
    assert not is_equivalent("5", text)


def test_a_limit_on_digits_set_lower_changes_nothing_but_the_verdict():
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        assert not is_equivalent("9" * 700, "9" * 699 + "8")
        assert not is_equivalent("9" * 390 + "!", "5")
    finally:
        sys.set_int_max_str_digits(limit)


def test_threads_grade_alike():
    answers._verdict.cache_clear()
    wrong = []

    def grade(thread):
        for number in range(12):
            if not is_equivalent(rf"{thread}n+{number}n+\sqrt{{8}}", rf"{thread + number}n+2\sqrt{{2}}"):
                wrong.append((thread, number))
            if is_equivalent(f"{thread}n+{number}n+1", f"{thread + number}n+2"):
                wrong.append((thread, number, "slip"))

    threads = [threading.Thread(target=grade, args=(thread,)) for thread in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_no_text_is_run_as_code():
    files = [path for path in FOLDER.rglob("*.py") if path.name != "__init__.py"]
    assert len(files) >= 6
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert "eval(" not in text.replace("model.eval(", "") and "exec(" not in text, path


@pytest.mark.slow
def test_a_thousand_hostile_answers_stay_in_bounds():
    program = Path(__file__).with_name("hostile_outputs.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    compared, threads = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    print(compared, threads)
    assert compared["seconds"] < 8 * SECONDS  # each of the thousand against four others, in both orders, nothing remembered
    assert compared["worst"] < WORST
    assert threads["seconds"] < SECONDS
    assert threads["bytes"] < BYTES
