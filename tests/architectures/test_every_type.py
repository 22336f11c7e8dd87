"""A few architectures of every kind in the usual run, all of them in the slow one; the record says what the sweep found."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from exactness import examine
from tiny_bases import TYPES

HERE = Path(__file__).resolve().parent
RECORD = HERE.parents[1] / "results" / "architectures.json"
KINDS = {  # one for each way in which a base model is not the usual one
    "roberta": ("plain", "padding", "codi"),  # a head that transforms, positions that start later
    "gemma3n_text": ("plain", "padding", "codi", "looped"),  # embeddings of its own for every layer, four streams
    "bart": ("plain", "padding", "codi", "looped"),  # no position ids
    "ctrl": ("plain", "last", "jacobi", "looped"),  # scales embeddings in place
    "mamba": ("plain", "padding", "generate", "codi", "looped", "checkpointing"),  # states alone, column by column
    "qwen3_next": ("plain", "padding", "generate", "codi", "jacobi", "looped", "checkpointing"),  # states and keys
    "deepseek_v32": ("plain", "padding", "codi", "checkpointing", "looped"),  # keys that choose the columns
    "falcon_h1": ("plain", "codi", "save_load"),  # scales in every place, buffers that are saved nowhere
    "openai-gpt": ("plain",),  # drops the cache
}
REFUSED = {"openai-gpt"}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds(kind):
    try:
        found = examine(kind, names=KINDS[kind])
    finally:
        torch.set_default_dtype(torch.float32)
    assert found["built"], found
    outcomes = {name: check["outcome"] for name, check in found["checks"].items()}
    assert set(outcomes.values()) == {"refused" if kind in REFUSED else "exact"}, found


def test_the_record_is_whole():
    """Nothing silent, no traceback, and at least 130 types exact."""
    rows = json.loads(RECORD.read_text())["rows"]
    assert set(rows) == set(TYPES)
    outcomes = [row["outcome"] for row in rows.values()]
    assert set(outcomes) <= {"exact", "refused", "not built"}
    assert outcomes.count("exact") >= 130
    assert all("\n" not in row["why"] for row in rows.values() if row["outcome"] == "refused")


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_every_architecture(tmp_path):
    """The sweep anew finds what the record says."""
    output = tmp_path / "architectures.json"
    subprocess.run([sys.executable, str(HERE / "sweep.py"), "--output", str(output)], check=True)
    found, known = (json.loads(file.read_text())["rows"] for file in (output, RECORD))
    assert {kind: row["outcome"] for kind, row in found.items()} == {kind: row["outcome"] for kind, row in known.items()}
