"""Build the documentation as a site: ``python docs/make_site.py`` writes ``site/``, and fails on any warning.

Pages link to files of the repository, which lead nowhere on a site. So the pages are laid out anew first: what they link to
outside ``docs/`` is copied beside them.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS, PAGES = ROOT / "docs", ROOT / "build" / "site-pages"
MOVED = {  # pages of the repository's top folder -> pages of the site
    "README.md": "index.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md",
}
LINK = re.compile(r"(!?\[[^\]]*\])\(([^)\s]+)\)")
OUTSIDE = re.compile(rb"<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=\"?(https?:)?//", re.IGNORECASE)


def lay_out(pages: Path) -> None:
    """Write the pages of the site into a folder, with everything that they link to."""
    shutil.rmtree(pages, ignore_errors=True)
    for source in sorted(path for path in DOCS.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        if source.suffix != ".py":
            _place(source, pages, pages / source.relative_to(DOCS))
    for name, place in MOVED.items():
        if name != "README.md":
            _place(ROOT / name, pages, pages / place)


def _place(source: Path, pages: Path, target: Path) -> None:
    """Copy a file; in a page, lead links where the site has what they name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix != ".md":
        shutil.copyfile(source, target)
        return

    def led(match: re.Match) -> str:
        text, link = match[1], match[2]
        file, mark, part = link.partition("#")
        if re.match(r"[a-z]+:", link) or not file:
            return match[0]
        named = (source.parent / file).resolve()
        place = _place_of(named, pages)
        if place is None:  # a folder: there is nothing to show
            return text.removeprefix("[").removesuffix("]")
        return f"{text}({os.path.relpath(place, target.parent)}{mark}{part})"

    target.write_text(LINK.sub(led, source.read_text(encoding="utf-8")), encoding="utf-8")


def _place_of(named: Path, pages: Path) -> Path | None:
    """Return where the site has a file of the repository, after copying it there if need be; None for a folder."""
    relative = named.relative_to(ROOT).as_posix()
    if relative in MOVED:
        return pages / MOVED[relative]
    if not named.exists():
        raise SystemExit(f"a page links to {relative}, which is not there")
    if named.is_dir():
        return None
    if DOCS in named.parents and named.suffix != ".py":
        return pages / named.relative_to(DOCS)
    shown = named.suffix in (".png", ".svg", ".json")
    place = pages / "files" / (relative if shown else f"{relative}.txt")  # a text is shown; a program would be saved
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(named, place)
    return place


def fetched(site: Path) -> list[str]:
    """Return the pages that would fetch something from another machine when they are read."""
    return [str(page.relative_to(site)) for page in sorted(site.rglob("*.html")) if OUTSIDE.search(page.read_bytes())]


def main() -> None:
    """Lay the pages out, build the site strictly and see that it needs no other machine."""
    lay_out(PAGES)
    zensical = Path(sys.executable).with_name("zensical")
    done = subprocess.run([zensical, "build", "--clean", "--strict"], cwd=ROOT, text=True, capture_output=True, check=False)
    said = done.stdout + done.stderr
    if done.returncode or "griffe: " in said:  # what is wrong in a docstring fails nothing by itself
        raise SystemExit(f"the site has warnings:\n{said}")
    outside = fetched(ROOT / "site")
    if outside:
        raise SystemExit(f"these pages fetch something from another machine: {', '.join(outside)}")


if __name__ == "__main__":
    main()
