"""What a grading process may take: memory and processor time, tried in children of a process that has loaded the parser."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from latent_trainer.evaluation.grading import workers

linux = pytest.mark.skipif(not Path("/proc/self").exists(), reason="the limits are those of Linux")
PROGRAM = r"""
import io, json, os, resource, runpy, signal, sys, time

worker = runpy.run_path(sys.argv[1], run_name="worker")
ENDLESS = json.dumps([r"9^{9^{9^{9}}}<x", r"9^{9^{9^{8}}}<x"]) + "\n"


def ended(act):
    '''Return how a child ends that does something, and its processor seconds; at most five.'''
    child = os.fork()
    if child == 0:
        code = 1
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (5, 5))
            act()
            code = 0
        except MemoryError:
            code = 3
        finally:
            os._exit(code)
    _, status, used = os.wait4(child, 0)
    return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime


def take(mebibytes):
    worker["limit_memory"]()
    bytearray(mebibytes * 2**20)


def work():
    worker["_allow"](0.1)
    while True:
        pass


def wait():
    worker["_allow"](0.1)
    time.sleep(0.5)


def grade():
    worker["limit_memory"]()
    worker["serve"](io.StringIO(ENDLESS), io.StringIO())


found = {"take 64": ended(lambda: take(64)), "take 768": ended(lambda: take(768))}
print(json.dumps({**found, "work": ended(work), "wait": ended(wait), "grade": ended(grade)}))
"""


@pytest.fixture(scope="module")
def found() -> dict:
    """Return how each child ended, and the processor seconds it had."""
    words = [sys.executable, "-c", PROGRAM, str(workers.PROGRAM)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=300)
    return json.loads(done.stdout.splitlines()[-1])


@linux
def test_memory(found):
    """A little more is given, as much as the whole limit is not."""
    assert found["take 64"][0] == 0 and found["take 768"][0] == 3


@linux
def test_processor_time(found):
    """Work ends it; waiting, as on a machine that does other work, does not."""
    assert found["work"][0] == -signal.SIGPROF and found["wait"][0] == 0


@linux
def test_a_pair_has_a_third_of_a_second(found):
    code, seconds = found["grade"]
    assert code == -signal.SIGPROF and seconds < 1.0  # the limit is 0.3
