"""Contract of every backend: it is described, says why it cannot be used, and knows nothing of a
job that it never had.
"""

import pytest

from analysis import jobs
from analysis.jobs import BACKENDS


@pytest.mark.parametrize("name", BACKENDS)
def test_backend(name, cache):
    backend = BACKENDS[name]
    assert backend.name == name
    assert backend.title
    assert backend.help.endswith(".")
    why = backend.available()
    assert why is None or why.endswith(".")


def test_this_machine_comes_first_and_is_always_available():
    assert next(iter(BACKENDS)) == jobs.LOCAL
    assert BACKENDS[jobs.LOCAL].available() is None
