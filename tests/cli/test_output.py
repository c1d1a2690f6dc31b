"""Where answers are written: regular files are replaced, devices and pipes written to, and the rest
is refused.
"""

import json
import os
import socket
import stat
import threading

import pytest

from analysis.cli import answers, main

ANSWER = {"auto_resume": False, "jobs": []}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "cache"))


def asked(capsys, path) -> tuple[int, str]:
    code = main.main(["jobs", "list", "--json", str(path)])
    return code, capsys.readouterr().err


def test_a_new_file_and_an_older_one_are_written_whole(tmp_path, capsys):
    for _ in range(2):
        assert asked(capsys, tmp_path / "out.json") == (0, "")
        assert json.loads((tmp_path / "out.json").read_text()) == ANSWER
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_device_is_written_to_and_stays_a_device(tmp_path, capsys):
    if os.geteuid() != 0:
        pytest.skip("making devices needs root")
    for name, minor, code in (("null", 3, 0), ("full", 7, 2)):
        try:
            os.mknod(tmp_path / name, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
        except PermissionError:
            pytest.skip("devices cannot be made here")
        assert asked(capsys, tmp_path / name)[0] == code
        assert stat.S_ISCHR((tmp_path / name).stat().st_mode)


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path, capsys):
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    (tmp_path / "link").symlink_to(pipe)
    for path in (pipe, tmp_path / "link"):
        reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
        reader.start()
        assert asked(capsys, path) == (0, "")
        reader.join(10)
    assert [json.loads(content) for content in read] == [ANSWER] * 2
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_the_target_of_a_link_is_replaced_and_the_link_stays(tmp_path, capsys):
    (tmp_path / "link").symlink_to(tmp_path / "target.json")
    for _ in range(2):
        assert asked(capsys, tmp_path / "link") == (0, "")
        assert json.loads((tmp_path / "target.json").read_text()) == ANSWER
    assert (tmp_path / "link").is_symlink()


def test_an_unwritable_output_is_one_sentence_and_exit_code_2(tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("")
    sock = socket.socket(socket.AF_UNIX)
    monkeypatch.chdir(tmp_path)
    sock.bind("socket")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path, sentence in {
        "": "has no value",
        " ": "has no value",
        "a\0b": "has no value",
        tmp_path: "is a folder",
        tmp_path / "nowhere" / "out.json": "does not exist",
        tmp_path / "file" / "out.json": "Not a directory",
        tmp_path / "socket": "is not a regular file",
        tmp_path / "loop": "cannot be written",
        tmp_path / ("x" * 300): "File name too long",
    }.items():
        code, said = asked(capsys, path)
        assert (code, said.count("\n")) == (2, 1), path
        assert sentence in said
    sock.close()
    assert not (tmp_path / "nowhere").exists()


def test_an_unwritable_place_is_refused_before_anything_is_computed(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(answers, "run", lambda spec: pytest.fail("it was computed"))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    for words in (
        ("distances", "starter", "--json", str(tmp_path / "x.json")),
        ("run", "sweep", "--json", str(tmp_path / "x.json")),
        ("export", "starter", "--block", "11:5", "--out", str(tmp_path / "new")),
        ("report", "starter", "--out", str(tmp_path / "x.html")),
    ):
        assert main.main(list(words)) == 2
        assert "is not writable" in capsys.readouterr().err


def test_an_export_does_not_replace_a_link_to_empty_folder(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    assert main.main(["export", "starter", "--block", "11:5", "--out", str(tmp_path / "link")]) == 2
    assert "is a link to" in capsys.readouterr().err
