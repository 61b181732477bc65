"""A real headless Chromium for tests of pages: open one, hear its errors, ask axe-core, take pictures.

    with chromium() as browser, open_page(browser, url, width=360, dark=True) as tab:
        tab.page.keyboard.press("1")           # Playwright's Page
        assert tab.errors == []                # console errors, exceptions, requests that failed or left the machine
        assert serious(tab) == []              # axe-core, impact serious or critical
        tab.picture("review-phone-dark")       # a PNG, where LEMA_PICTURES names a folder

Playwright drives the browser that the system has (Debian's chromium, Chrome); it never downloads one. Where either is
missing, `chromium()` skips the test and says what to install. Its sync API keeps an event loop on this thread for as
long as it is open, so open it in a fixture of a module at most, never of the session: `asyncio.run` fails beside it.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
EXECUTABLE = os.environ.get("LEMA_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
DEADLINE_MS = 15_000


def missing() -> str | None:
    """What is not installed, and how to install it; None: all is there."""
    if find_spec("playwright") is None:
        return "no playwright: make setup-dev"
    return None if EXECUTABLE else "no Chromium: apt-get install chromium, or name one in LEMA_CHROMIUM"


needs_axe = pytest.mark.skipif(
    find_spec("axe_playwright_python") is None, reason="no axe-core: make setup-dev installs axe-playwright-python"
)


@dataclass
class Tab:
    """A page and what went wrong in it."""

    page: Any
    errors: list[str] = field(default_factory=list)

    def scrolls_sideways(self) -> bool:
        """Whether anything is wider than the window."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))

    def picture(self, name: str, *, whole: bool = True) -> None:
        """A PNG of the page in the folder LEMA_PICTURES; nothing where there is none."""
        folder = os.environ.get("LEMA_PICTURES")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=whole)


@contextmanager
def chromium() -> Iterator[Any]:
    """The browser, for as long as the block lasts. Without one the test is skipped."""
    if reason := missing():
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    # no sandbox: tests in containers run as root, where Chromium has none
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_page(
    browser: Any,
    url: str,
    *,
    width: int = 1200,
    height: int = 900,
    dark: bool = False,
    still: bool = False,
    **more: Any,
) -> Iterator[Tab]:
    """A page in a profile of its own (no cookies, nothing stored); `still` asks for reduced motion.

    `more` goes to Playwright's new_context, e.g. storage_state of a page before.
    """
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce" if still else "no-preference",
        **more,
    )
    context.set_default_timeout(DEADLINE_MS)
    try:
        yield listen(context.new_page(), url)
    finally:
        context.close()


def listen(page: Any, url: str) -> Tab:
    """Open an address in a page whose errors are heard from the start."""
    tab = Tab(page)
    page.on("console", lambda m: tab.errors.append(f"console: {m.text}") if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: tab.errors.append(f"exception: {error}"))
    page.on("requestfailed", lambda r: tab.errors.append(f"failed: {r.url} {r.failure}"))
    page.on("request", lambda r: None if _is_local(r.url) else tab.errors.append(f"left the machine: {r.url}"))
    page.goto(url)
    return tab


def _is_local(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "http://localhost:", "file:", "data:", "blob:", "about:"))


def serious(tab: Tab) -> list[str]:
    """What axe-core finds serious or critical on the page as it is now: rule, help and the first elements."""
    source = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    tab.page.evaluate(f"() => {{ {source}\n }}")
    found = tab.page.evaluate("() => axe.run({resultTypes: ['violations']})")
    return [
        f"{each['id']}: {each['help']} at {[node['target'] for node in each['nodes'][:3]]}"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
    ]
