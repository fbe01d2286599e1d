"""Headless Chromium, spoken to by the DevTools protocol over two pipes: no network, no driver.

    us ── fd 3: {"id": 1, "method": …}\\0 ──▶ chromium
    us ◀─ fd 4: {"id": 1, "result": …}\\0 ─── chromium      and events without an id

https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Seen:
    """What a page looked like in a window of this width."""

    width: int
    content_width: int  # of the whole document: more than width means that it overflows
    widest: str  # the element that reaches furthest to the right
    complaints: tuple[str, ...]  # of the console and the security policy
    requests: tuple[str, ...]  # everything that was fetched besides the page
    png: bytes


class Browser:
    """One running browser."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back = to, back
        self._buffer = b""
        self._last = 0
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """One command and its result; events that come meanwhile are kept."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next(60)
            if answer.get("id") == self._last:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def wait_for(self, method: str) -> None:
        """Until this event has come."""
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self._next(60))

    def _next(self, timeout_s: float) -> dict[str, Any]:
        deadline = time.monotonic() + timeout_s
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._back], [], [], max(deadline - time.monotonic(), 0))
            assert ready, "the browser does not answer"
            data = os.read(self._back, 1 << 20)
            assert data, "the browser has ended"
            self._buffer += data
        first, _, self._buffer = self._buffer.partition(b"\0")
        found: dict[str, Any] = json.loads(first)
        return found

    def look(self, page: Path, width: int, *, dark: bool = False, media: str = "screen") -> Seen:
        """Open a file in a window of this width."""
        self.events.clear()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Log", "Runtime", "Network"):
            self.call(f"{domain}.enable", session)
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.call("Emulation.setDeviceMetricsOverride", session, **size)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", session, media=media, features=scheme)
        self.events.clear()
        self.call("Page.navigate", session, url=page.as_uri())
        self.wait_for("Page.loadEventFired")
        told = self.call("Runtime.evaluate", session, expression=_MEASURE, returnByValue=True)[
            "result"
        ]["value"]
        shot = self.call("Page.captureScreenshot", session, captureBeyondViewport=True)["data"]
        self.call("Target.closeTarget", targetId=target)
        return Seen(
            width,
            told["width"],
            told["widest"],
            tuple(_complaints(self.events)),
            tuple(_requests(self.events, page)),
            base64.b64decode(shot),
        )

    def heights(self, page: Path) -> tuple[int, int]:
        """How high the page is on a screen, with all details closed, and when it is printed."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable", session)
        self.call("Page.navigate", session, url=page.as_uri())
        self.wait_for("Page.loadEventFired")
        found = []
        for media in ("screen", "print"):
            self.call("Emulation.setEmulatedMedia", session, media=media)
            height = "document.documentElement.scrollHeight"
            told = self.call("Runtime.evaluate", session, expression=height, returnByValue=True)
            found.append(told["result"]["value"])
        self.call("Target.closeTarget", targetId=target)
        return found[0], found[1]


_MEASURE = """(() => {
  document.querySelectorAll("details").forEach(each => { each.open = true; });
  const inside = element => element.closest(".scroll") === null;
  const all = [...document.body.querySelectorAll("*")].filter(inside);
  const right = element => element.getBoundingClientRect().right;
  const widest = all.reduce((a, b) => right(a) > right(b) ? a : b, document.body);
  return {width: document.documentElement.scrollWidth, widest: widest.outerHTML.slice(0, 200)};
})()"""


def _complaints(events: list[dict[str, Any]]) -> Iterator[str]:
    for event in events:
        if event.get("method") == "Log.entryAdded":
            yield event["params"]["entry"]["text"]
        if event.get("method") in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
            yield json.dumps(event["params"])


def _requests(events: list[dict[str, Any]], page: Path) -> Iterator[str]:
    for event in events:
        if event.get("method") == "Network.requestWillBeSent":
            url = event["params"]["request"]["url"]
            if url != page.as_uri() and not url.startswith("data:"):
                yield url


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A browser with a profile directory of its own, ended with the block."""
    in_read, in_write = os.pipe()
    out_read, out_write = os.pipe()
    command = (
        *("chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
        *("--no-first-run", "--disable-background-networking", "--disable-dev-shm-usage"),
        *(f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"),
    )
    # the browser expects its pipes as descriptors 3 and 4; a shell puts them there
    shell = f'exec "$@" 3<&{in_read} 4>&{out_write}'
    process = subprocess.Popen(
        ["bash", "-c", shell, "bash", *command],
        pass_fds=(in_read, out_write),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"], "HOME": str(profile)},
        start_new_session=True,
    )
    os.close(in_read)
    os.close(out_write)
    opened = Browser(in_write, out_read)
    try:
        yield opened
        opened.call("Browser.close")
    finally:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
        os.close(in_write)
        os.close(out_read)
