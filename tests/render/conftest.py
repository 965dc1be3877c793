"""Real browsers without a window for the viewer's tests: Chromium, and Firefox for what differs."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.render.firefox import Firefox, FirefoxPage, firefox_path
from tests.render.tabs import Tab, Tabs

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")
"""The first takes a quarter less of the processor: it has no window that it could hide."""
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


PATIENCE = 20.0
"""Seconds a page may take on a busy machine."""
CAUGHT_UP = """async (given) => {
  for (const end = performance.now() + PATIENCE; window.viewer?.due?.size;) {
    if (performance.now() > end) throw new Error("the page does not catch up");
    await new Promise((done) => setTimeout(done, 10));
  }
  const found = (SCRIPT);
  return typeof found === "function" ? found(given) : found;
}""".replace("PATIENCE", str(1000 * PATIENCE))
"""Runs an expression or a function when panel and diagram, which follow a frame later, are there:
asked in one go, which takes half as long as in two."""


@dataclass
class Located:
    """A Playwright locator whose every answer is of a page that has caught up."""

    opened: Opened
    found: Any

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.found, name)
        if not callable(value):
            return Located(self.opened, value)  # first, last

        def asked(*positional: Any, **named: Any) -> Any:
            self.opened.caught_up()
            answer = value(*positional, **named)
            return Located(self.opened, answer) if isinstance(answer, type(self.found)) else answer

        return asked


@dataclass
class Opened:
    """A page in the browser, and what it did."""

    page: Any
    """Playwright's."""
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    """Exceptions, and everything that was logged or asked in a dialog."""

    def run(self, script: str, argument: Any = None) -> Any:
        """The value of a JavaScript expression or function, once the page has caught up."""
        return self.page.evaluate(CAUGHT_UP.replace("SCRIPT", script), argument)

    def caught_up(self) -> None:
        """Wait until panel and diagram, which follow a frame later, show what was done before."""
        self.run("0")

    def locator(self, selector: str, **more: Any) -> Located:
        """What Playwright finds; each look at it waits until the page has caught up."""
        return Located(self, self.page.locator(selector, **more))

    def until(self, condition: str) -> None:
        """Wait until a JavaScript condition holds (the page's policy forbids Playwright's way)."""
        end = time.monotonic() + PATIENCE
        while not self.run(f"() => Boolean({condition})"):
            assert time.monotonic() < end, f"still not: {condition}"
            time.sleep(0.02)

    def settled(self) -> None:
        """Wait until everything has been painted."""
        self.until(
            "window.viewer && (!viewer.plots || viewer.plots.every("
            "p => !p.waiting && !p.stale && !p.moving && p.edgesLeft >= p.edgeLimit)"
            " && !viewer.due.size)"
        )

    def painted(self) -> None:
        """Wait until the browser has shown what was last changed."""
        self.run("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")

    def place_of(self, row: int, plot: int = 0) -> tuple[float, float]:
        """Where a node stands in the window."""
        x, y = self.run(
            "([row, i]) => { const p = viewer.plots[i], box = p.over.getBoundingClientRect();"
            " return [box.left + p.sx(p.place.x[row]), box.top + p.sy(p.place.y[row])]; }",
            [row, plot],
        )
        return float(x), float(y)

    def fingers(self, *moves: list[tuple[float, float]]) -> None:
        """Fingers on the screen: where each is, move after move; a finger more or less goes down
        or up. At the end all go up."""
        session = self.page.context.new_cdp_session(self.page)
        down = 0
        for places in (*moves, []):
            kind = "touchStart" if len(places) > down else "touchMove"
            kind = "touchEnd" if len(places) < down else kind
            points = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(places)]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
            down = len(places)
        session.detach()

    def click(self, row: int, plot: int = 0, **more: Any) -> None:
        """Click on a node."""
        self.page.mouse.click(*self.place_of(row, plot), **more)

    def exported(self, what: str) -> bytes:
        """The file that an entry of the Export menu gives."""
        self.locator("summary", has_text="Export").click()
        with self.page.expect_download() as download:
            self.locator(f"[data-export={what}]").click()
        return Path(download.value.path()).read_bytes()


class OpenedInFirefox(Opened):
    """A page in Firefox: what both browsers' tests use of it."""

    def run(self, script: str, argument: Any = None) -> Any:
        """As in Chromium; `errors` has what was logged so far."""
        value = super().run(script, argument)
        self.errors[:] = [str(entry["text"]) for entry in self.page.taken("log.entryAdded")]
        return value

    def exported(self, what: str) -> bytes:
        """The file that an entry of the Export menu gives."""
        self.run("what => document.querySelector(`[data-export=${what}]`).click()", what)
        return bytes(self.page.browser.downloaded())


Open = Callable[..., Opened]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """The browser; skips where there is none."""
    named = os.environ.get("CIRCUIT_TRACER_CHROMIUM", "")
    path = named or next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no chromium here: install one, or name it in CIRCUIT_TRACER_CHROMIUM")
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def tabs(browser: Any) -> Tabs:
    """The browser's pages, one test's after the other."""
    return Tabs(browser)


@pytest.fixture
def open_page(tabs: Tabs, tmp_path: Path) -> Iterator[Open]:
    """Open HTML text, or an address, as a page of its own.

    `alone`: no other test gets the page afterwards; `script` runs before those of the page, alone.
    """
    taken, closing = [], []

    def opened(
        html: str,
        *,
        width: int = 1280,
        height: int = 800,
        scheme: str = "light",
        touch: bool = False,
        alone: bool = False,
        script: str = "",
    ) -> Opened:
        if alone or script:
            closing.append(tab := Tab(tabs.browser, touch=touch))
            if script:
                tab.page.add_init_script(script)
        else:
            taken.append(tab := tabs.take(touch=touch))
        tab.show(width=width, height=height, scheme=scheme)
        found = Opened(tab.page, tab.requests, tab.errors)
        if html.startswith("http"):
            address = html
        else:
            file = tmp_path / "page.html"
            file.write_text(html, encoding="utf-8")
            address = file.as_uri()
        found.page.goto(address)
        found.settled()
        return found

    yield opened
    for tab in closing:
        tab.close()
    for tab in taken:
        tabs.give_back(tab)


@pytest.fixture(scope="module")
def firefox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    """A running Firefox; skips where there is none. It works even when nothing is asked of it: it
    ends with the one file of tests that needs it.
    """
    path = firefox_path()
    if path is None:
        pytest.skip("no firefox here: install one, or name it in CIRCUIT_TRACER_FIREFOX")
    pytest.importorskip("websocket", reason="needs the package websocket-client")
    browser = Firefox(path, tmp_path_factory.mktemp("firefox"))
    yield browser
    browser.close()


@pytest.fixture(params=["chromium", "firefox"])
def open_anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Open HTML text as a page of its own in either browser."""
    if request.param == "chromium":
        yield request.getfixturevalue("open_page")
        return
    browser, pages = request.getfixturevalue("firefox"), []

    def opened(html: str, *, width: int = 1280, height: int = 800) -> Opened:
        file = tmp_path / f"page{len(pages)}.html"
        file.write_text(html, encoding="utf-8")
        pages.append(FirefoxPage(browser, file.as_uri(), width, height))
        found = OpenedInFirefox(pages[-1])
        found.settled()
        return found

    yield opened
    for one in pages:
        one.close()
