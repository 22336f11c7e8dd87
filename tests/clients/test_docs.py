"""docs/clients.md names a test for everything it says, and each of them is there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")


def test_every_statement_has_its_test():
    files = [ast.parse(file.read_text(encoding="utf-8")) for file in (ROOT / "tests").rglob("test_*.py")]
    tests = {node.name for file in files for node in ast.walk(file) if isinstance(node, ast.FunctionDef)}
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 25 and named <= tests


def test_every_row_names_one():
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith(("| program", "| asked"))]
    assert len(rows) > 20 and all(re.search(r"`test_\w+` \|$", row) for row in rows)
