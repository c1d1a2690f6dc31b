"""The command `layerscope`, and `dashboard`, which opens the pages."""

import os
import sys
from pathlib import Path

import pytest

from analysis.cli import dashboard
from analysis.cli import main as command_line

ROOT = Path(__file__).resolve().parents[2]


def test_help_names_the_command_as_it_was_called(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/layerscope"])
    with pytest.raises(SystemExit):
        command_line.main(["--help"])
    assert capsys.readouterr().out.startswith("usage: layerscope ")


def test_dashboard_starts_the_server_from_any_folder(monkeypatch, tmp_path):
    started = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "execv", lambda path, words: started.append((path, words, Path.cwd())))
    assert command_line.main(["dashboard", "--port", "9000"]) == 0
    [(path, words, folder)] = started
    assert (path, folder) == (sys.executable, ROOT)
    assert words[1:] == [
        "-m",
        "pages.web.start",
        "app.py",
        "--server.port",
        "9000",
        "--server.address",
        "127.0.0.1",
    ]


@pytest.mark.parametrize("port", ["0", "65536", "-1"])
def test_port_outside_the_range_is_refused(port, capsys):
    assert command_line.main(["dashboard", f"--port={port}"]) == 2
    assert "--port must be 1..65535" in capsys.readouterr().err


def test_missing_pages_are_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(dashboard, "APP", tmp_path / "app.py")
    assert command_line.main(["dashboard"]) == 2
    assert "pip install -e ." in capsys.readouterr().err
