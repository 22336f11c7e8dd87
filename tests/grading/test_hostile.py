"""What a model may write, however large or malformed: grading stays quick and small, and never raises."""

import json
import os
import subprocess
import sys
from pathlib import Path

SECONDS = 30  # of processor time, which is the time it takes on an idle core
BYTES = 10**9


def test_a_thousand_hostile_outputs_stay_in_bounds_in_any_thread():
    program = Path(__file__).with_name("hostile_outputs.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, env=environment, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    figures = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"threads"')]
    assert [took["threads"] for took in figures] == [0, 1, 4]
    for took in figures:
        print(took)
        assert took["processor_seconds"] < SECONDS
        assert took["bytes"] < BYTES
        assert 1 <= took["workers"] <= 2
