"""An unmodified Firefox, driven through WebDriver BiDi, the protocol that it speaks by itself.

Playwright drives Firefox builds of its own alone. `FirefoxPage` has the few methods of Playwright's
page that the tests of both browsers use. Protocol: https://w3c.github.io/webdriver-bidi/
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

NAMES = ("firefox", "firefox-esr")
PATIENCE = 60.0
"""Seconds the browser may take to start or to answer on a busy machine."""
PREFERENCES = {
    "remote.active-protocols": 1,  # BiDi alone
    "app.update.disabledForTesting": True,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.page": 0,
    "browser.aboutwelcome.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "toolkit.telemetry.server": "",
    "services.settings.server": "data:,",
    # What it prepares for a person, and no test asks for: a fifth of its time.
    "browser.newtabpage.enabled": False,
    "browser.pagethumbnails.capturing_disabled": True,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "dom.ipc.processCount": 1,
    "dom.ipc.processPrelaunch.enabled": False,
    "extensions.enabledScopes": 0,
    "toolkit.cosmeticAnimations.enabled": False,
    "browser.download.folderList": 2,  # the folder that is named, without asking
    "browser.download.alwaysOpenPanel": False,
}
KEYS = {
    "Enter": "\ue007", "Escape": "\ue00c", "Shift": "\ue008",
    "ArrowLeft": "\ue012", "ArrowUp": "\ue013", "ArrowRight": "\ue014", "ArrowDown": "\ue015",
}  # fmt: skip


def firefox_path() -> str | None:
    """Where Firefox is: named in CIRCUIT_TRACER_FIREFOX, or on the path."""
    named = os.environ.get("CIRCUIT_TRACER_FIREFOX", "")
    return named or next((found for name in NAMES if (found := shutil.which(name))), None)


class Firefox:
    """A running Firefox without a window, and the session with it."""

    def __init__(self, path: str, folder: Path):
        import websocket

        profile, self.downloads = folder / "profile", folder / "downloads"
        profile.mkdir(parents=True)
        self.downloads.mkdir()
        preferences = {**PREFERENCES, "browser.download.dir": str(self.downloads)}
        lines = [f"user_pref({json.dumps(k)}, {json.dumps(v)});" for k, v in preferences.items()]
        (profile / "user.js").write_text("\n".join(lines))
        arguments = ["--headless", "--no-remote", "--remote-debugging-port=0", "--profile", profile]
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([path, *map(str, arguments)], stdout=log, stderr=log)
        self.events: list[dict[str, Any]] = []
        self.last = 0
        try:
            self.socket = websocket.create_connection(
                f"{self._address()}/session", timeout=PATIENCE, suppress_origin=True
            )
            self.send("session.new", capabilities={"alwaysMatch": {"acceptInsecureCerts": False}})
            self.send("session.subscribe", events=["log.entryAdded", "network.beforeRequestSent"])
        except BaseException:
            self.process.kill()
            raise

    def _address(self) -> str:
        """Where it listens: it says so when it has started."""
        end = time.monotonic() + PATIENCE
        while not (found := re.search(r"listening on (ws://\S+)", self.log.read_text("utf-8"))):
            assert self.process.poll() is None, "Firefox has ended: " + self.log.read_text("utf-8")
            assert time.monotonic() < end, "Firefox did not start in time"
            time.sleep(0.05)
        return found[1]

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """The answer to a command; events that come before it are kept."""
        self.last += 1
        self.socket.send(json.dumps({"id": self.last, "method": method, "params": params}))
        while (message := json.loads(self.socket.recv())).get("id") != self.last:
            self.events.append(message)
        assert message["type"] == "success", f"{method}: {message}"
        return dict(message["result"])

    def downloaded(self) -> bytes:
        """The file that is being saved, once it is whole; it is taken out of the folder.

        The protocol's events for that are younger than some browsers in use. What is not whole has
        a second file beside it, `.part`.
        """
        end = time.monotonic() + PATIENCE
        while True:
            found = list(self.downloads.iterdir())
            if (
                len(found) == 1
                and found[0].suffix != ".part"
                and (content := found[0].read_bytes())
            ):
                found[0].unlink()
                return content
            assert time.monotonic() < end, f"nothing was saved in time, only {found}"
            time.sleep(0.05)

    def close(self) -> None:
        """End it."""
        self.socket.close()
        self.process.terminate()
        try:
            self.process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()


class Mouse:
    """`page.mouse`."""

    def __init__(self, page: FirefoxPage):
        self.page = page
        self.at = (0.0, 0.0)

    def _act(self, *actions: dict[str, Any]) -> None:
        self.page.perform({"type": "pointer", "id": "mouse", "actions": list(actions)})

    def move(self, x: float, y: float) -> None:
        """Move there."""
        self.at = (x, y)
        self._act({"type": "pointerMove", "x": round(x), "y": round(y)})

    def down(self) -> None:
        """Press the button."""
        self._act({"type": "pointerDown", "button": 0})

    def up(self) -> None:
        """Let the button go."""
        self._act({"type": "pointerUp", "button": 0})

    def click(self, x: float, y: float, *, count: int = 1) -> None:
        """Move there and click."""
        press = [{"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
        self._act({"type": "pointerMove", "x": round(x), "y": round(y)}, *press * count)

    def dblclick(self, x: float, y: float) -> None:
        """Move there and click twice."""
        self.click(x, y, count=2)


class Keyboard:
    """`page.keyboard`."""

    def __init__(self, page: FirefoxPage):
        self.page = page

    def press(self, key: str) -> None:
        """Press a key and let it go."""
        self.type([KEYS.get(key, key)])

    def type(self, characters: str | list[str]) -> None:
        """Press one key after the other."""
        strokes = [
            {"type": kind, "value": one} for one in characters for kind in ("keyDown", "keyUp")
        ]
        self.page.perform({"type": "key", "id": "keyboard", "actions": strokes})


class FirefoxPage:
    """A tab of its own: what the tests of both browsers use of Playwright's page."""

    def __init__(self, browser: Firefox, address: str, width: int, height: int):
        self.browser = browser
        self.user = browser.send("browser.createUserContext")["userContext"]  # its own storage
        tab = browser.send("browsingContext.create", type="tab", userContext=self.user)
        self.context = tab["context"]
        viewport = {"width": width, "height": height}
        browser.send("browsingContext.setViewport", context=self.context, viewport=viewport)
        browser.send("browsingContext.navigate", context=self.context, url=address, wait="complete")
        self.mouse, self.keyboard = Mouse(self), Keyboard(self)

    def perform(self, actions: dict[str, Any]) -> None:
        """Input from one device."""
        self.browser.send("input.performActions", context=self.context, actions=[actions])

    def evaluate(self, script: str, argument: Any = None) -> Any:
        """The value of a JavaScript expression or function, through JSON."""
        value = f"typeof found === 'function' ? found({json.dumps(argument)}) : found"
        asked = f"const found = ({script}); return JSON.stringify(await ({value}));"
        asked = f"(async () => {{ {asked} }})()"
        answer = self.browser.send(
            "script.evaluate", expression=asked, target={"context": self.context}, awaitPromise=True
        )
        assert answer["type"] == "success", answer
        text = answer["result"].get("value")
        return None if text is None else json.loads(text)

    def taken(self, method: str) -> list[dict[str, Any]]:
        """Events of that name so far in this tab."""
        self.evaluate("0")  # what has happened has arrived
        here = [one["params"] for one in self.browser.events if one.get("method") == method]
        return [
            one
            for one in here
            if self.context in (one.get("context"), one.get("source", {}).get("context"))
        ]

    def reload(self) -> None:
        """Load the page again."""
        self.browser.send("browsingContext.reload", context=self.context, wait="complete")

    def close(self) -> None:
        """Close the tab and forget what it stored."""
        self.browser.send("browser.removeUserContext", userContext=self.user)
