"""The wheel: what `pip install` of it brings is the whole program, outside of a checkout."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from analysis import __version__
from tests.support import browser

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.long
def test_installed_wheel_serves_the_dashboard_and_the_gallery(tmp_path):
    """Builds with the package index, as `pip install` does."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path, ROOT], check=True)
    venv.create(tmp_path / "env", with_pip=False)
    (packages,) = (tmp_path / "env").glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    python = tmp_path / "env" / "bin" / "python"
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([*pip, "--python", python, "install", "--no-deps", wheel], check=True)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("LAYERSCOPE_")
    }
    environment["HOME"] = str(tmp_path)
    program = tmp_path / "env" / "bin" / "layerscope"

    def answer(*words: str) -> str:
        done = subprocess.run(
            [program, *words], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert __version__ in answer("--version")
    answer("sheet", "starter", "--block", "14:5", "--out", "sheet.md")
    assert "layers 14-18" in (tmp_path / "sheet.md").read_text()
    assert (tmp_path / ".cache" / "layerscope").is_dir()
    port, log = browser.free_port(), tmp_path / "log.txt"
    with log.open("w") as out:
        server = subprocess.Popen(
            [program, "dashboard", "--port", str(port)],
            cwd=tmp_path,
            env=environment,
            stdout=out,
            stderr=out,
        )
    try:
        browser.wait_until_healthy(f"http://127.0.0.1:{port}/_stcore/health", server, log)
    finally:
        server.terminate()
        server.wait()
