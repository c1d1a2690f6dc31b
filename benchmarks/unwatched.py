"""Windows of a Chromium that nobody debugs, as a user's: for the time to the first chart of a page.

Playwright has Chromium take down where every exception is thrown, also those that a script catches itself. Chromium then reads
the functions around that place again. Plotly's script throws some within functions of megabytes, which takes half a second.
So this speaks to Chromium itself, and asks for nothing of that kind.
"""

import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.support import browser

_QUIET = (
    "--headless",
    "--no-startup-window",
    "--remote-debugging-port=0",
    "--disable-field-trial-config",
    "--disable-extensions",
    "--disable-default-apps",
    "--disable-component-extensions-with-background-pages",
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--hide-scrollbars",
    "--mute-audio",
    "--password-store=basic",
    "--use-mock-keychain",
)
"""Flags as Playwright starts it: without a screen, and without work that has nothing to do with the page."""
_NOTE = """
const look = setInterval(() => {
  if (![...document.querySelectorAll('.js-plotly-plot')].some(chart => chart.data && chart.querySelector('.hm'))) return;
  clearInterval(look);
  requestAnimationFrame(() => { window.firstChart = performance.timeOrigin + performance.now(); });
}, 10);
"""
"""Notes the time of the frame that has a map on it, in milliseconds since 1970."""
_LOOK_S = 0.2
_MOST_S = 60


class Chromium:
    """A running Chromium, and the line to it."""

    def __init__(self, line: ClientConnection) -> None:
        self._line, self._number = line, 0

    def ask(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Call a method of the DevTools protocol; its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        self._line.send(json.dumps(message if session is None else {**message, "sessionId": session}))
        while True:
            answer = json.loads(self._line.recv(_MOST_S))
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise SystemExit(f"Chromium does not know {method}: {answer['error']['message']}")
                result: dict[str, Any] = answer["result"]
                return result

    @contextmanager
    def window(self, width: int, height: int, *, is_watched: bool = False) -> Iterator["Window"]:
        """Open an empty window of somebody who was not here before.

        Args:
            width, height: in pixels.
            is_watched: whether Chromium reports exceptions, as it does to Playwright.
        """
        context = self.ask("Target.createBrowserContext")["browserContextId"]
        target = self.ask("Target.createTarget", url="about:blank", browserContextId=context, width=width, height=height)
        session = self.ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        self.ask("Page.enable", session)
        self.ask("Page.addScriptToEvaluateOnNewDocument", session, source=_NOTE)
        if is_watched:
            self.ask("Runtime.enable", session)
        yield Window(self, session)
        self.ask("Target.disposeBrowserContext", browserContextId=context)


class Window:
    """One window."""

    def __init__(self, chromium: Chromium, session: str) -> None:
        self._chromium, self._session = chromium, session

    def first_chart(self, address: str) -> float:
        """Seconds from asking for a page to the first frame with a drawn map on it."""
        began = time.time()
        self._chromium.ask("Page.navigate", self._session, url=address)
        while time.time() - began < _MOST_S:
            time.sleep(_LOOK_S)
            answer = self._chromium.ask("Runtime.evaluate", self._session, expression="window.firstChart", returnByValue=True)
            if (at := answer["result"].get("value")) is not None:
                return float(at) / 1000 - began
        raise SystemExit(f"There was no map at {address} within {_MOST_S} s.")


@contextmanager
def chromium() -> Iterator[Chromium]:
    """The system's Chromium, headless."""
    with tempfile.TemporaryDirectory(prefix="layerscope-chromium-", ignore_cleanup_errors=True) as folder:
        command = [browser.executable(), *browser.FLAGS, *_QUIET, f"--user-data-dir={folder}"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            with connect(_address(Path(folder, "DevToolsActivePort")), max_size=None) as line:
                yield Chromium(line)
        finally:
            process.terminate()
            process.wait(30)


def _address(file: Path) -> str:
    """Wait for Chromium to say where it listens."""
    began = time.monotonic()
    while time.monotonic() - began < _MOST_S:
        lines = file.read_text().splitlines() if file.exists() else []
        if len(lines) > 1:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        time.sleep(_LOOK_S / 4)
    raise SystemExit("Chromium did not start.")
