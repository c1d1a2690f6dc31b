"""The Model page without a process that inspects a model: its answer is made up, and the starter is
installed.
"""

from collections.abc import Callable

import pytest

from analysis.data import starter
from analysis.models.source.model_spec import InspectResult, ModelSpec
from pages.components.model import inspection
from tests.support import fakes


@pytest.fixture
def inspected(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[Callable[[ModelSpec], InspectResult | None]], None]:
    """A function that sets the answer of an inspection; without a call, every model is the
    starter's copy.
    """

    def answer(of: Callable[[ModelSpec], InspectResult | None]) -> None:
        monkeypatch.setattr(inspection, "of", of)

    monkeypatch.setattr(starter, "is_installed", lambda: True)
    answer(lambda model: fakes.inspect())
    return answer
