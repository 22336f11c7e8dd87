"""The tests' own way of starting programs is like Python's: words, environment, output, exit status and signals."""

import os
import signal
import subprocess
import sys
import time

import pytest
from forked_python import forked_python

PROGRAM = """
import os, sys
print(sys.argv[1:], os.getcwd(), os.environ["WORD"], __name__, sys.stdin.read())
print("error", file=sys.stderr)
sys.exit(7)
"""


@pytest.mark.parametrize("kind", ["-c", "script", "-u"])
def test_a_program(tmp_path, kind):
    (tmp_path / "program.py").write_text(PROGRAM)
    words = {"-c": ["-c", PROGRAM], "script": ["program.py"], "-u": ["-u", "program.py"]}[kind]
    settings = {"cwd": tmp_path, "env": {**os.environ, "WORD": "w"}, "input": "in", "capture_output": True, "text": True}
    found, expected = (
        subprocess.run([python, *words, "a", "b c"], check=False, **settings) for python in (forked_python(), sys.executable)
    )
    assert (found.returncode, found.stdout, found.stderr) == (expected.returncode, expected.stdout, expected.stderr)
    assert found.returncode == 7


def test_an_error():
    done = subprocess.run([forked_python(), "-c", "raise KeyError(3)"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.endswith("KeyError: 3\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL, signal.SIGABRT])
def test_signals(tmp_path, number):
    """The executable ends as the program does, and the program does not outlive it."""
    heard = "signal.signal(signal.SIGINT, signal.default_int_handler)"  # also where the suite runs in the background
    place = str(tmp_path / "pid")
    program = f"import os, signal, time; {heard}; open({place!r}, 'w').write(str(os.getpid())); time.sleep(100)"
    if number == signal.SIGABRT:  # one that the program sends itself
        program = program.replace("time.sleep(100)", "os.abort()")
    process = subprocess.Popen([forked_python(), "-c", program], stderr=subprocess.DEVNULL)
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert process.poll() is None
        time.sleep(0.01)
    forked = int((tmp_path / "pid").read_text())
    assert forked != process.pid
    if number != signal.SIGABRT:
        process.send_signal(number)
    assert process.wait(60) == -number
    deadline = time.monotonic() + 60
    while os.path.exists(f"/proc/{forked}"):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_a_program_starts(tmp_path):
    """What it starts with its own interpreter is forked, too; processes of multiprocessing get the files they need."""
    (tmp_path / "program.py").write_text(
        "import multiprocessing, subprocess, sys\n"
        "if __name__ == '__main__':\n"
        "    words = [sys.executable, '-c', \"import sys; print('torch' in sys.modules)\"]\n"
        "    print(subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip())\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        print(pool.map(abs, [-3]))\n"
    )
    words = [forked_python(), str(tmp_path / "program.py")]
    environment = {**os.environ, "FORK_CHILDREN": "1"}
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "True\n[3]\n"
