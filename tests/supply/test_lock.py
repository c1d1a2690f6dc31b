"""The lock files: they fit the ranges, name hashes, and never make an install worse than without
them.
"""

import hashlib
import re
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from supply import install

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("requirements.lock", "requirements-dev.lock")
RANGES = (
    "requirements.txt",
    "requirements-dev.txt",
    *(f"requirements-{name}.txt" for name in ("mcp", "ray", "slurm")),
)
OUTSIDE = "torch"
OURS = {
    "python_full_version": "3.11.9",
    "python_version": "3.11",
    "sys_platform": "linux",
    "platform_machine": "x86_64",
}


def lines(name: str) -> list[str]:
    """Return the packages of a requirements file, a line each, with continuations joined."""
    text = (ROOT / name).read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith(("#", "-"))]


def pins(name: str) -> list[Requirement]:
    return [Requirement(line.partition(" --hash")[0]) for line in lines(name)]


def pinned(one: Requirement) -> Version:
    (only,) = one.specifier
    assert only.operator == "=="
    return Version(only.version)


PINS = pins("requirements-dev.lock")
"""All packages; requirements.lock has those of `make run`."""


@pytest.mark.parametrize(
    "asked", [Requirement(line) for name in RANGES for line in lines(name)], ids=str
)
def test_the_lock_is_within_the_ranges(asked):
    found = [pinned(one) for one in PINS if one.name == re.sub("[-_.]+", "-", asked.name).lower()]
    assert bool(found) == (asked.name != OUTSIDE)
    assert all(version in asked.specifier for version in found)


@pytest.mark.parametrize("name", [*LOCKS, "requirements-starter.txt"])
def test_every_line_of_a_lock_has_hashes_and_no_address(name):
    for line in lines(name):
        assert re.search(r" --hash=sha256:[0-9a-f]{64}", line), line
    assert "://" not in (ROOT / name).read_text()


def test_lock_leaves_out_torch_and_its_own_dependencies():
    names = {one.name for one in PINS}
    assert not {
        name
        for name in names
        if name in ("torch", "triton", "sympy") or name.startswith(("nvidia", "cuda"))
    }
    assert {"streamlit", "transformers", "numpy", "tokenizers", "pytest", "lm-eval"} <= names


@pytest.mark.parametrize("python", ["3.11.9", "3.12.1", "3.13.0", "3.14.0"])
def test_one_version_of_each_package_is_for_each_python(python):
    here = [
        one.name
        for one in PINS
        if one.marker is None or one.marker.evaluate({**OURS, "python_full_version": python})
    ]
    assert len(here) == len(set(here))
    assert {"numpy", "scipy"} <= set(here)


def test_lock_has_the_tested_versions():
    assert {(one.name, pinned(one)) for one in pins("requirements.lock")} < {
        (one.name, pinned(one)) for one in PINS
    }


def test_an_audit_without_an_answer_is_an_error():
    audit = (ROOT / "Makefile").read_text().partition("\naudit:")[2].partition("\n\n")[0]
    assert "pip-audit --strict" in audit


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A folder that is the only index, with two versions of one package; its files, and where they
    are installed.
    """
    for version in ("1.0", "1.1"):
        with zipfile.ZipFile(tmp_path / f"leaf-{version}-py3-none-any.whl", "w") as wheel:
            wheel.writestr("leaf.py", f"version = '{version}'\n")
            about = f"leaf-{version}.dist-info"
            wheel.writestr(
                f"{about}/METADATA", f"Metadata-Version: 2.1\nName: leaf\nVersion: {version}\n"
            )
            wheel.writestr(
                f"{about}/WHEEL",
                "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            )
            wheel.writestr(f"{about}/RECORD", "")
    for name, value in {
        "NO_INDEX": "1",
        "FIND_LINKS": str(tmp_path),
        "TARGET": str(tmp_path / "site"),
    }.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.setattr(install, "PIP", (*install.PIP, "--upgrade"))
    (tmp_path / "ranges.txt").write_text("leaf>=1,<2\n")
    return tmp_path


def asked(shelf: Path, version: str, digest: str) -> str:
    """Install with a lock that names this; the package that is there afterwards."""
    (shelf / "the.lock").write_text(f"leaf=={version} --hash=sha256:{digest}\n")
    assert install.main(["--lock", str(shelf / "the.lock"), str(shelf / "ranges.txt")]) == 0
    return (shelf / "site" / "leaf.py").read_text()


def digest(shelf: Path, version: str) -> str:
    return hashlib.sha256((shelf / f"leaf-{version}-py3-none-any.whl").read_bytes()).hexdigest()


def test_lock_without_packages_for_this_machine_is_skipped_with_message(shelf, capsys):
    assert "1.1" in asked(shelf, "1.7", "0" * 64)
    told = capsys.readouterr().out
    assert told.startswith(
        "the.lock does not match this platform, so pip chooses versions from ranges.txt. pip"
        " reported: ERROR"
    )
    assert len(told.splitlines()) == 1


def test_a_file_of_another_content_is_never_installed(shelf, capsys):
    with pytest.raises(SystemExit, match=r"another hash than the\.lock lists.*LOCK=no"):
        asked(shelf, "1.0", digest(shelf, "1.1"))
    assert not (shelf / "site").exists()


def test_locked_versions_are_installed_although_ranges_allow_newer(shelf, capsys):
    (shelf / "the.lock").write_text(f"leaf==1.0 --hash=sha256:{digest(shelf, '1.0')}\n")
    install.locked(shelf / "the.lock", shelf / "ranges.txt")
    assert "1.0" in (shelf / "site" / "leaf.py").read_text()
    assert not capsys.readouterr().out
