"""A real dashboard on a free port, and a real Chromium in front of it."""

import contextlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from analysis.jobs.queue import processes

REPOSITORY = Path(__file__).resolve().parents[2]
ARTIFACTS = REPOSITORY / "tests" / "artifacts"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Features that Playwright turns off, and two pages of Chromium's own that it would load next to
    # each of ours.
    (
        "--disable-features="
        "AvoidUnnecessaryBeforeUnloadCheckSync,DestroyProfileOnBrowserClose,HttpsUpgrades,HttpsFirstBalancedModeAutoEnable,"
        "LensOverlay,MediaRouter,PaintHolding,ThirdPartyStoragePartitioning,AvoidCorsURLLoaderRestartOnRedirect,OptimizationHints,"
        "NetworkTimeServiceQuerying,AimEnabled,PreconnectToSearch,WebUIOmniboxPopup,WebUIOmniboxAimPopup"
    ),
)
_START_S = 60
_START_LOOK_S = 0.05
_LOOK_MS = 100
"""Between two looks at a page that is waited for: a look with each frame would have frames drawn
that nobody sees."""
ENTRY = ("-m", "pages.web.start", "app.py")
"""Arguments of Python that start the dashboard."""
# Two test processes and a worker share the machine: a page that is right may need more than the
# usual five seconds.
expect.set_options(timeout=30_000)


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def dashboard(
    cache: Path, entry: tuple[str, ...] = ENTRY, port: int | None = None
) -> Iterator[str]:
    """Run the dashboard on a cache folder and yield its address; end the server and its worker."""
    port = port or free_port()
    log = cache / "server.log"
    command = [sys.executable, *entry, "--server.port", str(port), "--server.headless", "true"]
    with log.open("wb") as output:
        server = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until_healthy(f"http://127.0.0.1:{port}/_stcore/health", server, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(90)
        worker = processes.worker()
        if worker is not None:
            worker.kill()


def wait_until_healthy(address: str, server: subprocess.Popen, log: Path) -> None:
    """Wait until a server answers at the address of its health check; fails with its log where it
    ends or takes too long.
    """
    began = time.monotonic()
    while time.monotonic() - began < _START_S and server.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=2):
            return
        time.sleep(_START_LOOK_S)
    pytest.fail(f"The dashboard did not start:\n{log.read_text()}")


def executable() -> str:
    """Where the system's Chromium is."""
    path = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if path is None:
        pytest.fail(
            "The browser tests need Chromium: install it with `apt-get install chromium`, or run"
            " `make chromium`."
        )
    return path


@contextlib.contextmanager
def chromium(*flags: str) -> Iterator[Browser]:
    """The system's Chromium, headless."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=[*FLAGS, *flags])
        yield browser
        browser.close()


def settled(page: Page) -> None:
    """Wait until the page has drawn everything it is going to draw for now."""
    page.get_by_role("heading", level=1).first.wait_for(timeout=60_000)
    page.wait_for_function(
        "() => !document.querySelector('[data-testid=stSkeleton], [data-testid=stSpinner],"
        " [data-testid=stStatusWidget]')",
        timeout=120_000,
        polling=_LOOK_MS,
    )


def drawn(page: Page) -> None:
    """Wait until nothing runs any more and all charts are there, and it has stayed so: a second run
    may follow the first.
    """
    page.evaluate("() => { window.still = null; }")
    page.wait_for_function(f"() => {{ {_STAYED} }}", polling=_LOOK_MS)


def screenshot(page: Page, name: str) -> None:
    """Keep a picture of the window."""
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"{name}.png")


# Whether nothing runs any more, and all charts are there. A skeleton stands for an element whose
# script is still being fetched.
DRAWN = """
() => document.querySelector('[data-testid=stApp]').dataset.testScriptState === 'notRunning'
  && !document.querySelector('[data-testid=stSkeleton]')
  && ![...document.querySelectorAll('[data-testid=stPlotlyChart]')].some(chart => !chart.querySelector('.main-svg'))
"""
_STAYED = f"""
  const now = performance.now();
  window.still = ({DRAWN.strip()})() ? window.still ?? now : null;
  return window.still !== null && now - window.still >= 200;
"""
# Milliseconds from each move of the pointer to the frame after the one that shows it.
PAGES = ("model", "explore", "heal", "compare", "export", "learn")
"""Every page, by the last part of its address."""


def visit(page: Page, address: str, name: str, query: str = "") -> None:
    """Open a page of the dashboard and wait until its charts are drawn."""
    page.goto(f"{address}/{'' if name == 'explore' else name}{query}")
    settled(page)
    drawn(page)


@dataclass(frozen=True)
class Served:
    """A dashboard that runs, and a browser to look at it."""

    address: str
    chromium: Browser
    cache: Path

    def visitor(self, *, width: int = 1280, theme: str = "light", motion: bool = False) -> Page:
        """Return an empty window of somebody who was not here before.

        Without `motion` it asks for less of it: spinning and fading elements take Chromium a fifth
        of its time.
        """
        context = self.chromium.new_context(
            viewport={"width": width, "height": 800},
            color_scheme=theme,
            accept_downloads=True,
            reduced_motion="no-preference" if motion else "reduce",
        )
        page = context.new_page()
        page.set_default_timeout(60_000)
        return page
