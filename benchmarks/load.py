"""`make load`: many visitors at once in Chromium while a healing run works.

    python benchmarks/load.py                                 20 sessions for 10 minutes
    python benchmarks/load.py --sessions 3 --minutes 0.5      a small one
    python benchmarks/load.py --no-heal                       without a healing run
    python benchmarks/load.py --pause 2 6                     in a hurry

Visitors come one after another. When all are there, each moves for so long as people do, with pauses: the slider on Explore,
its tabs, the pages.

It prints the errors that anyone saw: on a page, in the browser's console, in the server's log. It prints the time from a click
to the finished page, and the server's part of it. A run of a script has its cost to the server in elapsed and in CPU seconds,
and the functions that take them. The server's memory is printed too.

Model finishes before a model that nobody has looked at is read: its further wait is reported by itself. The browsers of all
visitors share the cores with the server and the healing run, which they do nowhere else. Much of the times from a click is
theirs, so the CPU seconds of each are printed as well. Exit code 1 when there was an error.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import psutil
from playwright.async_api import Browser, ConsoleMessage, Error, Page, async_playwright

from analysis import jobs
from analysis.jobs.queue import processes
from benchmarks import sampled_server
from tests.support import browser

LOOK_MS = 50
"""How often a window is asked whether the result of a click is there. At every frame, that takes a twentieth of a CPU core."""
SIZE = {"width": 1280, "height": 800}
PAUSE_S = (10.0, 30.0)
"""How long a visitor looks at the result of a click before the next: between these, evenly."""
APART_S = 5.0
"""Visitors come by this much after one another, or sooner where the visit is short."""
PATIENCE_MS = 60_000
TABS = ("Questions", "Cost", "Trade-off", "Generation", "Map and curves")
PAGES = ("Explore", "Heal", "Compare", "Export", "Learn", "Model")
SHARES = {"slider": 5, "tab": 2, "page": 3}
"""Relative frequencies of a visitor's actions."""
PROFILE_LINES = 16
STEADY = 0.05
"""How much the memory may grow after the first third, as a fraction."""

SHOWN = """([what, name]) => {
  const texts = (where, inside = document) => [...inside.querySelectorAll(where)].map(item => item.textContent);
  if (what === 'slider') return texts('[data-testid=stMain] strong').some(text => text.includes(`(${name} layer`));
  if (what === 'tab') return texts('[role=tab][aria-selected=true]').some(text => text.trim() === name);
  return texts('h1').some(text => text.trim() === name);
}"""


FOUND = (
    "() => document.querySelector('[data-testid=stMain] [data-testid=stMetric]')"
    " || document.body.innerText.includes('viewer without torch')"
)
"""Whether Model shows the facts of the model, which a viewer never does."""
ONCE = ("opening", "model found")
"""Timed events that are no rerun."""


@dataclass
class Log:
    """Experience of the visitors."""

    took: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Seconds from a click to the finished page, by the kind of click."""
    errors: list[str] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)
    """Seconds since the last visitor came, and the resident memory of the server in bytes."""
    shared: dict[str, float] = field(default_factory=dict)
    """Seconds of processors, by who had them."""


def say(*words: object) -> None:
    print(*words, flush=True)


async def act(page: Page, chance: random.Random, log: Log) -> None:
    """Do one action and wait until its result is there."""
    kind = chance.choices(list(SHARES), list(SHARES.values()))[0]
    if kind != "page" and not page.url.split("?")[0].endswith("explore"):
        kind, name = "page", "Explore"
    elif kind == "page":
        name = chance.choice([name for name in PAGES if not page.url.split("?")[0].endswith(name.lower())])
    elif kind == "tab":
        name = chance.choice(TABS)
    else:
        name = str(chance.randint(1, 15))
    started = time.perf_counter()
    if kind == "page":
        await page.get_by_test_id("stSidebar").get_by_role("link", name=name, exact=True).click()
    elif kind == "tab":
        await page.get_by_role("tab", name=name, exact=True).click()
    else:
        slider = page.locator("[data-testid=stSlider] input[type=range]").first
        last = int(await slider.get_attribute("max") or 0)
        name = str(min(int(name), last))
        rail = await page.locator("[data-testid=stSlider] [role=group]").first.bounding_box()
        thumb = 6.0
        x = rail["x"] + thumb + (rail["width"] - 2 * thumb) * int(name) / last
        started = time.perf_counter()
        await page.mouse.click(x, rail["y"] + rail["height"] / 2)
    await drawn(page, kind, name)
    log.took[kind].append(time.perf_counter() - started)
    if name == "Model":
        await page.wait_for_function(FOUND, polling=LOOK_MS)
        log.took["model found"].append(time.perf_counter() - started)


async def drawn(page: Page, kind: str, name: str) -> None:
    """Wait until the result of an action is there and nothing moves."""
    await page.wait_for_function(SHOWN, arg=[kind, name], polling=LOOK_MS)
    await page.wait_for_function(browser.DRAWN, polling=LOOK_MS)


def heard(number: int, message: ConsoleMessage, log: Log) -> None:
    """Note errors of the browser's console."""
    # Streamlit's client looks for its server below the page's own address first: no answer there is no fault.
    looking = "404" in message.text and re.search(r"/\w+/_stcore/[\w-]+$", message.location["url"])
    # It also asks a font's host for a page's icon as the icon of the window, which our policy keeps from leaving.
    kept_back = "https://fonts.gstatic.com/" in message.text and "Content Security Policy" in message.text
    if message.type == "error" and not looking and not kept_back:
        log.errors.append(f"visitor {number}: {message.text} {message.location['url']}")


class Visit:
    """All visitors together: they begin to move when everybody is there."""

    def __init__(self, sessions: int, minutes: float) -> None:
        self._missing, self._minutes = sessions, minutes
        self._everybody = asyncio.Event()
        self.until = float("inf")
        """When it ends, `time.monotonic`."""

    def here(self) -> None:
        """One more is there, or will never be."""
        self._missing -= 1
        if not self._missing:
            self.until = time.monotonic() + 60 * self._minutes
            self._everybody.set()

    async def begun(self) -> None:
        """Wait until everybody is there."""
        await self._everybody.wait()


async def visitor(chromium: Browser, address: str, number: int, pause_s: tuple[float, float], visit: Visit, log: Log) -> None:
    """One person with a window of their own, from opening Explore until time is up."""
    chance = random.Random(number)
    context = await chromium.new_context(viewport=SIZE)
    page = await context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.on("pageerror", lambda error: log.errors.append(f"visitor {number}: {error}"))
    page.on("console", lambda message: heard(number, message, log))
    started = time.perf_counter()
    try:
        try:
            await page.goto(f"{address}/explore")
            await drawn(page, "page", "Explore")
            log.took["opening"].append(time.perf_counter() - started)
        finally:
            visit.here()
        await visit.begun()
        while time.monotonic() < visit.until:
            await asyncio.sleep(chance.uniform(*pause_s))
            await act(page, chance, log)
            for message in await page.locator("[data-testid=stException], [data-testid=stAlertContentError]").all_inner_texts():
                log.errors.append(f"visitor {number} reads: {message}")
    except Error as error:
        log.errors.append(f"visitor {number}, {page.url}: {str(error).splitlines()[0]}")
    await context.close()


class Shares:
    """CPU seconds of each process, also of those that have ended."""

    def __init__(self, server: int) -> None:
        self.server = server
        self.spent: dict[tuple[int, float], tuple[str, float, float]] = {}
        """By process its owner, and its seconds when it was first and last seen."""
        self.began, self.started, self.busy_before = time.monotonic(), time.time(), busy_s()
        self.look()

    def look(self) -> None:
        """Note how much each process had until now."""
        worker = processes.worker()
        own_pids = {child.pid for child in psutil.Process().children(recursive=True)}
        for process in psutil.process_iter(["pid", "ppid", "name", "create_time", "cpu_times"]):
            info = process.info
            if not info["cpu_times"]:
                continue
            spent = info["cpu_times"].user + info["cpu_times"].system
            if info["pid"] == self.server:
                owner = "the server"
            elif info["pid"] in own_pids and "chrom" in (info["name"] or ""):
                owner = "the browsers"
            elif worker is not None and worker.pid in (info["pid"], info["ppid"]):
                owner = "the heal"
            elif info["pid"] == os.getpid():
                owner = "the visitors' hands"
            else:
                continue
            born = (info["pid"], info["create_time"])
            first = self.spent[born][1] if born in self.spent else spent if info["create_time"] < self.started else 0.0
            self.spent[born] = (owner, first, spent)

    def told(self) -> dict[str, float]:
        """Return seconds by owner since the beginning, of all cores, including other programs of this machine."""
        seconds_by_owner = defaultdict[str, float](float)
        for owner, first, last in self.spent.values():
            seconds_by_owner[owner] += last - first
        seconds_by_owner["others"] = max(0.0, busy_s() - self.busy_before - sum(seconds_by_owner.values()))
        all_s = (time.monotonic() - self.began) * (os.cpu_count() or 1)
        return {**seconds_by_owner, "nobody": max(0.0, all_s - sum(seconds_by_owner.values()))}


def busy_s() -> float:
    """Seconds that the processors of this machine have worked since it started."""
    times = psutil.cpu_times()
    return times.user + times.nice + times.system + getattr(times, "irq", 0.0) + getattr(times, "softirq", 0.0)


async def weigh(server: psutil.Process, started: float, log: Log) -> None:
    """Note the server's memory every second, and who has the processors."""
    shares = Shares(server.pid)
    while True:
        with contextlib.suppress(psutil.Error):
            log.memory.append((time.monotonic() - started, server.memory_info().rss))
        shares.look()
        log.shared = shares.told()
        await asyncio.sleep(1)


async def crowd(
    address: str,
    server: psutil.Process,
    sessions: int,
    minutes: float,
    pause_s: tuple[float, float],
    log: Log,
    apart_s: float | None = None,
) -> None:
    """Let the visitors come, one after another, and stay.

    Args:
        address: of the dashboard.
        server: its process.
        sessions: number of visitors.
        minutes: of their stay.
        pause_s: shortest and longest pause between two clicks.
        log: receives their experience.
        apart_s: seconds from one arrival to the next; by default at most a sixth of the stay for all of them.
    """
    apart_s = min(APART_S, 10 * minutes / sessions) if apart_s is None else apart_s
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=browser.executable(), args=list(browser.FLAGS))
        visit, coming = Visit(sessions, minutes), []
        for number in range(sessions):
            coming.append(asyncio.create_task(visitor(chromium, address, number, pause_s, visit, log)))
            await asyncio.sleep(apart_s)
        await visit.begun()
        weighing = asyncio.create_task(weigh(server, time.monotonic(), log))
        await asyncio.gather(*coming)
        weighing.cancel()
        await chromium.close()


def failures(server_log: str) -> list[str]:
    """Return the last line of every traceback in a log: the exception."""
    lines, inside = [], False
    for line in server_log.splitlines():
        if line.lstrip().startswith("Traceback"):
            inside = True
        elif inside and line and not line[0].isspace():
            lines.append(line)
            inside = False
    return lines


def start_heal(minutes: float) -> None:
    """Put a heal that outlasts the visit into the queue, and wait until it runs."""
    heal = ("heal", "starter", "--block", "11:5", "--minutes", f"{minutes + 10:.0f}", "--detach")
    subprocess.run([sys.executable, "-m", "analysis", *heal], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while not any(job.state == jobs.RUNNING for job in jobs.list_jobs()):
        if time.monotonic() > end:
            raise SystemExit("The heal did not begin within two minutes.")
        time.sleep(0.5)


def told(name: str, times: list[float]) -> str:
    ordered = sorted(times)
    p95 = ordered[round(0.95 * (len(ordered) - 1))]
    return f"  {name}: {len(times)}, p50 {statistics.median(ordered):.3f} s, p95 {p95:.3f} s, slowest {ordered[-1]:.3f} s"


def memory_told(memory: list[tuple[float, int]]) -> str:
    """How the memory went: at the start, after a third of the time, at the end."""
    third = memory[-1][0] / 3
    middle = statistics.median(size for time_s, size in memory if third <= time_s < 2 * third)
    last = statistics.median(size for time_s, size in memory if time_s >= 2 * third)
    change = last / middle - 1
    sizes = f"{memory[0][1] / 2**20:.0f} MiB first, {middle / 2**20:.0f} in the second third, {last / 2**20:.0f} in the last"
    return f"memory of the server: {sizes} ({change:+.1%}, {'flat' if abs(change) <= STEADY else 'not flat'} to {STEADY:.0%})"


def shares_told(shared: dict[str, float]) -> str:
    """Who had the processors, the most first."""
    total = sum(shared.values()) or 1.0
    most_first = sorted(shared.items(), key=lambda item: -item[1])
    parts = [f"{owner} {spent:.0f} s ({spent / total:.0%})" for owner, spent in most_first]
    return f"who had the processors while they moved: {', '.join(parts)}"


def report(log: Log, watched: dict) -> None:
    """Print errors, times, CPU seconds and memory."""
    say("from a click to a page that stands still")
    for name, times in log.took.items():
        say(told(name, times))
    reruns = [seconds for name, times in log.took.items() if name not in ONCE for seconds in times]
    if reruns:
        say(told("all reruns", reruns))
    say("the server's part of it, from a request to the last message of its answer")
    for kind in sampled_server.ASKED:
        if answers := [seconds for kind_of_run, seconds in watched["answers"] if kind_of_run == kind]:
            say(told(kind, answers))
    reruns = [seconds for kind_of_run, seconds in watched["answers"] if kind_of_run not in ("tick", "opening")]
    if reruns:
        say(told("all reruns", reruns))
    say(f"  ticks not passed on, since their window was not at rest or many were looking: {watched['left_out']}")
    say("runs of scripts on the server")
    for kind in sampled_server.KINDS:
        runs = [(clock, cpu) for kind_of_run, clock, cpu in watched["runs"] if kind_of_run == kind]
        if not runs:
            continue
        say(told(f"{kind}, clock", [clock for clock, _ in runs]))
        say(told(f"{kind}, processor", [cpu for _, cpu in runs]) + f", {sum(cpu for _, cpu in runs):.1f} s in all")
    say(shares_told(log.shared))
    say(memory_told(log.memory))
    for kind, busy in watched["busy"].items():
        for place, title in (("inside", "in a function of ours or below it"), ("at", "in a function itself")):
            say(f"where the time of {kind} runs goes: {title}")
            for name, count in watched[place][kind][:PROFILE_LINES]:
                say(f"  {count / busy:6.1%} {name}")
    say(f"errors: {len(log.errors)}")
    for error, times in Counter(re.sub(r"^visitor \d+", "a visitor", error) for error in log.errors).most_common(20):
        say(f"  {times} x {error}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Many visitors at once in Chromium during a healing run.")
    parser.add_argument("--sessions", type=int, default=20, help="how many visitors")
    parser.add_argument("--minutes", type=float, default=10, help="how long they move, once all are there")
    parser.add_argument("--pause", type=float, nargs=2, default=PAUSE_S, metavar=("FROM", "TO"), help="seconds between clicks")
    parser.add_argument("--no-heal", action="store_true", help="run without a healing run")
    options = parser.parse_args()
    if options.sessions < 1 or not 0 < options.minutes <= 24 * 60:
        parser.error("There must be at least 1 session, for more than 0 minutes and at most a day.")
    if not 0 <= options.pause[0] <= options.pause[1] <= 3600:
        parser.error("A pause is between two numbers of seconds, the smaller first, and at most an hour.")
    log = Log()
    with tempfile.TemporaryDirectory(prefix="layerscope-load-") as scratch:
        os.environ["LAYERSCOPE_CACHE"] = scratch
        watched = Path(scratch, "watched.json")
        entry = (str(ROOT / "benchmarks" / "sampled_server.py"), str(watched))
        with browser.dashboard(Path(scratch), entry=entry) as address:
            server = next(child for child in psutil.Process().children() if entry[0] in child.cmdline())
            if not options.no_heal:
                start_heal(options.minutes)
            asyncio.run(crowd(address, server, options.sessions, options.minutes, tuple(options.pause), log))
            if not options.no_heal and not any(job.state == jobs.RUNNING for job in jobs.list_jobs()):
                log.errors.append(f"The heal did not run to the end: {[job.state for job in jobs.list_jobs()]}")
        server_log = Path(scratch, "server.log").read_text()
        raised = failures(server_log)
        raised += [line for line in server_log.splitlines() if "Error" in line and line not in raised]
        log.errors += [f"the server's log: {line}" for line in raised]
        background = "no healing run" if options.no_heal else "a healing run"
        paced = f"a click every {options.pause[0]:g} to {options.pause[1]:g} s each"
        say(
            f"{options.sessions} sessions for {options.minutes:g} minutes, {paced}, with {background} on {os.cpu_count()} cores"
        )
        report(log, json.loads(watched.read_text()))
    return 1 if log.errors else 0


if __name__ == "__main__":
    sys.exit(main())
