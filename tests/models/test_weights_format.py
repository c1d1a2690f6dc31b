"""The format of the stored weights is among the facts of a model, and stands in every condition."""

import json
from dataclasses import replace

import pytest

from analysis.core.experiment import EXPERIMENTS
from analysis.models.loading import planning
from analysis.models.source import weights_format
from analysis.models.source.model_spec import ModelSpec
from analysis.results import library
from analysis.results.score import changes, stored_scores
from analysis.results.score.score import ACCURACY
from tests.support import fakes, gguf_files


def test_the_starter_is_q4_1_although_it_computes_in_float32():
    planned = planning.plan(ModelSpec("starter", dtype="float32", device="cpu"))
    assert planned.facts.weights_format == "Q4_1"
    assert planned.spec.precision_in_words(planned.facts) == "float32 from Q4_1 weights"
    assert ModelSpec("starter", dtype="float32").format_of_weights() == "Q4_1", (
        "before anything is read"
    )


def test_most_weights_of_the_layers_name_a_gguf_file(tmp_path):
    file = gguf_files.write(tmp_path / "m.gguf", "llama")
    spec = ModelSpec(str(file), dtype="float32", device="cpu")
    facts = planning.plan(spec).facts
    assert facts.weights_format == weights_format.of_gguf(file) != ""
    assert facts.weights_format in {"Q4_0", "Q5_0", "Q8_0"}


@pytest.mark.parametrize(
    ("dtype", "words"), [("bfloat16", "float32 from bfloat16 weights"), ("float32", "float32")]
)
def test_a_folder_names_its_dtype_only_if_another_computes(tiny_folder, tmp_path, dtype, words):
    folder = tmp_path / "model"
    folder.symlink_to(tiny_folder(), target_is_directory=True)
    if dtype != "float32":
        folder.unlink()
        folder.mkdir()
        for file in tiny_folder().iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        told = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(told | {"dtype": dtype}))
    planned = planning.plan(ModelSpec(str(folder), dtype="float32", device="cpu"))
    assert planned.facts.weights_format == dtype
    assert planned.spec.precision_in_words(planned.facts) == words


def test_every_gallery_result_names_the_format_of_its_weights():
    found = [one.result for kind in EXPERIMENTS for one in library.find(kind)]
    formats = {
        (one.spec.model.source, one.spec.model.format_of_weights(getattr(one, "model", None)))
        for one in found
    }
    assert {source.rsplit("/", 1)[-1]: name for source, name in formats} == {
        "starter": "Q4_1",
        "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf": "Q4_K_M",
        "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf": "Q4_K_M",
    }


def test_condition_names_the_format_and_compares_with_older_ones():
    sweep = fakes.sweep(limit=100)
    new = replace(sweep, model=replace(sweep.model, weights_format="Q4_1"))
    elsewhere = replace(
        sweep,
        spec=replace(sweep.spec, model=replace(sweep.spec.model, identity="", source="/models/a")),
    )
    scores = [stored_scores.of_sweep(one, one.points[5].block)[ACCURACY] for one in (sweep, new)]
    assert [one.condition.weights for one in scores] == ["Q4_1", "Q4_1"]
    assert scores[0].condition.on_what() == "100 ARC-Easy questions, bfloat16 from Q4_1 weights"
    assert (
        stored_scores.of_sweep(elsewhere, elsewhere.points[5].block)[ACCURACY].condition.weights
        == ""
    )
    conditions = [one.condition for one in scores]
    assert conditions[0] == replace(conditions[1], weights="")
    assert changes.change(*scores).difference == 0
