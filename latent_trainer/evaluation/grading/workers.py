"""The processes in which math-verify works: started when first needed, reused, killed when late, replaced when gone.

A formula a model wrote may make a parser run for hours or take all memory; no thread of this process can stop that, another
process can be killed. At most `WORKERS` of them run for one process; any thread may ask, and waits for a free one. A forked
process starts its own. A worker is itself two processes, so that one that runs out of time costs no new start.
"""

import atexit
import contextlib
import json
import logging
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path

WORKERS = 2
SECONDS_PER_PAIR = 10.0  # by the clock, for a machine that does other work; the limit of processor time is the worker's own
SECONDS_TO_START = 60.0  # a second on a machine at rest
# by path and not by name, which would import the whole library with torch; modules are found where this process finds them
LAUNCH = "import runpy, sys; _, program, *sys.path = sys.argv; runpy.run_path(program, run_name='__main__')"
PROGRAM = Path(__file__).with_name("verify_worker.py")

logger = logging.getLogger(__name__)


class WorkerError(Exception):
    """No worker could be asked; this says nothing about the formulas."""


class _Worker:
    """One process, spoken to in lines of JSON."""

    def __init__(self):
        pipe = subprocess.PIPE
        command = [sys.executable, "-I", "-c", LAUNCH, str(PROGRAM), *(entry or os.getcwd() for entry in sys.path)]
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, encoding="ascii"
        )
        try:
            ready, _ = self._read(SECONDS_TO_START)
        except BaseException:
            self.stop()
            raise
        if not ready:
            self.stop()
            raise WorkerError(f"the grading process did not start; '{sys.executable} {PROGRAM}' shows why")

    def _read(self, seconds: float) -> tuple[str, bool]:
        """Return the next line, empty where the process ended, and whether it was killed for being late."""
        late = threading.Event()

        def kill():
            late.set()
            self.process.kill()

        timer = threading.Timer(seconds, kill)
        timer.daemon = True
        timer.start()
        try:
            return self.process.stdout.readline(), late.is_set()
        finally:
            timer.cancel()

    def ask(self, one: str, other: str) -> bool | None:
        """Return the verdict, False where it took too long, None where the process has gone."""
        try:
            self.process.stdin.write(json.dumps([one, other]) + "\n")
            self.process.stdin.flush()
        except (OSError, ValueError):  # the process has gone, or its pipe was closed with it
            return None
        line, late = self._read(SECONDS_PER_PAIR)
        if line:
            return json.loads(line)
        return False if late else None

    def stop(self) -> None:
        """End the process and take its exit status, so that it does not stay behind as a zombie."""
        self.process.kill()
        self.process.wait()
        self.forget()

    def forget(self) -> None:
        """Close this end of the pipes."""
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):  # unsent text, and nobody left to read it
                pipe.close()


class _Pool:
    """At most `WORKERS` processes; the one used last is used first, so that one thread needs one process."""

    def __init__(self):
        self.running: list[_Worker] = []
        self.free: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        for _ in range(WORKERS):
            self.free.put(None)

    def ask(self, one: str, other: str) -> bool:
        worker = self.free.get()
        try:
            for _ in range(2):  # a worker may have been killed since it was last used
                worker = worker or self._start()
                verdict = None
                try:
                    verdict = worker.ask(one, other)
                finally:  # after an interrupt a reply is still on its way: never use that worker again
                    if verdict is None or worker.process.poll() is not None:
                        worker = self._end(worker)
                if verdict is not None:
                    return verdict
            raise WorkerError("the grading process ended twice on the same pair")
        finally:
            self.free.put(worker)

    def _start(self) -> _Worker:
        worker = _Worker()
        self.running.append(worker)
        return worker

    def _end(self, worker: _Worker) -> None:
        with contextlib.suppress(ValueError):  # a thread may still be asking while the program ends
            self.running.remove(worker)
        worker.stop()

    def close(self) -> None:
        for worker in list(self.running):
            self._end(worker)


_pool = _Pool()


def ask(one: str, other: str) -> bool:
    """Return whether two LaTeX formulas are equal, judged by math-verify in another process within `SECONDS_PER_PAIR`.

    Args:
        one, other: LaTeX within the limits of `latent_trainer.evaluation.grading.gate.judgeable`.

    Raises:
        WorkerError: no process could be started, or it was ended from outside twice.
    """
    try:
        return _pool.ask(one, other)
    except OSError as error:  # no memory or no process left for another worker
        raise WorkerError(str(error)) from error


def running() -> list[int]:
    """Return the process ids of the workers of this process."""
    return [worker.process.pid for worker in _pool.running]


def _start_afresh() -> None:
    """Let go of the parent's workers in a forked child: their replies belong to the parent."""
    global _pool
    for worker in _pool.running:
        worker.process.returncode = 0
        worker.forget()
    _pool = _Pool()


def close() -> None:
    """End the workers of this process; the next question starts one again."""
    _pool.close()


atexit.register(close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh)
