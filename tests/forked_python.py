"""A Python whose programs start at once: each is forked from a server that has read the imports.

Importing the library takes seconds of processor time, and a test of two processes under a launcher would pay them three
times. What is forked is a process like any other: it has its own session, environment, folder and exit status, runs ``-m
module``, ``-c code`` or a script as ``__main__``, and ends through the interpreter's own end. The executable that a test
calls stands for it, with a process number of its own: a signal that it gets goes on to the program, and when it is killed
the program is killed too.
"""

import contextlib
import functools
import gc
import importlib
import json
import os
import random
import runpy
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

MODULES = (
    "accelerate.commands.launch",
    "deepspeed",
    "latent_trainer",
    "latent_trainer.cli.evaluate",
    "latent_trainer.cli.generate",
    "latent_trainer.cli.push",
    "latent_trainer.cli.sweep",
    "latent_trainer.cli.train",
    "multiprocessing.spawn",  # which hands open files on, so that it stays with the interpreter that it finds here
    "scipy.stats",
    "submitit.core._submit",
)
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
PROGRAM = Path(__file__).resolve()
SERVERS: list[subprocess.Popen] = []


@functools.cache
def forked_python() -> str:
    """Return the executable; the first call of a process starts the server, which ends with that process.

    Programs find the library and have one thread.
    """
    folder = Path(tempfile.mkdtemp(prefix="forked-"))  # a socket's path must be short
    executable = folder / "python"
    words = [sys.executable, "-IS", str(PROGRAM), str(folder / "socket"), sys.executable]
    executable.write_text("#!/bin/sh\nexec " + " ".join(f"'{word}'" for word in words) + ' "$@"\n')
    executable.chmod(0o755)
    path = os.pathsep.join([str(PROGRAM.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    server = subprocess.Popen(
        [sys.executable, str(PROGRAM), "--serve", str(folder / "socket"), str(executable)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "PYTHONPATH": path},
    )
    if server.stdout.readline() != b"ready\n":
        raise RuntimeError("the server of forked programs did not start; its last lines say why")
    SERVERS.append(server)  # its input stays open as long as this process runs
    return str(executable)


# ---- the executable ----


def call(place: str, python: str, words: list[str]) -> None:
    """Have a program run by the server, stand for it while it runs, and end as it ends."""
    if not words or (words[0].startswith("-") and words[0] not in ("-u", "-m", "-c")):
        os.execv(python, [python, *words])  # an interpreter with options of its own starts by itself
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(place)
    asked = json.dumps({"words": words, "environment": dict(os.environ), "folder": os.getcwd()}).encode()
    socket.send_fds(connection, [b"%20d" % len(asked)], [0, 1, 2])
    connection.sendall(asked)
    replies = connection.makefile("r")
    program = int(replies.readline())
    for number in PASSED_ON:
        signal.signal(number, lambda number, frame: os.kill(program, number))
    ended = int(replies.readline() or -signal.SIGKILL)
    if ended < 0:
        with contextlib.suppress(OSError):  # SIGKILL has no handler
            signal.signal(-ended, signal.SIG_DFL)
        os.kill(os.getpid(), -ended)
    os._exit(ended)


# ---- the server ----


def serve(place: str) -> tuple[dict, list[int]] | None:
    """Fork whenever asked to, until this process's own input ends; in a fork, return what it is to run and its files."""
    for name in MODULES:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(place)
    listener.listen()
    awake, wake = socket.socketpair()
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno())
    signal.signal(signal.SIGCHLD, lambda *args: None)
    running: dict[int, socket.socket] = {}
    selector = selectors.DefaultSelector()
    for source in (listener, awake, sys.stdin):
        selector.register(source, selectors.EVENT_READ)
    os.write(1, b"ready\n")
    while True:
        for key, _ in selector.select():
            if key.fileobj is sys.stdin:
                for program in running:
                    os.kill(program, signal.SIGKILL)
                shutil.rmtree(Path(place).parent)
                return None
            if key.fileobj is awake:
                awake.recv(4096)
                _tell_ends(running, selector)
            elif key.fileobj is listener:
                connection, _ = listener.accept()
                asked, standard = _read(connection)
                program = os.fork()
                if not program:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    selector.close()
                    for one in (listener, awake, wake, connection, *running.values()):
                        one.close()
                    return asked, standard
                for one in standard:
                    os.close(one)
                running[program] = connection
                selector.register(connection, selectors.EVENT_READ, program)
                _tell(connection, program)
            elif key.fileobj in selector.get_map():  # the executable has gone: whoever killed it meant the program
                selector.unregister(key.fileobj)
                os.kill(key.data, signal.SIGKILL)


def _read(connection: socket.socket) -> tuple[dict, list[int]]:
    """Return what a program is, and its input, output and error output."""
    length, standard, _, _ = socket.recv_fds(connection, 20, 3)
    asked = b""
    while len(asked) < int(length):
        asked += connection.recv(int(length) - len(asked))
    return json.loads(asked), standard


def _tell(connection: socket.socket, number: int) -> None:
    with contextlib.suppress(OSError):  # the executable may have gone
        connection.sendall(b"%d\n" % number)


def _tell_ends(running: dict[int, socket.socket], selector: selectors.BaseSelector) -> None:
    """Tell the executables of programs that have ended how they ended."""
    for program in list(running):
        ended, status = os.waitpid(program, os.WNOHANG)
        if ended:
            connection = running.pop(program)
            if connection in selector.get_map():
                selector.unregister(connection)
            _tell(connection, os.waitstatus_to_exitcode(status))
            connection.close()


def become(executable: str, asked: dict, standard: list[int]) -> None:
    """Run a program in this process, a fork of the server; what torch's launcher starts in it is forked too.

    So is what it starts with its own interpreter where the variable ``FORK_CHILDREN`` is set. Jobs of a sweep, which outlive
    what has started them, must not be.
    """
    os.setsid()
    if "FORK_CHILDREN" in asked["environment"]:
        sys.executable = executable
    for number, one in enumerate(standard):
        os.dup2(one, number)
        os.close(one)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"] | {"PYTHON_EXEC": executable})  # read by the launcher
    random.seed()
    words = asked["words"]
    if words[0] == "-u":
        words = words[1:]
        sys.stdout.reconfigure(write_through=True)
    kind, program, rest = (words[0], words[1], words[2:]) if words[0] in ("-m", "-c") else ("", words[0], words[1:])
    first = os.getcwd() if kind else str(Path(program).resolve().parent)
    sys.path[0:1] = [first, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = [kind or program, *rest]
    if kind == "-m":
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    elif kind == "-c":
        exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})
    else:
        runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        job = serve(sys.argv[2])
        if job is not None:
            become(sys.argv[3], *job)
    else:
        call(sys.argv[1], sys.argv[2], sys.argv[3:])
