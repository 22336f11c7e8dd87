"""The documentation builds as a site without a warning, needs no other machine, and has a place for every page."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs"))

from make_site import MOVED, OUTSIDE, fetched, lay_out  # noqa: E402 - it lies beside the pages

SETTINGS = yaml.safe_load((ROOT / "mkdocs.yml").read_text())


def in_menu(entries: list) -> list[str]:
    """Return the pages of the menu, in order."""
    found = []
    for entry in entries:
        (value,) = entry.values() if isinstance(entry, dict) else [entry]
        found += in_menu(value) if isinstance(value, list) else [value]
    return found


def test_every_page_is_in_the_menu():
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert sorted(in_menu(SETTINGS["nav"])) == sorted(pages | {MOVED["CONTRIBUTING.md"], MOVED["CHANGELOG.md"]})


def test_every_link_leads_somewhere_on_the_site(tmp_path):
    lay_out(tmp_path)
    pages = sorted(tmp_path.rglob("*.md"))
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())]
    assert len(pages) > 20 and len(links) > 60
    for page, link in links:
        if not link.startswith("http"):
            target = (page.parent / link).resolve()
            assert target.is_file() and tmp_path.resolve() in target.parents, f"{page.name}: {link}"


def test_the_site_builds_without_a_warning():
    pytest.importorskip("zensical", reason="the extra 'docs' is not installed")
    done = subprocess.run([sys.executable, "docs/make_site.py"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    reference = (ROOT / "site" / "reference.html").read_text()
    assert "LatentForCausalLM" in reference and "Every term it returns is a sum over a global count" in reference
    assert fetched(ROOT / "site") == []


@pytest.mark.parametrize(
    ("tag", "found"),
    [
        (b'<script src="https://cdn.example/a.js">', True),
        (b"<link rel=stylesheet href=//fonts.example/css>", True),
        (b'<a href="https://example.org">', False),
        (b'<img src="assets/latents.svg">', False),
    ],
)
def test_what_would_be_fetched_is_found(tag, found):
    assert bool(OUTSIDE.search(tag)) == found


def test_the_picture_has_a_text_and_both_colour_schemes():
    picture = (ROOT / "docs" / "assets" / "latents.svg").read_text()
    assert "<title" in picture and "<desc" in picture and "prefers-color-scheme: dark" in picture
    assert "http" not in picture.replace("http://www.w3.org/2000/svg", "")
