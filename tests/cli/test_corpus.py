"""Every bad input of the corpus is answered by one sentence and exit code 2, and nothing is written."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import analysis as layerscope
from analysis.core import index_table
from analysis.core.errors import PackError
from tests import corpus
from tests.corpus import Bad, adapters, fuzz, models, options, packs, questions, settings, stored, texts
from tests.support import packed
from tests.support.levels import few

COMMANDS = (*options.COMMANDS, "run", "jobs")
LONGEST_S = 60.0
"""One entry, the import of the model libraries included, on a busy machine."""


@pytest.fixture(scope="module")
def whole_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole tiny model with a tokenizer of a few words."""
    folder = tmp_path_factory.mktemp("corpus") / "model"
    models.whole(folder)
    return folder


@pytest.fixture
def warm(monkeypatch: pytest.MonkeyPatch, loader) -> None:
    """One model for all entries: the refusals here are not about it."""
    monkeypatch.setattr("analysis.models.loading.load.FRESH", loader)


@pytest.fixture(scope="module")
def loader():
    from analysis.models.loading.load import WarmModels

    return WarmModels()


def refuses(bad: Bad, here: Path, model: Path | None = None) -> None:
    """Ask, and compare the answer with the expected sentence."""
    if bad.make is not None:
        bad.make(here)
    began = time.monotonic()
    to_file = ("--json", str(here / "answer.json")) if bad.words and bad.words[0] in COMMANDS else ()
    said = corpus.ask((*bad.words, *to_file), here, model)
    places = {"{here}": str(here), "{model}": str(model)}
    wanted = bad.says
    for place, path in places.items():
        wanted = wanted.replace(place, path)
    assert said.code == 2, f"{bad.name}: exit code {said.code}: {said.err}"
    assert len(said.sentences) == 1, f"{bad.name}: {said.err}"
    assert wanted in said.sentences[0], bad.name
    assert "Traceback" not in said.err
    assert len(said.sentences[0]) < 2000
    assert said.sentences[0].rstrip().endswith("."), bad.name
    assert not (here / "answer.json").exists()
    assert not (here / "r.html").exists()
    assert time.monotonic() - began < LONGEST_S


def by_name(*rooms, one_in: int = 1) -> Callable:
    """Return the cases of some lists by their names; only one in so many belongs to `make test`."""
    found = [bad for room in rooms for bad in room.entries()]
    names = [bad.name.encode("ascii", "backslashreplace").decode() for bad in found]
    return pytest.mark.parametrize("bad", few(found, *found[::one_in]), ids=names)


@by_name(options, settings)
def test_arguments_that_make_no_request_are_refused_in_a_sentence(bad, tmp_path):
    refuses(bad, tmp_path)


@by_name(stored)
def test_a_malformed_cache_file_is_refused_in_a_sentence(bad, tmp_path):
    refuses(bad, tmp_path)


@by_name(packs)
def test_a_hostile_pack_is_refused_and_nothing_is_written(bad, tmp_path, monkeypatch):
    packed.opened_here(monkeypatch)
    refuses(bad, tmp_path)
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(PackError) as raised:
        layerscope.open_pack(bad.words[1].replace("{here}", str(tmp_path)))
    sentence = str(raised.value)
    assert bad.says in sentence
    assert sentence.endswith(("Nothing was opened.", "Name a result pack."))
    assert str(tmp_path / "cache") not in sentence
    assert not any(path.is_file() for path in (tmp_path / "cache" / index_table.PACKS).rglob("*"))


@pytest.mark.tiny
@by_name(models, one_in=5)
def test_a_model_that_is_broken_is_refused_in_a_sentence(bad, tmp_path, whole_model):
    refuses(bad, tmp_path, whole_model)


@pytest.mark.tiny
@pytest.mark.usefixtures("warm")
@by_name(texts, questions, one_in=2)
def test_unusable_texts_and_questions_are_refused_in_a_sentence(bad, tmp_path, whole_model):
    refuses(bad, tmp_path, whole_model)


@pytest.mark.tiny
@by_name(adapters)
def test_a_broken_or_foreign_adapter_is_refused_in_a_sentence(bad, tmp_path, whole_model):
    refuses(bad, tmp_path, whole_model)


def test_the_corpus_is_large_with_unique_names_and_expected_answers():
    everything = list(corpus.every())
    assert len(everything) >= 500
    assert len({bad.name for bad in everything}) == len(everything)
    assert len({(bad.words, bad.make and bad.name) for bad in everything}) == len(everything)
    assert all(bad.says for bad in everything)


@pytest.mark.tiny
@pytest.mark.parametrize("bad", list(corpus.found()), ids=lambda bad: bad.name)
def test_findings_of_the_fuzzer_are_answered_in_a_sentence(bad, tmp_path, whole_model):
    bad.make(tmp_path)
    said = corpus.ask(bad.words, tmp_path, whole_model)
    assert said.code in (0, 2), said.err
    assert len(said.sentences) == (1 if said.code else 0), said.err


def test_fuzzer_does_not_read_a_file_of_terabytes(tmp_path):
    [bad] = [bad for bad in adapters.entries() if bad.name == "adapter weights that do not fit in memory"]
    draw = random.Random(0)
    for number in range(8):
        (here := tmp_path / str(number)).mkdir()
        _, _, contents = fuzz.drawn(draw, [bad], [bad], ["x"], here)
        assert sum(map(len, contents.values())) < fuzz.MOST_CHANGED
