"""Result packs: results travel as one file, are found beside one's own, and hostile packs are
refused without a trace.
"""

import json
import stat
from dataclasses import replace

import pytest

from analysis.core import index, index_table, store
from analysis.core.errors import PackError, SpecError
from analysis.core.index import ResultFilter
from analysis.results import library, packs
from analysis.results.packs import making, opening
from analysis.results.stored import pack_list
from tests.support import fakes, packed

MODEL = fakes.distances().spec.model


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "precomputed_dir", lambda: tmp_path / "precomputed")


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """A whole pack."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAYERSCOPE_CACHE", str(folder / "cache"))
        patch.setattr(store, "precomputed_dir", lambda: folder / "precomputed")
        return packed.made(folder).read_bytes()


@pytest.fixture
def pack(content, tmp_path, monkeypatch):
    """The file of a whole pack, whose results this cache does not have."""
    packed.opened_here(monkeypatch)
    (tmp_path / "results.zip").write_bytes(content)
    return tmp_path / "results.zip"


def unpacked():
    """Files that opening left in the cache."""
    return [path for path in (store.cache_dir() / index_table.PACKS).rglob("*") if path.is_file()]


def test_an_opened_pack_has_the_packed_results(pack):
    opened = packs.open_file(pack)
    found = library.find("sweep", MODEL) + library.find("distances", MODEL)
    assert {one.origin for one in found} == {f"pack {opened.title}"}
    assert {one.result.spec for one in found} == {
        fakes.sweep(2).spec,
        fakes.sweep(2, strategy="deepest").spec,
        fakes.distances().spec,
    }
    assert [one.result.spec for one in found if one.kind == "distances"][0].model == MODEL
    assert packs.opened() == [opened]
    assert {stat.S_IMODE(path.stat().st_mode) for path in unpacked()} == {0o600}
    assert packs.open_file(pack) == opened, "it is open already"


def test_saved_times_travel_with_the_results(tmp_path, monkeypatch):
    fakes.sweep(2).save()
    opened = packed.open_made(tmp_path, monkeypatch)
    times = {one.key: one.saved_at for one in opened.manifest.results}
    for one in library.find("sweep", MODEL):
        assert one.saved_at == pytest.approx(times[one.key], abs=1e-3)


def test_own_results_come_before_packs_and_count_once(pack):
    packs.open_file(pack)
    fakes.sweep(2).save()
    found = library.find("sweep", MODEL)
    assert [(one.origin, one.result.spec.strategy) for one in found] == [
        ("", "similarity"),
        ("pack SmolLM2-135M-Instruct", "deepest"),
    ]
    assert index.entry("sweep", fakes.sweep(2).spec.fingerprint()).place == index_table.OWN
    assert len(index.entries(ResultFilter(("sweep",), places=index_table.packs()))) == 1


def test_results_of_a_pack_are_never_computed_with(pack):
    packs.open_file(pack)
    assert type(fakes.sweep(2)).all_of(MODEL) == []
    assert type(fakes.sweep(2)).all_of(MODEL, precomputed=True) == []
    assert store.load_result("sweep", fakes.sweep(2).spec.fingerprint(), precomputed=True) is None


@pytest.mark.parametrize(
    ("name", "title"),
    [("Qwen2.5-0.5B", "Qwen2.5-0.5B"), ("<b>my_model</b>", "b-my_model-/b-"), ("_", "Results")],
)
def test_a_title_is_made_of_any_name_of_a_model(name, title):
    assert pack_list.title_of(name) == title
    assert not pack_list.why_no_title(title)


def test_equal_results_make_equal_packs(tmp_path):
    packed.made(tmp_path)
    assert making.make(MODEL).content == making.make(MODEL).content


def test_a_removed_pack_leaves_no_result(pack):
    opened = packs.open_file(pack)
    assert library.find("sweep", MODEL)
    assert packs.remove(opened.id[:6]) == opened
    assert library.find("sweep", MODEL) == []
    assert packs.opened() == []
    packs.open_file(pack)
    assert len(library.find("sweep", MODEL)) == 2, "it can be opened again"
    with pytest.raises(PackError, match="names no opened pack"):
        packs.remove("zz")


def test_a_pack_has_no_weights_states_or_paths_of_adapters(tmp_path):
    replace(fakes.heal(), adapter="adapters/mine").save()
    fakes.rich_distances().save()
    made = making.make(MODEL)
    (tmp_path / "p.zip").write_bytes(made.content)
    files = packed.files_of(tmp_path / "p.zip")
    assert not [name for name in files if name.endswith(".safetensors")]
    healed = next(
        json.loads(content) for name, content in files.items() if name.startswith("heal/")
    )
    assert healed["data"]["adapter"] is None


def test_paths_of_this_machine_in_a_pack_are_named(tmp_path):
    result = fakes.distances()
    model = replace(result.spec.model, source="/home/somebody/model")
    replace(result, spec=replace(result.spec, model=model)).save()
    assert making.make(model).paths == ("/home/somebody/model",)


def test_selected_kinds_and_results_are_packed(tmp_path):
    packed.made(tmp_path)
    assert [one.kind for one in making.make(MODEL, kinds=["sweep"]).manifest.results] == [
        "sweep",
        "sweep",
    ]
    key = fakes.sweep(2).spec.fingerprint()
    assert [one.key for one in making.make(MODEL, keys=[key]).manifest.results] == [key]


@pytest.mark.parametrize(
    ("asked", "error", "says"),
    [
        ({"kinds": ["sweeps"]}, SpecError, "no kind of result"),
        ({"keys": ["0" * 20]}, SpecError, "has no stored result"),
        ({"kinds": ["heal"]}, PackError, "no finished result to pack"),
        ({"title": "<b>mine</b>"}, PackError, "Name it with --title"),
    ],
)
def test_a_pack_that_cannot_be_made_is_refused(tmp_path, asked, error, says):
    packed.made(tmp_path)
    with pytest.raises(error, match=says):
        making.make(MODEL, **asked)


def test_unfinished_results_stay_out_of_a_pack(tmp_path):
    packed.made(tmp_path)
    unfinished = replace(fakes.evaluate(fakes.heal().spec.block), complete=False)
    unfinished.save()
    made = making.make(MODEL)
    assert made.left_out == (f"evaluate:{unfinished.spec.fingerprint()} is unfinished",)


def test_results_of_another_version_stay_out_of_a_pack(tmp_path):
    packed.made(tmp_path)
    store.save_result("damage", "0" * 20, fakes.damage().to_json())
    made = making.make(MODEL)
    assert made.left_out == (f"damage:{'0' * 20} was measured by another version",)


def refused(file, says):
    with pytest.raises(PackError) as raised:
        packs.open_file(file)
    sentence = str(raised.value)
    assert says in sentence
    assert "\n" not in sentence
    assert sentence.endswith("Nothing was opened.")
    assert str(store.cache_dir()) not in sentence
    assert unpacked() == []
    assert packs.opened() == []


def test_a_gigabyte_of_json_is_refused_by_its_stated_size(pack, tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "FILE_BYTES", 1_000_000)
    (tmp_path / "bad.zip").write_bytes(
        packed.archive((packed.entry(f"sweep/{'0' * 20}/result.json"), b" " * 1_000_001))
    )
    refused(tmp_path / "bad.zip", "unpacks to 1.0 MB, and at most 1.0 MB are allowed")
    monkeypatch.setattr(opening, "UNPACKED_BYTES", 1_500_000)
    two = [(packed.entry(f"sweep/{digit * 20}/result.json"), b" " * 900_000) for digit in "01"]
    (tmp_path / "bad.zip").write_bytes(packed.archive(*two))
    refused(tmp_path / "bad.zip", "it unpacks to 1.8 MB")


def test_too_many_files_and_packs_are_refused(pack, tmp_path, monkeypatch):
    monkeypatch.setattr(pack_list, "MAX_FILES", 2)
    refused(pack, "4 files, and at most 2 are allowed")
    monkeypatch.undo()
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "cache"))
    packed.opened_here(monkeypatch)
    monkeypatch.setattr(opening, "OPENED", 0)
    with pytest.raises(PackError, match="no more can be"):
        packs.open_file(pack)


@pytest.mark.parametrize(
    ("file", "says"),
    [("absent.zip", "No such file"), (".", "it is a folder"), ("huge.zip", "it is larger than")],
)
def test_a_file_that_cannot_be_read_is_refused(pack, tmp_path, monkeypatch, file, says):
    monkeypatch.setattr(opening, "PACK_BYTES", 1 << 20)
    (tmp_path / "huge.zip").write_bytes(b"0" * (1 << 20) + b"0")
    with pytest.raises(PackError, match=says):
        packs.open_file(tmp_path / file)
    assert unpacked() == []


def _n_layers(stored):
    stored["data"]["n_layers"] = stored["data"]["model"]["n_layers"] = 10**12


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (packed.result(_n_layers), "counts that contradict each other (n_layers)"),
        (
            packed.result(lambda stored: stored["data"]["model"]["layer_parameters"].pop()),
            "(n_layers)",
        ),
        (packed.result(lambda stored: stored["data"]["mean"].pop(0)), "(mean)"),
        (
            packed.result(lambda stored: stored["data"]["text_losses"].append([1.0]), "sweep"),
            "(text_losses)",
        ),
        (
            packed.result(lambda stored: stored["data"].update(n_tokens=2**60)),
            "n_tokens must be at most 9,007,199,254,740,992, not ",
        ),
        (
            packed.result(lambda stored: stored["data"]["mean"][0].__setitem__(0, 1e300)),
            "mean must be at most 1,000,000,000,000, not 1e+300",
        ),
        (
            packed.result(lambda stored: stored["data"].update(wall_s=-1.0)),
            "wall_s must be at least 0, not -1.0",
        ),
        (
            packed.result(lambda stored: stored["data"]["points"][0].update(loss=-3.0), "sweep"),
            "points.loss must be at least -0.01, not -3.0",
        ),
        (packed.result(lambda stored: stored["data"].update(best=[])), "(best)"),
        (packed.result(lambda stored: stored["data"]["best"][0].update(start=99)), "(best)"),
        (
            packed.result(lambda stored: stored["data"]["spec"]["corpus"].update(n_texts=31)),
            "is not stored under the fingerprint of its request",
        ),
        (packed.unsealed, "result.json has no checksum"),
        (packed.manifest(version=True), "wrong at"),
        (packed.manifest(title=["a"]), "wrong at"),
        (packed.manifest(made_with="x" * 500), "wrong at"),
        (
            packed.manifest(results=[{"kind": "sweep", "key": "0" * 20, "saved_at": "1"}]),
            "wrong at",
        ),
    ],
)
def test_counts_and_fields_that_no_honest_pack_has_are_refused(pack, change, says):
    files = packed.files_of(pack)
    change(files)
    packed.written(pack, files)
    with pytest.raises(PackError) as error:
        packs.open_file(pack)
    assert says in str(error.value)
    assert unpacked() == []
