"""Heal shows before the start when a training step cannot fit in free memory."""

from analysis.core import host
from tests.support import fakes
from tests.support.seen import texts


def test_form_warns_that_a_step_cannot_fit_and_suggests_settings(app, monkeypatch):
    fakes.distances().save()
    fakes.sweep().save()
    assert "at once needs about" not in texts(app("pages/heal.py", n="5"))
    monkeypatch.setattr(host, "free_bytes", lambda: 5 * 10**8)
    said = texts(app("pages/heal.py", n="5")).replace("\\", "")
    assert "tokens at once needs about" in said
    assert "and only 500 MB are free on this machine. " in said
