"""Make the library wrong in one line, run the tests that should notice, and write down whether they do; `make mutations`.

Everything happens in a copy of the project. One process imports the libraries that take long to import, but not this one,
and forks a child for every mutation; a child whose tests fail, or take too long, has noticed. The same tests must pass in
the copy as it is. What was found stands in results/mutations.json and is not tried again before the mutation, its file or
the files of its tests change.
"""

import argparse
import hashlib
import importlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import astuple
from pathlib import Path

import pytest
import torch
from areas import AREAS
from mutation import ROOT, Mutation

RECORD = ROOT / "results" / "mutations.json"
HEAVY = (
    "accelerate",
    "datasets",
    "peft",
    "scipy.stats",
    "transformers.trainer",
    "transformers.models.gpt2.modeling_gpt2",
    "transformers.models.llama.modeling_llama",
    "transformers.models.qwen3.modeling_qwen3",
)
MOST_SURVIVORS = 2
LISTED = ("ls-files", "-z", "--cached", "--others", "--exclude-standard")  # with new files, without what is built
IMPORTED = "ignore:Module already imported:pytest.PytestAssertRewriteWarning"  # by this process, plugins of pytest among it
PYTEST = ("-q", "-x", "-p", "no:cacheprovider", "-W", IMPORTED)
FAILED = (1, 2)  # what pytest returns where a test, or the import of one, fails
BROKEN = 98  # a child has raised an error of its own
ELSEWHERE = 99  # a child has tested another copy of the library


class Copy:
    """A copy of the project, in which one child at a time runs tests.

    Args:
        folder: where it is made.
    """

    def __init__(self, folder: Path):
        self.scratch, self.project = folder, folder / "project"
        listed = subprocess.run(["git", *LISTED], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in filter(None, listed.split("\0")):
            (self.project / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, self.project / name)
        if (ROOT.parent / "shared").exists():  # what some tests read beside the project
            (folder / "shared").symlink_to(ROOT.parent / "shared")
        self.child: int | None = None

    def start(self, tests: str, mutation: Mutation | None) -> None:
        """Start the tests in a child, with the mutation in place."""
        self.mutation = mutation
        if mutation is not None:
            self.file, text = self.project / mutation.file, mutation.mutated(self.project)
            self.before = self.file.read_bytes()
            self.file.write_text(text, encoding="utf-8")
        self.began = time.monotonic()
        self.child = os.fork()
        if self.child == 0:
            code = None
            try:
                code = self._test(tests)
            finally:
                if code is None:  # what a child raises is seen in its log only
                    traceback.print_exc()
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(BROKEN if code is None else code)

    def _test(self, tests: str) -> int:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        log = os.open(self.scratch / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(log, stream)
        os.chdir(self.project)
        os.environ["PYTHONPATH"] = os.pathsep.join([str(self.project), str(self.project / "tests")])
        sys.path[:] = [str(self.project), *(entry for entry in sys.path if not Path(entry or ".").is_relative_to(ROOT))]
        code = int(pytest.main([*PYTEST, f"--basetemp={self.scratch / 'tmp'}", *shlex.split(tests)]))
        library = sys.modules.get("latent_trainer")
        inside = library is None or Path(library.__file__).is_relative_to(self.project)
        return code if inside else ELSEWHERE

    def ended(self, seconds: float) -> tuple[int | None, float, float] | None:
        """Return what pytest returned (None: it took longer than ``seconds``), seconds and processor seconds, once over."""
        late = time.monotonic() - self.began > seconds
        if late:
            self.kill()
        child, status, used = os.wait4(self.child, 0 if late else os.WNOHANG)
        if not child:
            return None
        self.child = None
        if self.mutation is not None:
            self.file.write_bytes(self.before)
        code = None if late else os.waitstatus_to_exitcode(status)
        return code, time.monotonic() - self.began, used.ru_utime + used.ru_stime

    def kill(self) -> None:
        """End the child, if there is one, with all it has started."""
        if self.child is not None:
            os.killpg(self.child, signal.SIGKILL)

    def log(self) -> str:
        """Return the end of what the last child printed."""
        return (self.scratch / "log").read_text(encoding="utf-8", errors="replace")[-3000:]


def key(mutation: Mutation, folder: Path) -> str:
    """Return what changes when the mutation, its file or the files of its tests do, as they are in a folder."""
    digest = hashlib.sha256(repr(astuple(mutation)).encode())
    for name in (mutation.file, *mutation.test_files):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()[:16]


def run(groups: list[list], copies: list[Copy], limit, finished) -> None:
    """Run groups of tasks (tests, mutation or None), each group in one copy and in order.

    Args:
        groups: lists of tasks.
        copies: as many groups run at a time.
        limit: task -> seconds it may take.
        finished: called with task, copy, what pytest returned, seconds and processor seconds; False ends the group.
    """
    waiting, running = list(groups), {}
    try:
        _run(waiting, running, copies, limit, finished)
    finally:
        for copy in running:
            copy.kill()


def _run(waiting: list, running: dict, copies: list[Copy], limit, finished) -> None:
    while waiting or running:
        for copy in copies:
            if copy not in running and waiting:
                running[copy] = list(waiting.pop(0))
                copy.start(*running[copy][0])
        for copy, group in list(running.items()):
            found = copy.ended(limit(group[0]))
            if found is None:
                continue
            goes_on = finished(group.pop(0), copy, *found)
            if goes_on and group:
                copy.start(*group[0])
            else:
                del running[copy]
        time.sleep(0.05)


def read() -> dict:
    """Return the rows of the record."""
    return json.loads(RECORD.read_text(encoding="utf-8"))["rows"] if RECORD.exists() else {}


def write(rows: dict) -> None:
    """Write the rows of the mutations there are, in their order, and what they add up to."""
    known = [(area, one) for area, mutations in AREAS.items() for one in mutations if one.wrong in rows]
    ordered = {one.wrong: {**rows[one.wrong], "area": area} for area, one in known}
    outcomes = [row["outcome"] for row in ordered.values()]
    record = {
        "mutations": len(ordered),
        "killed": outcomes.count("killed"),
        "survived": outcomes.count("survived"),
        "processor_minutes": round(sum(row["processor_seconds"] for row in ordered.values()) / 60, 1),
        "rows": ordered,
    }
    RECORD.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Try the mutations that were not tried yet; fail where more survive than may."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=AREAS, help="mutations of one area")
    parser.add_argument("-k", default="", help="mutations whose file or description holds this text")
    parser.add_argument("--jobs", type=int, default=1, help="children at a time; 0 takes as many as there are cores")
    parser.add_argument("--fresh", action="store_true", help="try again what was tried")
    arguments = parser.parse_args()
    chosen = [one for area, mutations in AREAS.items() if arguments.only in (None, area) for one in mutations]
    chosen = [one for one in chosen if arguments.k in f"{one.file} {one.wrong}"]
    rows = read()
    todo = [one for one in chosen if arguments.fresh or rows.get(one.wrong, {}).get("key") != key(one, ROOT)]
    print(f"{len(chosen)} mutations, {len(todo)} to be tried", flush=True)
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.dont_write_bytecode = True  # a file that changes twice within a second would be read from it
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    torch.set_num_threads(1)
    for name in HEAVY:
        importlib.import_module(name)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # and the children with it
    if "latent_trainer" in sys.modules:
        raise SystemExit("the library is imported already, so that children would not import their copy")
    usual: dict[str, tuple[float, float]] = {}  # tests -> seconds and processor seconds without any mutation
    faults = []

    def limit(task) -> float:
        return 60 + 5 * usual[task[0]][0] if task[1] else 600

    def finished(task, copy, code, seconds, used) -> bool:
        tests, mutation = task
        if mutation is None:
            usual[tests] = seconds, used
            if code != 0:
                faults.append(f"without any mutation pytest returns {code} for: {tests}")
                print(faults[-1], copy.log(), sep="\n", flush=True)
            return code == 0
        if code not in (0, None, *FAILED) and code > 0:
            faults.append(f"with {mutation.wrong} pytest returns {code} for: {tests}")
            print(faults[-1], copy.log(), sep="\n", flush=True)
            return True
        row = {"file": mutation.file, "before": mutation.before, "after": mutation.after, "tests": tests}
        row["outcome"] = "survived" if code == 0 else "killed"
        row["why"] = mutation.survives if code == 0 else "late" if code is None else ""
        row["processor_seconds"] = round(used + usual[tests][1], 1)
        rows[mutation.wrong] = {**row, "key": key(mutation, copy.project)}
        write(rows)
        print(f"{row['outcome']:8} {seconds:5.0f} s  {mutation.file}: {mutation.wrong}", flush=True)
        return True

    groups = {one.tests: [(one.tests, None)] for one in todo}
    for one in todo:
        groups[one.tests].append((one.tests, one))
    with tempfile.TemporaryDirectory() as scratch:
        number = min(arguments.jobs or os.cpu_count(), len(groups))
        run(list(groups.values()), [Copy(Path(scratch) / str(place)) for place in range(number)], limit, finished)
    if faults:
        raise SystemExit("\n".join(faults))
    write(rows)
    survivors = [one for one in chosen if rows[one.wrong]["outcome"] == "survived"]
    print(f"{len(chosen) - len(survivors)} killed, {len(survivors)} survived")
    if len(survivors) > MOST_SURVIVORS or not all(one.survives for one in survivors):
        raise SystemExit(f"at most {MOST_SURVIVORS} may survive, each with a reason; see above")


if __name__ == "__main__":
    main()
