"""A hosted demo: the files that hosts read name the right ones, and their own command serves 20 visitors below 1 GB."""

import ast
import asyncio
import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil
import pytest
import yaml
from streamlit.testing.v1 import AppTest
from streamlit.web.server.app_discovery import discover_asgi_app

from analysis.results.packs import making
from tests.support import browser, fakes

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "docs" / "deploy"
ENTRY = DEPLOY / "streamlit_app.py"
GUIDE = (ROOT / "docs" / "guides" / "hosted.md").read_text()
MOST_BYTES = 1_000_000_000
VISITORS = 20
MINUTES = 1.0
APART_S = 3.0
"""Between two arrivals. A browser takes the two cores for about as long to open its first page, the server a tenth of it."""
CLOUD = (
    "--client.showErrorDetails=false",
    "--runner.fastReruns=true",
    "--server.runOnSave=true",
    "--server.enableXsrfProtection=true",
    "--browser.gatherUsageStats=true",
)
"""Options that Streamlit Community Cloud sets over those of the configuration file."""


def instructions() -> list[tuple[str, str]]:
    """Every instruction of the Space's Dockerfile in order, with its arguments on one line."""
    lines = [line for line in (DEPLOY / "spaces" / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    whole = "\n".join(lines).replace("\\\n", " ")
    return [(line.split()[0], " ".join(line.split()[1:])) for line in whole.splitlines() if line.strip()]


def command() -> list[str]:
    """The command of the Space."""
    [rest] = [rest for word, rest in instructions() if word == "CMD"]
    return ast.literal_eval(rest)


def front_matter() -> dict:
    """The settings of the Space."""
    _, settings, _ = (DEPLOY / "spaces" / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(settings)


def files_of_the_space() -> list[str]:
    """The files and folders that the guide has people copy into the Space."""
    [names] = re.findall(r"^git archive HEAD (.+) \| tar -x -C space$", GUIDE, re.MULTILINE)
    return names.split()


def test_a_space_serves_its_port_as_its_user():
    settings = front_matter()
    [port] = [rest for word, rest in instructions() if word == "EXPOSE"]
    assert settings["sdk"] == "docker"
    assert settings["app_port"] == int(port) == int(command()[command().index("--server.port") + 1])
    assert command()[command().index("--server.address") + 1] == "0.0.0.0"
    colors = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
    assert {settings["colorFrom"], settings["colorTo"]} <= colors
    assert len(settings["short_description"]) <= 60
    order = [word for word, _ in instructions()]
    assert dict(instructions())["USER"] == "user"
    assert "--uid 1000 user" in next(rest for word, rest in instructions() if word == "RUN")
    assert order.index("USER") > max(place for place, word in enumerate(order) if word in ("RUN", "COPY"))


def test_a_space_has_every_file_that_its_image_names():
    copied = files_of_the_space()
    assert all((ROOT / name).exists() for name in copied)
    words = [word for _, rest in instructions() for word in shlex.split(rest)] + command()
    named = {word for word in words if (ROOT / word).exists() and word not in (".", "./")}
    assert {"requirements-viewer.txt", "analysis", "pages", "app.py", "docs/deploy", "docs/deploy/streamlit_app.py"} <= named
    assert all(any(name == one or name.startswith(f"{one}/") for one in copied) for name in named)
    assert not any(name.startswith(("tests", "benchmarks", "requirements.txt")) for name in copied)


def test_requirements_of_a_demo_are_those_of_the_viewer():
    [line] = [line for line in (DEPLOY / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    option, path = line.split()
    assert (option, (DEPLOY / path).resolve()) == ("-r", ROOT / "requirements-viewer.txt")
    before = ("uv.lock", "Pipfile", "environment.yml")
    assert not any((DEPLOY / name).exists() for name in before), "Community Cloud would take it in place of the requirements"
    assert f"`{ENTRY.relative_to(ROOT)}`" in GUIDE


def test_streamlit_starts_the_entry_with_its_middleware():
    discovered = discover_asgi_app(ENTRY)
    assert (discovered.is_asgi_app, discovered.app_name) == (True, "app")
    assert command()[-5] == str(ENTRY.relative_to(ROOT))


def test_the_entry_shows_nothing_without_its_middleware():
    at = AppTest.from_file(str(ENTRY)).run()
    [error] = at.error
    assert error.value.startswith("This host does not start `st.App`")
    assert len(at.main) == 1


OPTIONS_OF_A_HOST = """
import asyncio, runpy, sys
sys.modules["torch"] = None
from pages.components.explore import warm_up
from streamlit import config
flags = dict(word.removeprefix("--").split("=") for word in sys.argv[2:])
config.get_config_options(force_reparse=True, options_from_flags=flags)
warm_up.begin = lambda: print("begun")
app = runpy.run_path(sys.argv[1])["app"]

async def live():
    async with app._user_lifespan(app):
        print("live")

asyncio.run(live())
print([config.get_option(name) for name in flags])
config.get_config_options(force_reparse=True, options_from_flags=flags)
print([config.get_option(name) for name in flags])
"""


def test_a_demo_begins_and_takes_no_option_of_its_host(tmp_path):
    """Statistics would go from each visitor's browser to Streamlit, and overlapping runs spoil the state of a session."""
    environment = {**os.environ, "LAYERSCOPE_CACHE": str(tmp_path)}
    run = [sys.executable, "-c", OPTIONS_OF_A_HOST, str(ENTRY), *CLOUD]
    ended = subprocess.run(run, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-4:-2] == ["begun", "live"]
    options = [dict(zip(CLOUD, ast.literal_eval(line), strict=True)) for line in ended.stdout.splitlines()[-2:]]
    for held in options:
        assert held["--browser.gatherUsageStats=true"] is False
        assert held["--client.showErrorDetails=false"] == "none"
        assert held["--runner.fastReruns=true"] is False


@pytest.fixture(scope="module")
def space(tmp_path_factory) -> Path:
    """A folder with the files of a Space and a pack, and an environment with its packages."""
    folder = tmp_path_factory.mktemp("space")
    for name in files_of_the_space():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, target)
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    pip = [str(folder / "venv" / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-r", "docs/deploy/requirements.txt"], cwd=folder, check=True)
    return folder


@contextlib.contextmanager
def peak_of(process: psutil.Process) -> Iterator[list[int]]:
    """Note the most resident bytes of a process and its children at one time, ten times a second."""
    peak, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.1):
            with contextlib.suppress(psutil.Error):
                peak[0] = max(peak[0], sum(each.memory_info().rss for each in [process, *process.children(recursive=True)]))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()


@contextlib.contextmanager
def limit_of(n_bytes: int) -> Iterator[Path | None]:
    """Make a control group whose processes are killed beyond so many bytes; None where this user may make none."""
    folder, limit = Path("/sys/fs/cgroup"), "memory.max"
    if (folder / "memory").is_dir():
        folder, limit = folder / "memory", "memory.limit_in_bytes"
    group = folder / f"layerscope-test-{os.getpid()}"
    with contextlib.ExitStack() as stack:
        try:
            group.mkdir()
            stack.callback(group.rmdir)
            (group / limit).write_text(str(n_bytes))
        except OSError:
            yield None
            return
        yield group
        time.sleep(1)  # its last process is still ending


@pytest.mark.long
@pytest.mark.browser
@pytest.mark.timeout(600)
@pytest.mark.parametrize("host", ["Spaces", "Community Cloud"])
def test_a_demo_serves_twenty_visitors_below_a_gigabyte(space, tmp_path, monkeypatch, host):
    from benchmarks import load

    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "made"))
    content = making.make(fakes.MODEL, title="From elsewhere").content
    (space / "docs" / "deploy" / "packs").mkdir(exist_ok=True)
    (space / "docs" / "deploy" / "packs" / "results.zip").write_bytes(content)
    python, port = str(space / "venv" / "bin" / "python"), str(browser.free_port())
    if host == "Spaces":
        start = [python if word == "python" else port if word == "7860" else word for word in command()]
    else:
        start = [python, "-m", "streamlit", "run", str(ENTRY.relative_to(ROOT)), *CLOUD, "--server.port", port]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LAYERSCOPE_", "HF_"))}
    log = tmp_path / "server.log"
    stack = contextlib.ExitStack()
    group = stack.enter_context(limit_of(MOST_BYTES))
    if group is not None:
        start = ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group / "cgroup.procs"), *start]
    with log.open("wb") as output:
        environment = {**kept, "LAYERSCOPE_CACHE": str(tmp_path / "cache")}
        server = subprocess.Popen(start, cwd=space, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        address, seen, process = f"http://127.0.0.1:{port}", load.Log(), psutil.Process(server.pid)
        with peak_of(process) as peak:
            browser.wait_until_healthy(f"{address}/_stcore/health", server, log)
            for path, method in (("/_stcore/upload_file/a/b", "PUT"), ("/poll/join", "POST")):
                with pytest.raises(HTTPError, match="405"):
                    urlopen(Request(address + path, data=b"x", method=method))
            began = time.monotonic()
            asyncio.run(load.crowd(address, process, VISITORS, MINUTES, (2.0, 6.0), seen, APART_S))
            passed = time.monotonic() - began
        n_files = sum(path.is_file() for path in (tmp_path / "cache").rglob("*"))
        n_bytes = sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*") if path.is_file())
    finally:
        server.kill()
        server.wait(10)
        stack.close()
    clicks = sum(len(times) for times in seen.took.values())
    print(f"{host}: {VISITORS} visitors, {clicks} clicks in {passed:.0f} s, at most {peak[0] / 1e6:.0f} MB of memory,", end=" ")
    print(f"{'no limit' if group is None else f'killed beyond {MOST_BYTES / 1e6:.0f} MB'},", end=" ")
    print(f"{n_files} files of {n_bytes / 1e6:.1f} MB in the cache")
    assert not seen.errors, "\n".join(seen.errors)
    assert load.failures(log.read_text()) == []
    assert clicks > VISITORS
    assert peak[0] < MOST_BYTES
