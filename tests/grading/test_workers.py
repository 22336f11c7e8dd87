"""The processes that compare formulas: replaced when killed, safe from any thread and after a fork, gone at exit."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from latent_trainer.evaluation import answers, workers
from latent_trainer.evaluation.answers import is_equivalent

FOLDER = Path(workers.__file__).parent
linux = pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads /proc")


def test_a_killed_worker_is_replaced():
    assert workers.ask("n+n", "2n")
    before = workers.running()
    for process in before:
        os.kill(process, signal.SIGKILL)
    assert workers.ask("n+n", "2n")
    assert set(workers.running()) - set(before)  # a free one that nobody has asked since is replaced when somebody does


def test_a_worker_that_is_late_is_killed_and_the_pair_not_equal(monkeypatch):
    assert workers.ask("k+k", "2k")
    before = set(workers.running())
    monkeypatch.setattr(workers, "SECONDS_PER_PAIR", 0.5)
    began = time.perf_counter()
    assert not workers.ask("9^{9^{9^{9}}}<x", "9^{9^{9^{8}}}<x")  # past the gate, whose business this would be
    assert time.perf_counter() - began < 3
    monkeypatch.undo()
    assert workers.ask("k+k", "2k")
    assert set(workers.running()) != before


def test_a_worker_that_ends_itself_gives_a_verdict():
    assert not workers.ask(r"\binom{99999999}{49999999}", "1")
    assert workers.ask("k+k", "2k")


def test_threads_share_two_workers():
    answers._verdict.cache_clear()
    wrong = []

    def grade(thread):
        for number in range(12):
            if not is_equivalent(f"{thread}n+{number}n+1", f"{thread + number}n+1"):
                wrong.append((thread, number))
            if is_equivalent(f"{thread}n+{number}n+1", f"{thread + number}n+2"):
                wrong.append((thread, number, "slip"))

    threads = [threading.Thread(target=grade, args=(thread,)) for thread in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(workers.running()) <= workers.WORKERS


@linux
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_starts_its_own():
    assert workers.ask("k+k", "2k")
    mine = workers.running()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = int(not (workers.ask("k+k+1", "2k+1") and not set(workers.running()) & set(mine)))
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert workers.running() == mine
    assert workers.ask("k+k", "2k")


@linux
def test_a_worker_is_small_and_knows_no_torch():
    assert workers.ask("k+k", "2k")
    status = Path(f"/proc/{workers.running()[0]}/status").read_text(encoding="ascii")
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))  # KiB
    assert resident < 300_000
    assert "torch" not in Path(f"/proc/{workers.running()[0]}/maps").read_text(encoding="utf-8")


@linux
def test_nothing_stays_behind_at_exit():
    program = (  # by path, which spares it the library's other imports
        "import runpy, sys; sys.path.insert(0, ''); "
        f"found = runpy.run_path({workers.__file__!r}); found['ask']('k+k', '2k'); print('workers', *found['running']())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    processes = done.stdout.split("workers ")[1].split()
    assert processes
    assert not [process for process in processes if Path(f"/proc/{process}").exists()]
    assert "Error" not in done.stderr


def test_no_text_is_run_as_code():
    files = [path for path in FOLDER.rglob("*.py") if path.name != "__init__.py"]
    assert len(files) >= 6
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert "eval(" not in text.replace("model.eval(", "") and "exec(" not in text, path
