"""Results of withdrawn methods: ignored, and counted in one line."""

import pytest

from analysis.cli import main
from analysis.core import store
from analysis.data.spec import BenchmarkSpec
from analysis.results import library
from tests.support import fakes


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("heal", {"instant": True, "compensation": "ghost"}),
        ("sweep", {"strategy": "lorp"}),
        ("sweep", {"benchmark": BenchmarkSpec().to_json() | {"task": "of an extension"}}),
        ("restored", {}),
    ],
)
def test_result_of_a_missing_method_or_extension_is_ignored_and_counted(
    cache, capsys, caplog, kind, changes
):
    result = fakes.sweep() if kind == "sweep" else fakes.heal()
    result.save()
    assert main.main(["jobs"]) == 0
    assert "ignored" not in capsys.readouterr().out
    data = result.to_json()
    store.save_result(kind, "0" * 20, data | {"spec": data["spec"] | changes})
    assert main.main(["jobs"]) == 0
    assert "method, setting or extension is gone: 1." in capsys.readouterr().out
    stored = [found.key for found in library.find(result.kind) if not found.precomputed]
    assert stored == [result.spec.fingerprint()]
    assert caplog.messages == []
