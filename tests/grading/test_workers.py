"""The processes math-verify works in: replaced when killed, safe from any thread and after a fork, gone at exit."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from latent_trainer.evaluation import answers
from latent_trainer.evaluation.answers import is_equivalent
from latent_trainer.evaluation.grading import gate, workers

FOLDER = Path(answers.__file__).parent
ENDLESS = r"9^{9^{9^{9}}}<x", r"9^{9^{9^{8}}}<x"  # past the gate, whose business this would be
linux = pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads /proc")


def test_a_killed_worker_is_replaced():
    assert workers.ask("n+n", "2n")
    before = workers.running()
    for worker in list(workers._pool.running):
        os.kill(worker.process.pid, signal.SIGKILL)
        worker.process.wait()
    assert workers.ask("n+n", "2n")
    assert set(workers.running()) - set(before)  # a free one that nobody has asked since is replaced when somebody does


def test_a_worker_that_is_late_is_killed_and_the_pair_not_equal(monkeypatch):
    assert workers.ask("k+k", "2k")
    before = set(workers.running())
    monkeypatch.setattr(workers, "SECONDS_PER_PAIR", 0.05)
    assert not workers.ask(*ENDLESS)
    monkeypatch.undo()
    assert workers.ask("k+k", "2k")
    assert set(workers.running()) != before


@linux
@pytest.mark.parametrize("pair", [ENDLESS, (r"\binom{99999999}{49999999}", "1")], ids=["power", "binomial"])
def test_a_pair_out_of_time_is_not_equal_and_costs_no_new_start(pair):
    assert workers.ask("k+k", "2k")
    before = workers.running()
    used = _processor_seconds(before[0])
    assert not workers.ask(*pair)
    assert workers.ask("k+k", "2k")
    assert workers.running() == before
    assert _processor_seconds(before[0]) - used < 2  # the limit, twice over for both pairs, and what forking costs


def _processor_seconds(process: int) -> float:
    """Return what the children of a process that have ended have used."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return sum(map(int, fields[13:15])) / os.sysconf("SC_CLK_TCK")


@linux
def test_a_worker_s_memory_is_bounded():
    assert workers.ask("k+k", "2k")
    (child,) = Path(f"/proc/{workers.running()[0]}/task/{workers.running()[0]}/children").read_text(encoding="ascii").split()
    limit = next(
        line for line in Path(f"/proc/{child}/limits").read_text(encoding="ascii").splitlines() if "address space" in line
    )
    assert 0 < int(limit.split()[3]) <= 2 * 2**30


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (r"\sum_{i=1}^{10} i^2", "385", True),
        (r"\sum_{i=1}^{10} i^2", "384", False),
        (r"\prod_{i=1}^{4} i", "24", True),
        (r"2 \cdot \sum_{k=0}^3 k^2 + 1", "29", True),
        (r"(0, 2) \setminus \{1\}", r"(0, 1) \cup (1, 2)", True),
        (r"(0, 2) \setminus \{1\}", "(0, 2)", False),
        (r"\mathbb{R} \setminus \{0\}", r"(-\infty, 0) \cup (0, \infty)", True),
        (r"\{1, 2\} \cup \{3\}", r"\{1, 2, 3\}", True),
        (r"\{1, 2\} \cup \{3\}", r"\{1, 2\}", False),
    ],
)
def test_what_is_more_than_arithmetic_is_judged_by_math_verify(one, other, equal):
    assert is_equivalent(one, other) is equal
    assert is_equivalent(other, one) is equal


@pytest.mark.parametrize(
    "text",
    [
        "A^T",
        r"\sum_{i=1}^{9999999} i",
        "5!!",
        r"\sum f(x)",
        r"\sum" * 20,
        r"\int_0^{9^{9^9}} x",
        r"\def\a{\a}",
        r"\sum_{i}^{2^{2^2}} i",
        r"\int_0^1 x dx",
        r"\lim_{x\to 0} x",
        r"\sum_{i=1}^{9} \sum_{k=1}^{9} i",
        "A^c",
    ],
)
def test_the_gate_keeps_out_what_is_read_otherwise_or_has_no_end(text):
    assert not gate.is_judgeable(text)


def test_threads_share_two_workers():
    answers._verdict.cache_clear()
    wrong = []

    def grade(thread):
        for number in range(12):
            total = rf"\sum_{{i={thread}}}^{{{thread + number}}} 1"
            if not is_equivalent(total, f"{number + 1}"):
                wrong.append((thread, number))
            if is_equivalent(total, f"{number + 2}"):
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
            right = workers.ask("k+k+1", "2k+1")
            code = int(not (right and workers.running() and not set(workers.running()) & set(mine)))
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
