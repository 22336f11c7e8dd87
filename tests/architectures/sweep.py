"""Every type of transformers' causal mapping, each in a process of its own, into results/architectures.json.

Run by ``make architectures``; ``--types`` runs some of them anew and keeps the rest of the record.
"""

import argparse
import json
import os
import signal
import warnings
from collections import Counter
from pathlib import Path

import torch
import transformers
from exactness import examine
from tiny_bases import TYPES, WINDOW, configuration

RECORD = Path(__file__).resolve().parents[2] / "results" / "architectures.json"
SECONDS = 300  # for one type
WITHIN = ("latents", "padding", "coconut", "codi", "jacobi")  # again where a model's window is longer than the row


def verdict(found: dict) -> dict:
    """Return one row of the record: what became of a type, in one word, and why."""
    if not found["built"]:
        return {"outcome": "not built", "why": found["why"]}
    checks = found["checks"]
    for word in ("crash", "wrong", "refused"):
        which = [name for name, check in checks.items() if check["outcome"] == word]
        if which:
            first = checks[which[0]]
            why = first["why"] if "why" in first else f"relative error {first['error']:.1e}"
            return {"outcome": word, "why": why if word == "refused" else f"{', '.join(which)}: {why}"}
    return {"outcome": "exact", "checks": len(checks), "error": max(check["error"] for check in checks.values())}


def has_window(kind: str) -> bool:
    """Whether the tiny model of a type looks back less than a row."""
    text = configuration(kind).get_text_config()
    return any(getattr(text, name, None) for name in WINDOW)


def whole(kind: str) -> dict:
    """Return the outcome of all checks of a type, those with a long window among them."""
    found = examine(kind)
    if found["built"] and found["checks"]["plain"]["outcome"] == "exact" and has_window(kind):
        again = examine(kind, window=64, names=WITHIN)
        found["checks"] |= {f"{name}, long window": check for name, check in again.get("checks", {}).items()}
    return found


def in_own_process(kind: str) -> dict:
    """Return the row of one type; a process that dies or takes too long is a crash."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        signal.alarm(SECONDS)
        try:
            row = verdict(whole(kind))
        except Exception as failure:
            row = {"outcome": "crash", "why": f"{type(failure).__name__}: {str(failure)[:200]}"}
        os.write(writing, json.dumps(row).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        text = answer.read()
    _, status = os.waitpid(child, 0)
    return json.loads(text) if text else {"outcome": "crash", "why": f"the process ended with status {status}"}


def main() -> None:
    """Run the sweep and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--types", nargs="*", default=TYPES)
    parser.add_argument("--output", type=Path, default=RECORD)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    examine("llama", names=("save_load",))  # what it imports, every child has
    torch.set_default_dtype(torch.float32)
    rows = json.loads(arguments.output.read_text())["rows"] if arguments.output.exists() else {}
    for kind in arguments.types:
        rows[kind] = in_own_process(kind)
        print(kind, *rows[kind].values(), flush=True)
        counts = Counter(row["outcome"] for row in rows.values())
        record = {
            "config": {"transformers": transformers.__version__, "torch": torch.__version__, "tolerance": 1e-8},
            "counts": dict(sorted(counts.items())),
            "rows": dict(sorted(rows.items())),
        }
        arguments.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
