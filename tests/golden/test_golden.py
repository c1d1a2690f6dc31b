"""Options, fields, fingerprints, addresses, the report, former results and exact figures stay as
the golden files have them.
"""

import json
from pathlib import Path

import pytest

import analysis as layerscope
from analysis.core import store
from analysis.core.experiment import EXPERIMENTS
from tests.golden import frozen
from tests.support.families import build

FORMER = sorted((frozen.FOLDER / "results").glob("*/*/*/result.json"))


@pytest.mark.parametrize("name", sorted(frozen.MADE))
def test_program_agrees_with_the_golden_file(name):
    different = frozen.differences(frozen.stored(name), json.loads(json.dumps(frozen.MADE[name]())))
    assert not different, (
        f"{different[:20]}; where that is wanted: python -m tests.golden --write, in a commit of"
        " its own"
    )


@pytest.mark.parametrize("path", FORMER, ids=lambda path: "-".join(path.parts[-4:-2]))
def test_result_of_a_former_version_is_read_whole(path: Path):
    kind, folder = path.parts[-3], path.parent
    read = EXPERIMENTS[kind].result.read(store.read(folder, precomputed=True))
    was, now = json.loads(path.read_text())["data"], json.loads(json.dumps(read.to_json()))
    was = {name: value for name, value in was.items() if name not in read.withdrawn}
    was["spec"] = {
        name: value for name, value in was["spec"].items() if name not in read.spec.withdrawn
    }
    lost = [
        line
        for line in frozen.differences(was, now)
        if not line.split(": ")[1].startswith("None -> ")
    ]
    assert not lost
    assert read.complete == was["complete"]


def test_results_of_every_former_version_are_there():
    assert len({path.parts[-4] for path in FORMER}) >= 3


@pytest.mark.parametrize(("family", "dtype"), [("llama", "float32"), ("qwen3", "bfloat16")])
@pytest.mark.usefixtures("cache", "short_texts", "no_trial")
def test_figures_of_small_models_stay(tmp_path, tokenizer, family, dtype):
    build(family, vocab_size=len(tokenizer)).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    model = layerscope.model(tmp_path / "model", dtype=dtype, device="cpu")
    made = frozen.figures(model)
    expected = frozen.stored("figures")[f"{family} {dtype}"]
    tolerance = {"float32": 2e-5, "bfloat16": 3e-2}[dtype]
    assert sorted(made) == sorted(expected)
    for name, figures in expected.items():
        assert made[name] == pytest.approx(figures, rel=tolerance, abs=tolerance), name
