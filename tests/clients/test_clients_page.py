"""docs/clients.md names a test for everything it says, and each of them is there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")


def test_every_statement_has_its_test():
    files = (file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py"))
    tests = {name for text in files for name in re.findall(r"^def (test_\w+)\(", text, re.MULTILINE)}
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 25 and named <= tests


def test_every_row_names_one():
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith(("| program", "| asked"))]
    assert len(rows) > 20 and all(re.search(r"`test_\w+` \|$", row) for row in rows)
