"""A model with a map and a curve, on which most tests of Explore stand."""

from pathlib import Path

import pytest

from analysis.experiments.accuracy.sweep_spec import SweepResult
from tests.support import fakes


@pytest.fixture
def curve(ui_cache: Path) -> SweepResult:
    """The stored curve of `similarity` with its answers, beside the map of the same model."""
    fakes.distances().save()
    made = fakes.sweep(answers=True)
    made.save()
    return made
