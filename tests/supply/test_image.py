"""The container: the content of the image, the user who runs it, and the open ports of a small
cluster of it.

There is no container engine where these tests run. The texts are read as an engine reads them. Of
the commands in them, the tests run the one that can run here, which is the health check.
"""

import fnmatch
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
import yaml

from tests.support import server

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]


def instructions() -> list[tuple[str, str]]:
    """Every instruction of the Dockerfile in order, with its arguments on one line."""
    lines = [
        line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#")
    ]
    whole = "\n".join(lines).replace("\\\n", " ")
    return [
        (line.split()[0], " ".join(line.split()[1:])) for line in whole.splitlines() if line.strip()
    ]


def stage(name: str) -> list[tuple[str, str]]:
    """The instructions of a stage and of those that it begins from."""
    found: dict[str, list[tuple[str, str]]] = {}
    for word, rest in instructions():
        if word == "FROM":
            source, _, here = rest.split()
            found[here] = [*found.get(source, [])]
        found[here].append((word, rest))
    return found[name]


def ignored(path: str) -> bool:
    """Return whether `.dockerignore` keeps a path of the repository out: the last line that matches
    it or a folder above it counts."""
    out = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.lstrip("!").removeprefix("**/")
        parts = path.split("/")
        tails = range(len(parts)) if "**/" in line else range(1)
        named = [
            "/".join(parts[start:end])
            for start in tails
            for end in range(start + 1, len(parts) + 1)
        ]
        if line and not line.startswith("#") and any(matches(one, pattern) for one in named):
            out = not line.startswith("!")
    return out


def matches(path: str, pattern: str) -> bool:
    return path.count("/") == pattern.count("/") and fnmatch.fnmatchcase(path, pattern)


@pytest.mark.parametrize("name", ["dashboard", "ray"])
def test_image_runs_as_fixed_user_that_is_not_root(name):
    users = [rest for word, rest in stage(name) if word == "USER"]
    assert users[-1] == "10001:10001"
    assert any("--uid 10001" in rest for word, rest in stage(name) if word == "RUN")


def test_copied_files_are_in_the_repository_and_the_build():
    for word, rest in instructions():
        if word == "COPY" and "--from" not in rest and rest != ". .":
            for path in rest.split()[:-1]:
                assert (ROOT / path).exists(), path
                assert not ignored(path), path


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".venv/bin/python",
        ".streamlit/secrets.toml",
        "cache/access.json",
        "cache/jobs.sqlite",
        "ray-token",
        "tests/conftest.py",
        "analysis/core/__pycache__/store.cpython-311.pyc",
        "sbom.json",
        ".env",
    ],
)
def test_nothing_private_or_made_here_gets_into_the_image(path):
    assert ignored(path)


def test_image_has_all_files_that_the_program_reads():
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    rooms = ("analysis/", "pages/", "supply/", "cache/precomputed/")
    needed = [path for path in tracked if path.startswith(rooms)] + [
        "app.py",
        ".streamlit/config.toml",
    ]
    assert len(needed) > 200
    assert [path for path in needed if ignored(path)] == []


def test_the_cache_is_a_volume_for_its_owner_alone():
    lines = stage("dashboard")
    assert ("VOLUME", "/cache") in lines
    assert any(
        "install --directory --mode 0700 --owner 10001 --group 10001 /cache" in rest
        for _, rest in lines
    )
    assert any(word == "ENV" and "LAYERSCOPE_CACHE=/cache" in rest for word, rest in lines)


def test_started_container_is_healthy_asks_for_login_and_names_token(tmp_path):
    """The unchanged command of the image, on a port of our own and in a cache that was made as the
    image makes it.
    """
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o700)
    [command] = [yaml.safe_load(rest) for word, rest in stage("dashboard") if word == "CMD"]
    [health] = [
        yaml.safe_load(rest.partition("CMD ")[2])
        for word, rest in stage("dashboard")
        if word == "HEALTHCHECK"
    ]
    command = [sys.executable, *command[1 : command.index("--port")], "--port"]
    with server.running(command, cache) as (_, port):
        asked = [word.replace("8501", str(port)) for word in health[1:]]
        until = time.monotonic() + 60
        while subprocess.run([sys.executable, *asked], capture_output=True).returncode != 0:
            assert time.monotonic() < until
            time.sleep(0.5)
        with pytest.raises(HTTPError, match="401"):
            urlopen(f"http://127.0.0.1:{port}/", timeout=10)
        said = (cache / "server.log").read_text()
    assert "Layerscope runs in Show" in said
    assert f"The tokens of visitors and of the host are in {cache / 'access.json'}" in said
    assert (cache / "access.json").stat().st_mode & 0o777 == 0o600
    assert cache.stat().st_mode & 0o777 == 0o700


def test_only_the_dashboard_is_published_and_only_to_this_machine():
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"dashboard": ["127.0.0.1:8501:8501"]}
    assert not any(
        "network_mode" in service or "expose" in service for service in SERVICES.values()
    )


def test_token_is_a_secret_file_and_no_variable():
    assert COMPOSE["secrets"] == {"ray-token": {"file": "${RAY_TOKEN_FILE:-./ray-token}"}}
    for service in SERVICES.values():
        assert service["secrets"] == ["ray-token"]
        assert service["environment"]["RAY_AUTH_MODE"] == "token"
        assert service["environment"]["RAY_AUTH_TOKEN_PATH"] == "/run/secrets/ray-token"
        assert "RAY_AUTH_TOKEN" not in service["environment"]
    assert SERVICES["dashboard"]["environment"]["RAY_API_SERVER_ADDRESS"] == "http://head:8265"
    assert "ray-token" in (ROOT / ".gitignore").read_text().splitlines()


def test_services_are_unprivileged_and_limited():
    for service in SERVICES.values():
        assert (service["user"], service["cap_drop"]) == ("10001:10001", ["ALL"])
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "privileged" not in service
        assert {"cpus", "memory"} <= service["deploy"]["resources"]["limits"].keys()
