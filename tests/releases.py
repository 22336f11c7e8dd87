"""The core of the suite under the oldest, the pinned and the newest release of transformers; ``make test-versions`` runs it.

Each release has an environment of its own in .venvs/: its transformers, with what that one requires, before the packages of
.venv. A folder that the pinned release exports must answer under each of them as it does under its own.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import venv
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OLDEST = "==5.17.0"
NEWEST = ">=5.24,<5.25"
# A warning is no failure under a release whose deprecations are not the pinned one's.
PYTEST = ("-m", "pytest", "-q", "-W", "default", "-o", "addopts=")
SUITES = {
    "private names": ("tests/test_compat.py",),
    "parity": ("tests/test_parity.py", "tests/test_rollout.py", "-k", "test_parity or full_recomputation and llama"),
    "generation": ("tests/test_generation.py", "-k", "greedy or beam"),
    "trainer step": ("tests/test_trainer.py", "-k", "test_method and (coconut or codi)"),
    "adapters": ("tests/test_adapters.py",),
    "Hub folder": ("tests/hub/test_round_trip.py",),
}
QUESTION = "7 +3 x7 -5"
# Loads a folder with transformers alone and prints the logits and the answer.
PROGRAM = """
import importlib.util, json, sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
torch.set_num_threads(1)
assert importlib.util.find_spec("latent_trainer") is None
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=True)
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1], trust_remote_code=True)
chat = [{"role": "user", "content": sys.argv[2]}]
batch = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
with torch.no_grad():
    logits = model(**batch).logits[0].tolist()
written = model.generate(**batch)[0, batch["input_ids"].shape[1]:].tolist()
print()
print(json.dumps({"logits": logits, "written": written}))
"""
# Trains a tiny model for two steps, and exports it to the folder named.
EXPORT = """
import sys, tempfile
from training import make_trainer
from latent_trainer.hub import export_folder
with tempfile.TemporaryDirectory() as folder:
    trainer = make_trainer(folder, max_steps=2, first_stage=2)
    trainer.train()
    trainer.save_model()
    export_folder(folder, sys.argv[1])
"""


def environment(release: str) -> Path:
    """Return the Python of the environment of a release, ``==5.17.0`` or the like, made where it is not there yet."""
    folder = ROOT / ".venvs" / re.sub(r"[^\w.]+", "-", f"transformers{release}")
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        venv.create(folder, with_pip=False, clear=True, symlinks=True)
        (site,) = folder.glob("lib/python*/site-packages")
        shared = [path for path in sys.path if path.endswith("site-packages")]
        (site / "shared.pth").write_text("\n".join(shared) + "\n")
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--disable-pip-version-check"]
        # not over the packages that are shared, some of which are too new for it
        subprocess.run([*pip, f"transformers{release}"], check=True)
        (folder / "ready").touch()
    return python


def run(python: Path, *words: str, library: bool = True) -> subprocess.CompletedProcess:
    """Run Python words in a fresh process, with this library or without."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")]) if library else ""
    settings = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYTEST_ADDOPTS": ""}
    folder = ROOT if library else ROOT / ".venvs"
    return subprocess.run([str(python), *words], cwd=folder, env=settings, capture_output=True, text=True, check=False)


def suite(python: Path, words: tuple[str, ...], scratch: Path) -> dict[str, int]:
    """Return how many tests passed, failed and were skipped."""
    report = scratch / "report.xml"
    report.unlink(missing_ok=True)
    done = run(python, *PYTEST, f"--junitxml={report}", *words)
    if not report.exists():
        raise SystemExit(done.stdout[-3000:] + done.stderr[-3000:])
    found = ElementTree.parse(report).getroot().find("testsuite").attrib
    failed, skipped = int(found["failures"]) + int(found["errors"]), int(found["skipped"])
    if failed:
        print(done.stdout[-4000:])
    return {"passed": int(found["tests"]) - failed - skipped, "failed": failed, "skipped": skipped}


def answer(python: Path, folder: Path) -> dict:
    """Return what an exported folder says where the library is not installed."""
    done = run(python, "-c", PROGRAM, str(folder), QUESTION, library=False)
    if done.returncode:
        print(done.stderr[-3000:])
        return {"logits": [], "written": []}
    return json.loads(done.stdout.splitlines()[-1])


def difference(one: dict, other: dict) -> float | None:
    """Return the largest difference of two answers' logits; None where they write otherwise."""
    if one["written"] != other["written"] or not one["written"]:
        return None
    rows = zip(one["logits"], other["logits"], strict=True)
    return max(abs(a - b) for left, right in rows for a, b in zip(left, right, strict=True))


def main() -> None:
    """Run every suite under every release and write results/versions.json; fail where one fails."""
    pinned = re.search(r"^transformers(==\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]
    roles = {"oldest": OLDEST, "pinned": pinned, "newest": NEWEST}
    pythons = {role: Path(environment(release)) for role, release in roles.items()}
    rows = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "exported"
        done = run(pythons["pinned"], "-c", EXPORT, str(folder))
        if done.returncode:
            raise SystemExit(done.stderr[-3000:])
        expected = answer(pythons["pinned"], folder)
        for role, python in pythons.items():
            release = run(python, "-c", "import transformers; print(transformers.__version__)").stdout.strip()
            row = rows[role] = {"release": release, "suites": {}}
            row["pushed"] = difference(answer(python, folder), expected)
            for name, words in SUITES.items():
                row["suites"][name] = suite(python, words, Path(scratch))
                print(f"transformers {release}, {name}: {row['suites'][name]}", flush=True)
    record = {"rows": rows, "python": sys.version.split()[0]}
    (ROOT / "results" / "versions.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    if any(row["pushed"] is None or any(one["failed"] for one in row["suites"].values()) for row in rows.values()):
        raise SystemExit("some release fails; see above")


if __name__ == "__main__":
    main()
