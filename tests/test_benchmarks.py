"""The helpers of the benchmarks work: benchmarks themselves take minutes to hours, and no test runs
them.
"""

from importlib import import_module
from pathlib import Path

import pytest

from benchmarks import work

BENCHMARKS = Path(work.__file__).parent


@pytest.mark.tiny
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(path.stem for path in BENCHMARKS.glob("*.py")))
def test_each_benchmark_imports_what_it_uses(name):
    import_module(f"benchmarks.{name}")


@pytest.mark.tiny
def test_machine_is_described_with_its_load(capsys):
    assert work.describe_machine("float32") == "float32"
    assert " on " in capsys.readouterr().out
