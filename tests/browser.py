"""A headless browser for tests of pages: found where it is installed, opened at the size of a phone.

The browser is the program that ``LATENT_TRAINER_BROWSER`` names, else a Chromium or Chrome on ``PATH``, else what
``playwright install chromium`` has put there. The Python package playwright drives it (``pip install playwright``).
"""

import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

PHONE = {"width": 390, "height": 844}
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
HERE = ("", "localhost", "127.0.0.1", "::1")  # hosts of requests that stay on this machine

# Of every line of text that is drawn: what its text says, its size in points of the screen, and its place.
TEXTS = """() => [...document.querySelectorAll("body *")].flatMap(one => {
  const own = [...one.childNodes].filter(part => part.nodeType === 3 && part.data.trim());
  if (!own.length || !one.checkVisibility() || one.closest("title, desc, style, script")) return [];
  const drawing = one.closest("svg"), scrolled = one.closest("[tabindex='0']");
  const scale = drawing ? drawing.getBoundingClientRect().width / drawing.viewBox.baseVal.width : 1;
  const range = document.createRange();
  return own.flatMap(part => {
    range.selectNodeContents(part);
    const lines = drawing ? [one.getBoundingClientRect()] : [...range.getClientRects()];
    const frame = drawing ? drawing.getBoundingClientRect() : document.documentElement.getBoundingClientRect();
    return lines.map(box => ({
      words: part.data.trim(), size: parseFloat(getComputedStyle(one).fontSize) * scale,
      drawing: drawing?.getAttribute("aria-labelledby") || "", scrolled: scrolled !== null,
      left: box.left, right: box.right, top: box.top, bottom: box.bottom,
      cut: box.left < frame.left - 0.5 || box.right > frame.right + 0.5 || box.top < frame.top - 0.5 ||
        box.bottom > frame.bottom + 0.5}));
  });
})"""


class NoBrowser(Exception):
    """No browser can be driven here; says what to install."""


def program() -> str | None:
    """Return the browser's program, None where only playwright may know of one.

    Raises:
        NoBrowser: ``LATENT_TRAINER_BROWSER`` names nothing that can be run.
    """
    named = os.environ.get("LATENT_TRAINER_BROWSER")
    if named:
        found = shutil.which(named)
        if found is None:
            raise NoBrowser(f"LATENT_TRAINER_BROWSER={named!r} is no program that can be run")
        return found
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@contextmanager
def opened() -> Iterator:
    """Open a headless browser, a `playwright.sync_api.Browser`.

    Raises:
        NoBrowser: there is none, or nothing to drive it with.
    """
    if importlib.util.find_spec("playwright") is None:
        raise NoBrowser("no playwright: pip install playwright, and playwright install chromium or a browser on PATH")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = program()
        if found is None and not os.path.isfile(playwright.chromium.executable_path):
            raise NoBrowser("no browser: playwright install chromium, or set LATENT_TRAINER_BROWSER to a Chromium or Chrome")
        browser = playwright.chromium.launch(executable_path=found, timeout=120_000)
        try:
            yield browser
        finally:
            browser.close()


class Tab:
    """A page of a browser at the size of a phone, which writes down what is asked for and what goes wrong.

    Args:
        browser: of `opened`.
        address: of the page.
        options: of ``browser.new_context``, such as ``color_scheme``.
    """

    def __init__(self, browser, address: str, **options):
        self.context = browser.new_context(**{"viewport": PHONE, **options})
        self.page = self.context.new_page()
        self.asked: list[str] = []
        self.faults: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", lambda said: self.faults.append(said.text) if said.type == "error" else None)
        self.page.goto(address)

    def outside(self) -> list[str]:
        """Return the requests that were sent to other machines."""
        return [one for one in self.asked if (urlsplit(one).hostname or "") not in HERE]

    def overflow(self) -> int:
        """Return by how many points the page is wider than the screen."""
        return self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")

    def texts(self) -> list[dict]:
        """Return every line that is drawn: ``words``, ``size``, ``left`` and so on, ``cut``, ``scrolled``, ``drawing``."""
        return self.page.evaluate(TEXTS)

    def close(self) -> None:
        """Close the page."""
        self.context.close()
