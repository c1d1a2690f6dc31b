"""Which program this is: a changed line makes another one of it."""

import shutil

from analysis import __version__
from analysis.jobs.runner import versions


def test_a_changed_line_of_code_is_another_program(tmp_path, monkeypatch):
    code = shutil.copytree(
        versions._CODE, tmp_path / "analysis", ignore=shutil.ignore_patterns("__pycache__")
    )
    own = versions.program.__wrapped__()
    monkeypatch.setattr(versions, "_CODE", code)
    assert versions.program.__wrapped__() == own
    assert own.startswith(f"{__version__}+")
    (code / "core" / "stats.py").write_text("# another\n")
    assert versions.program.__wrapped__() != own
