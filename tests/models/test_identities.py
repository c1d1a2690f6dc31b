"""Identities of weights, without loading them: the same as from `load`, with a cheap check for
changes.
"""

import shutil
from dataclasses import replace

import pytest

from analysis.core.errors import UnsupportedModelError
from analysis.data import corpora, questions
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.models.loading import load
from analysis.models.source import identity as identities
from analysis.models.source import resolving
from analysis.models.source.model_spec import ModelSpec


def test_identity_is_the_one_that_models_resolve_to(tiny_folder, cache):
    folder = tiny_folder("llama")
    assert (
        identities.of_local(str(folder)) == resolving.resolve_model(ModelSpec(str(folder))).identity
    )


def test_exchanged_weights_change_stamps_and_identity(tiny_folder, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder("llama"), folder)
    stamps, identity = identities.stamps(str(folder)), identities.of_local(str(folder))
    assert identity == identities.of_local(str(tiny_folder("llama")))
    shutil.copy(tiny_folder("qwen3") / "model.safetensors", folder / "model.safetensors")
    assert identities.stamps(str(folder)) != stamps
    assert identities.of_local(str(folder)) not in ("", identity)


def test_nothing_there_is_no_identity(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    for source in (
        str(tmp_path),
        str(tmp_path / "notes.txt"),
        str(tmp_path / "gone"),
        "someone/model",
        "starter",
    ):
        assert identities.of_local(source) == ""
        assert identities.stamps(source) == ()


def test_weights_with_another_identity_than_requested_are_not_loaded(tiny_folder, cache):
    spec = resolving.resolve_model(
        ModelSpec(str(tiny_folder("llama")), dtype="float32", device="cpu")
    )
    assert load.load(spec).spec == spec
    with pytest.raises(
        UnsupportedModelError, match=r"but the request names files:false\. .* without an identity\."
    ):
        load.load(replace(spec, identity="files:false"))


def test_identity_of_texts_and_questions_ignores_the_request(tmp_path):
    (tmp_path / "texts.txt").write_text("one\n\ntwo")
    (tmp_path / "questions.csv").write_text("question,A,B,answer\nWhich?,this,that,A\n")
    for resolve, spec in (
        (corpora.resolve, CorpusSpec(str(tmp_path / "texts.txt"))),
        (questions.resolve, BenchmarkSpec(str(tmp_path / "questions.csv"))),
    ):
        assert resolve(replace(spec, identity="false")) == resolve(spec) == resolve(resolve(spec))
        assert resolve(spec).identity.startswith("sha256:")
