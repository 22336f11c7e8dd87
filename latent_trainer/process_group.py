"""Leaving the group of processes before the interpreter ends."""

import atexit
import functools

from torch import distributed


@functools.cache
def leave_at_exit() -> None:
    """Have this process leave its group of processes while Python still runs; called wherever a group is joined.

    The threads of gloo, which connects processes on the CPU, let go of a collective's tensors a moment after it has ended,
    and need Python for it. Where the program has ended by then the process aborts (SIGABRT, exit -6 under a launcher), and
    a run in which nothing went wrong counts as failed. Leaving the group ends those threads. torch 2.13 and transformers
    5.23 leave that to the program (pytorch pull request 179291). Groups of GPUs are left as they are: the threads of NCCL
    hold nothing of Python's, and a process that has failed would wait there for the others.
    """
    atexit.register(_leave)


def _leave() -> None:
    if distributed.is_initialized() and distributed.get_backend() == distributed.Backend.GLOO:
        distributed.destroy_process_group()
