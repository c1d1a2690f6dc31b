"""How a command ends that does not end well: its exit code, the one sentence, and where the details
are.
"""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from analysis.cli import main

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def ended(monkeypatch, capsys, error: BaseException) -> tuple[int, str]:
    """Return exit code and output of a command that raises this error halfway."""

    def fails() -> None:
        raise error

    monkeypatch.setattr("analysis.service.jobs.reap", fails)
    code = main.main(["jobs", "list"])
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [TypeError("seven is not\na number"), RecursionError("too deep"), AssertionError()]
)
def test_a_bug_has_one_sentence_exit_code_and_kept_details(monkeypatch, capsys, place, error):
    code, said = ended(monkeypatch, capsys, error)
    assert code == main.UNFORESEEN == 70
    assert said.count("\n") == 1
    assert said.startswith(
        f"Layerscope has a bug: an unexpected error while running `jobs` ({type(error).__name__}: "
    )
    [kept] = (place / "faults").iterdir()
    assert str(kept) in said
    assert "Traceback" not in said
    assert "Traceback" in kept.read_text()
    assert kept.stat().st_mode & 0o777 == 0o600


def test_a_panic_of_a_library_in_rust_names_the_input(monkeypatch, capsys):
    code, said = ended(
        monkeypatch, capsys, type("PanicException", (BaseException,), {})("index out of bounds")
    )
    assert code == main.BAD_INPUT
    assert "most likely the rules of its tokenizer" in said


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (MemoryError(), "The memory was not enough"),
        (
            RuntimeError("unable to mmap 99 bytes from file <x>: Cannot allocate memory (12)"),
            "The memory was not enough",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "There is no space left on the disk"),
        (OSError(errno.EIO, "Input/output error"), "The disk failed with an input/output error"),
    ],
)
def test_memory_and_disks_are_no_bugs(monkeypatch, capsys, place, error, says):
    code, said = ended(monkeypatch, capsys, error)
    assert code == 2
    assert said.startswith(says)
    assert said.rstrip().endswith("then run it again.")
    assert said.count("\n") == 1
    assert not place.exists()


def test_an_interruption_prints_the_same_as_before(monkeypatch, capsys):
    code, said = ended(monkeypatch, capsys, KeyboardInterrupt())
    assert code == 130
    assert "Interrupted. Finished parts are kept" in said


def test_a_reader_who_closes_the_output_gets_no_error(place):
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run(
        [sys.executable, "-m", "analysis", "jobs", "list"],
        cwd=REPOSITORY,
        stdout=writes,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writes)
    assert done.returncode == main.CLOSED == 141
    assert done.stderr == ""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
def test_a_full_output_is_reported_in_a_sentence(place):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "analysis", "jobs", "list"],
            cwd=REPOSITORY,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 2
    assert done.stderr.startswith("There is no space left on the disk")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("source", ["{}", "org/{}", "{}/name", "org/name/{}.gguf", "{}/a/{}.gguf"])
def test_a_model_name_too_long_for_a_path_is_bad_input(monkeypatch, capsys, source):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    code = main.main(["distances", source.replace("{}", "a" * 5_000)])
    error = capsys.readouterr().err
    assert code == main.BAD_INPUT
    assert error.count("\n") == 1
    assert len(error) < 700
