"""A hosted demo: the files that hosts read name the right ones, and their own command serves 20
visitors below 1 GB.
"""

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import yaml
from streamlit.testing.v1 import AppTest

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "docs" / "deploy"
ENTRY = DEPLOY / "streamlit_app.py"
GUIDE = (ROOT / "docs" / "guides" / "hosted.md").read_text()
"""Between two arrivals. A browser takes the two cores for about as long to open its first page, the
server a tenth of it."""
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
    lines = [
        line
        for line in (DEPLOY / "spaces" / "Dockerfile").read_text().splitlines()
        if not line.startswith("#")
    ]
    whole = "\n".join(lines).replace("\\\n", " ")
    return [
        (line.split()[0], " ".join(line.split()[1:])) for line in whole.splitlines() if line.strip()
    ]


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
    assert order.index("USER") > max(
        place for place, word in enumerate(order) if word in ("RUN", "COPY")
    )


def test_a_space_has_every_file_that_its_image_names():
    copied = files_of_the_space()
    assert all((ROOT / name).exists() for name in copied)
    words = [word for _, rest in instructions() for word in shlex.split(rest)] + command()
    named = {word for word in words if (ROOT / word).exists() and word not in (".", "./")}
    assert {
        "requirements-viewer.txt",
        "analysis",
        "pages",
        "app.py",
        "docs/deploy",
        "docs/deploy/streamlit_app.py",
    } <= named
    assert all(any(name == one or name.startswith(f"{one}/") for one in copied) for name in named)
    assert not any(name.startswith(("tests", "benchmarks", "requirements.txt")) for name in copied)


def test_requirements_of_a_demo_are_those_of_the_viewer():
    [line] = [
        line
        for line in (DEPLOY / "requirements.txt").read_text().splitlines()
        if not line.startswith("#")
    ]
    option, path = line.split()
    assert (option, (DEPLOY / path).resolve()) == ("-r", ROOT / "requirements-viewer.txt")
    before = ("uv.lock", "Pipfile", "environment.yml")
    assert not any((DEPLOY / name).exists() for name in before), (
        "Community Cloud would take it in place of the requirements"
    )
    assert f"`{ENTRY.relative_to(ROOT)}`" in GUIDE


def test_the_entry_shows_nothing_without_its_middleware():
    at = AppTest.from_file(str(ENTRY)).run()
    [error] = at.error
    assert error.value.startswith("This host does not start `st.App`")
    assert len(at.main) == 1


OPTIONS_OF_A_HOST = """
import runpy, sys
sys.modules["torch"] = None
from streamlit import config
flags = dict(word.removeprefix("--").split("=") for word in sys.argv[2:])
config.get_config_options(force_reparse=True, options_from_flags=flags)
runpy.run_path(sys.argv[1])
print([config.get_option(name) for name in flags])
config.get_config_options(force_reparse=True, options_from_flags=flags)
print([config.get_option(name) for name in flags])
"""


def test_a_demo_takes_no_option_of_its_host(tmp_path):
    """Statistics would go from each visitor's browser to Streamlit, and overlapping runs spoil the
    state of a session.
    """
    environment = {**os.environ, "LAYERSCOPE_CACHE": str(tmp_path)}
    run = [sys.executable, "-c", OPTIONS_OF_A_HOST, str(ENTRY), *CLOUD]
    ended = subprocess.run(
        run, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    options = [
        dict(zip(CLOUD, ast.literal_eval(line), strict=True))
        for line in ended.stdout.splitlines()[-2:]
    ]
    for held in options:
        assert held["--browser.gatherUsageStats=true"] is False
        assert held["--client.showErrorDetails=false"] == "none"
        assert held["--runner.fastReruns=true"] is False
