"""A program that decides by math-verify whether two formulas are equal; `workers.py` runs this file by its path.

It imports neither torch nor this library. Each line it reads is a JSON list of two LaTeX formulas; each line it writes is
``true`` or ``false``. The parser is loaded once, by a process that reads no formula a model wrote. Its child does that under
limits of processor time and memory; when they end it, the next one is forked at once.
"""

import json
import logging
import os
import signal
import sys

from latex2sympy2_extended.math_normalization import NormalizationConfig
from math_verify import LatexExtractionConfig, parse, verify

AS_WRITTEN = NormalizationConfig(basic_latex=False, units=False, malformed_operators=False, nits=False, boxed="none")
READING = [LatexExtractionConfig(boxed_match_priority=-1, normalization_config=AS_WRITTEN)]
FIGURES = 12  # digits behind the point to which values that are not exact must agree

PROCESSOR_SECONDS = 0.3  # for one pair; an answer may take two
MEMORY_BYTES = 768 * 2**20
WARM_UP = r"\sum_{i=1}^{4} i", "10"


def limit_memory() -> None:
    """Bound this process's address space where the system can."""
    try:
        import resource
    except ImportError:  # Windows
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(MEMORY_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def are_equal(one: str, other: str) -> bool:
    """Return whether math-verify finds two formulas equal in both orders; it compares in one."""
    trees = [
        parse(f"${text}$", READING, "no_fallback", parsing_timeout=None, raise_on_error=True)[:1] for text in (one, other)
    ]
    if not all(trees):
        return False
    (left,), (right,) = trees
    return all(verify(*pair, float_rounding=FIGURES, timeout_seconds=None) for pair in ((left, right), (right, left)))


def _allow(seconds: float) -> None:
    """End this process by SIGPROF after so much processor time, which a busy machine does not shorten; 0 lifts the limit."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


def serve(requests, replies) -> None:
    """Answer requests until there are no more, or this process's parent was killed."""
    parent = os.getppid()
    while (line := requests.readline()) and os.getppid() == parent:
        one, other = json.loads(line)
        _allow(PROCESSOR_SECONDS)
        try:
            equal = bool(are_equal(one, other))
        except Exception:  # the parser meets text a model wrote: whatever it trips over, the formulas are not equal
            equal = False
        _allow(0)
        print(json.dumps(equal), file=replies, flush=True)


def serve_in_children(requests, replies) -> None:
    """Let a child answer; one that is ended in the middle of a pair has found it not equal, and another goes on."""
    if not hasattr(os, "fork"):  # Windows, where the limits do not exist either
        return serve(requests, replies)
    while True:
        child = os.fork()
        if child == 0:
            try:
                limit_memory()
                serve(requests, replies)
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            return None
        print("false", file=replies, flush=True)


def main() -> None:
    """Take the protocol's streams, compare one pair so that the parser has its tables, and serve."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's; this process ends with its standard input
    replies = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # the parser's libraries print warnings
    logging.disable()
    are_equal(*WARM_UP)
    print("true", file=replies, flush=True)
    serve_in_children(sys.stdin, replies)


if __name__ == "__main__":
    main()
