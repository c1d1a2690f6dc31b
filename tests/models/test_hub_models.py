"""A model on the Hub is known before it is fetched, stays of one commit, and is found without the
Hub, or refused.
"""

from dataclasses import replace

import pytest
from huggingface_hub import constants

from analysis import hub
from analysis.cli import lines, main
from analysis.core.errors import ModelNotFoundError, UnsupportedModelError
from analysis.hub import cache
from analysis.models.loading import inspection, load, planning
from analysis.models.source import identity, location, resolving
from analysis.models.source.model_spec import InspectSpec, ModelSpec
from tests.support import gguf_files
from tests.support.levels import few

SPEC = ModelSpec("org/tiny", dtype="float32", device="cpu")


@pytest.fixture
def there(loopback, tiny_folder):
    loopback.add_folder("org/tiny", tiny_folder())
    return loopback


def commit(there, ref="main"):
    return there.models["org/tiny"].refs[ref]


def without_weights(there, **instead):
    files = there.models["org/tiny"].commits[commit(there)]
    return {
        name: content for name, content in files.items() if not name.endswith(".safetensors")
    } | instead


def offline(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def test_size_is_known_before_the_weights_are_fetched(there):
    planned = planning.plan(SPEC)
    assert planned.spec.identity == f"hub:{commit(there)}"
    assert planned.source.remote.commit == commit(there)
    assert planned.source.remote.n_bytes > planned.source.remote.missing_bytes - 1 > 100_000
    assert not there.sent("/cdn/")


def test_it_loads_and_loads_again_without_a_hub(there, monkeypatch):
    first = load.load(SPEC)
    n_asked = len(there.asked)
    offline(monkeypatch)
    again = load.load(SPEC)
    assert again.spec == first.spec
    assert len(there.asked) == n_asked


def test_a_request_stays_with_its_commit(there):
    resolved = resolving.resolve_model(SPEC)
    assert not there.sent("/cdn/")
    before = commit(there)
    there.models["org/tiny"].commit(without_weights(there, **{"model.safetensors": b"other"}))
    n_asked = len(there.asked)
    loaded = load.load(resolved)
    assert loaded.spec.identity == f"hub:{before}"
    assert not any("/api/" in one.path for one in there.asked[n_asked:])
    assert resolving.resolve_model(SPEC).identity != resolved.identity


@pytest.mark.parametrize("words", [("models",), ("evaluate", "--block", "1:1", "--limit", "2")])
def test_one_command_asks_the_hub_once(there, words, tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path))
    main.main([words[0], "org/tiny", *words[1:]])
    assert [one.path for one in there.asked if "/api/" in one.path] == [
        "/api/models/org/tiny/revision/main"
    ]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"pytorch_model.bin": b"x"}, "offers no safetensors weights at commit"),
        ({"tiny-q4.gguf": b"x"}, r"one of its GGUF files \(tiny-q4.gguf\)"),
    ],
)
def test_a_repository_without_safetensors_is_refused_before_anything_fits(there, more, said):
    there.models["org/tiny"].commit(without_weights(there, **more))
    with pytest.raises(UnsupportedModelError, match=said):
        planning.plan(SPEC)


def test_adapter_id_is_refused_with_the_right_place(there):
    there.models["org/tiny"].commit(
        {"adapter_config.json": b"{}", "adapter_model.safetensors": b"x"}
    )
    with pytest.raises(UnsupportedModelError, match="is an adapter.*--adapter"):
        planning.plan(SPEC)


def test_weights_that_lie_there_twice_are_fetched_once(there):
    files = there.models["org/tiny"].commits[commit(there)]
    there.models["org/tiny"].commit(
        {**files, "consolidated.safetensors": b"x" * 999, "original/model.safetensors": b"y" * 99}
    )
    load.load(SPEC)
    assert not any("consolidated" in one.path or "original" in one.path for one in there.asked)


@pytest.mark.parametrize(
    "fault",
    few([{"status": 500}, {"portal": True}, {"silent": True}, {"status": 401}], {"status": 500}),
)
def test_files_here_are_used_with_notice_when_the_hub_fails(there, fault):
    load.load(SPEC)
    there.fault("/api/", **fault)
    told = []
    assert load.load(SPEC, told.append).spec.identity == f"hub:{commit(there)}"
    assert any(
        f"Commit {commit(there)[:12]} of org/tiny is on this machine and is used" in one.message
        for one in told
    )


def test_incomplete_files_are_not_used(there):
    planning.plan(SPEC)
    there.fault("/api/", status=503)
    with pytest.raises(ModelNotFoundError, match=r"a server error \(503\)"):
        load.load(SPEC)


def test_missing_files_are_reported_without_a_hub(there, monkeypatch):
    planning.plan(SPEC)
    offline(monkeypatch)
    with pytest.raises(
        ModelNotFoundError,
        match=r"of org/tiny at commit \w{12} are not on this machine, and HF_HUB_OFFLINE",
    ):
        load.load(SPEC)


def test_a_snapshot_of_another_program_is_found_without_a_hub(there, monkeypatch):
    load.load(SPEC)
    for tree in cache.folder_of(hub.repository.MODEL, "org/tiny").glob("trees/*"):
        tree.unlink()
    offline(monkeypatch)
    assert load.load(SPEC).spec.identity == f"hub:{commit(there)}"


def test_a_cut_transfer_is_a_sentence(there):
    there.fault("/cdn/", cut_after=0)
    with pytest.raises(ModelNotFoundError, match="The download of .* failed"):
        load.load(SPEC)


@pytest.mark.parametrize("name", ["org/..", "org/a--b", "org/x.git", "o" * 200])
def test_a_name_that_none_can_have(there, name):
    with pytest.raises(ModelNotFoundError, match="Check the spelling|There is no model at"):
        location.locate(ModelSpec(name), weights=False)


def test_inspection_reports_commit_and_sizes(there, tmp_path, monkeypatch):
    from analysis.models.loading import inspection

    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "cache"))
    result = inspection.run(InspectSpec(SPEC))
    assert result.commit == commit(there)
    assert result.file_bytes > 100_000
    assert 0 < result.missing_bytes <= result.file_bytes
    (said,) = (line for line in lines.of_model(result, None) if line.startswith("hub "))
    assert f"commit {commit(there)} (--revision pins it)" in said
    assert "not downloaded yet" in said


@pytest.mark.long
def test_gguf_file_from_the_hub_is_fetched_on_request(loopback, tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "cache"))
    file = gguf_files.write(tmp_path / "tiny.gguf", "llama")
    loopback.add("org/tiny-GGUF", {"tiny.gguf": file.read_bytes(), "README.md": b"x"})
    spec = ModelSpec("org/tiny-GGUF/tiny.gguf", dtype="float32", device="cpu")
    for asked in (lambda: planning.plan(spec), lambda: load.load(spec)):
        with pytest.raises(
            ModelNotFoundError,
            match=(
                r"The weights of tiny are not on this machine\. Download them with .* --fetch`,"
                r" or get"
            ),
        ):
            asked()
    assert not loopback.asked
    with pytest.raises(
        ModelNotFoundError, match=r"has no file other.gguf\. Its GGUF files: tiny.gguf\."
    ):
        inspection.run(InspectSpec(replace(spec, source="org/tiny-GGUF/other.gguf"), fetch=True))
    found = inspection.run(InspectSpec(spec, fetch=True))
    assert found.spec.model.identity == identity.of_file(file)
    assert found.spec.model.source == spec.source
    offline(monkeypatch)
    assert load.load(spec).spec == found.spec.model
    assert (
        resolving.resolve_model(replace(spec, source=str(file))).identity
        == found.spec.model.identity
    )
