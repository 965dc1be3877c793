"""Pages of Chromium that one test after the other uses.

A context with its page, and the processes for both, take as long as what a short test does there.
Every page has a context, and so a storage, of its own; between tests it is left, and what is stored
is forgotten. A page that a test changes for good, by scripts that run before all others or by
permissions, is asked for as one of its own and closed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit


class Tab:
    """A page and what is heard from it since it was last lent."""

    def __init__(self, browser: Any, *, touch: bool):
        context = browser.new_context(has_touch=touch, is_mobile=touch, accept_downloads=True)
        self.page = context.new_page()
        """Playwright's."""
        self.touch = touch
        self.requests: list[str] = []
        """Addresses that were asked for."""
        self.errors: list[str] = []
        """Exceptions, and everything that was logged or asked in a dialog."""
        self._session = context.new_cdp_session(self.page)
        self.page.on("request", lambda one: self.requests.append(one.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda message: self.errors.append(message.text))
        self.page.on("dialog", lambda one: (self.errors.append(one.message), one.dismiss()))

    def show(self, *, width: int, height: int, scheme: str) -> None:
        """Set the window's size in CSS pixels and the system's theme, `light` or `dark`."""
        self.page.set_viewport_size({"width": width, "height": height})
        self.page.emulate_media(media="null", color_scheme=scheme)

    def forget(self) -> None:
        """Leave the page and whatever it has stored, with the pointer outside the window."""
        addresses = [self.page.url, *self.requests]
        self.page.goto("about:blank")
        self.page.mouse.move(-9, -9)
        for scheme, host in {urlsplit(one)[:2] for one in addresses if "//" in one}:
            self._session.send(
                "Storage.clearDataForOrigin",
                {"origin": f"{scheme}://{host}", "storageTypes": "all"},
            )
        self.requests, self.errors = [], []

    def close(self) -> None:
        """Close it, its context too."""
        self.page.context.close()


@dataclass
class Tabs:
    """One with a touch screen and one without, while no test has them."""

    browser: Any
    idle: dict[bool, Tab] = field(default_factory=dict)

    def take(self, *, touch: bool = False) -> Tab:
        """The idle one, another if a test takes several."""
        return self.idle.pop(touch, None) or Tab(self.browser, touch=touch)

    def give_back(self, tab: Tab) -> None:
        """For the next test, as if nothing had been there; one is enough."""
        if tab.touch in self.idle:
            tab.close()
            return
        tab.forget()
        self.idle[tab.touch] = tab
