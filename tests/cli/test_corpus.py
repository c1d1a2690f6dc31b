"""Every bad input is answered by one sentence and exit code 2, and nothing is written."""

import json
import tempfile
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import analysis as layerscope
from analysis.core import index_table, zips
from analysis.core.errors import PackError, SpecError
from tests import corpus
from tests.corpus import Bad, models, packs, rows
from tests.support import packed
from tests.support.made_up import json_values


@pytest.fixture(scope="module")
def whole_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole tiny model with a tokenizer of a few words."""
    folder = tmp_path_factory.mktemp("corpus") / "model"
    models.whole(folder)
    return folder


@pytest.fixture(scope="module")
def loader():
    from analysis.models.loading.load import WarmModels

    return WarmModels()


@pytest.fixture
def warm(monkeypatch: pytest.MonkeyPatch, loader) -> None:
    """One model for all rows: the refusals here are not about it."""
    monkeypatch.setattr("analysis.models.loading.load.FRESH", loader)


def refuses(bad: Bad, here: Path, model: Path | None = None) -> None:
    """Ask, and compare the answer with the expected sentence."""
    if bad.make is not None:
        bad.make(here)
    told = corpus.ask(bad.words, here, model)
    assert told.code == 2, told.err
    assert len(told.sentences) == 1, told.err
    assert bad.says in told.sentences[0]
    assert "Traceback" not in told.err
    assert len(told.sentences[0]) < 2000
    assert told.sentences[0].rstrip().endswith(".")


def by_name(*found: Bad) -> pytest.MarkDecorator:
    """Return the cases of some rows by their names."""
    return pytest.mark.parametrize("bad", found, ids=[bad.name for bad in found])


@by_name(*rows.arguments())
def test_arguments_that_make_no_request_are_refused_in_a_sentence(bad, tmp_path):
    refuses(bad, tmp_path)


@pytest.mark.tiny
@by_name(*rows.model_files())
def test_a_model_that_is_broken_is_refused_in_a_sentence(bad, tmp_path, whole_model):
    refuses(bad, tmp_path, whole_model)


@pytest.mark.tiny
@pytest.mark.usefixtures("warm")
@by_name(*rows.data())
def test_unusable_data_is_refused_in_a_sentence(bad, tmp_path, whole_model):
    refuses(bad, tmp_path, whole_model)


@pytest.mark.tiny
@by_name(*rows.adapters())
def test_a_broken_or_foreign_adapter_is_refused_in_a_sentence(bad, tmp_path, whole_model):
    refuses(bad, tmp_path, whole_model)


@by_name(*rows.hostile_packs())
def test_a_hostile_pack_is_refused_and_nothing_is_written(bad, tmp_path, monkeypatch):
    packed.opened_here(monkeypatch)
    refuses(bad, tmp_path)
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(PackError) as raised:
        layerscope.open_pack(str(tmp_path / packs.FILE))
    sentence = str(raised.value)
    assert bad.says in sentence
    assert sentence.endswith("Nothing was opened.")
    assert str(tmp_path / "cache") not in sentence
    assert not any(path.is_file() for path in (tmp_path / "cache" / index_table.PACKS).rglob("*"))


def answered(words: tuple[str, ...], here: Path, model: Path | None = None) -> None:
    """Hold that an input is answered, or refused in one sentence."""
    told = corpus.ask(words, here, model)
    assert told.code in (0, 2), told.err
    assert told.code == 0 or len(told.sentences) == 1, told.err


LINES = [
    bad.words for bad in rows.arguments() if bad.words and not {"export", "jobs"} & {*bad.words}
]
WORDS = st.sampled_from(sorted({word for line in LINES for word in line})) | st.text(max_size=20)


def refused(*values: object, **named: object) -> None:
    """Take the place of a runner: only the making of the request is checked."""
    raise SpecError("This makes a request.")


@settings(max_examples=40)
@given(
    line=st.sampled_from(LINES),
    place=st.integers(1, 6),
    n_less=st.integers(0, 1),
    more=st.lists(WORDS, max_size=2),
)
def test_any_arguments_are_answered(line, place, n_less, more):
    words = (*line[:place], *more, *line[place + n_less :])
    with tempfile.TemporaryDirectory() as here, mock.patch("analysis.cli.answers.run", refused):
        answered(words, Path(here))


def spoilt(draw, content: bytes) -> bytes:
    """A file with an odd value in its JSON, or with other bytes somewhere."""
    try:
        value = json.loads(content)
    except ValueError:
        value = None
    if isinstance(value, dict) and value and draw(st.booleans()):
        return json.dumps(
            value | {draw(st.sampled_from(sorted(value))): draw(json_values)}
        ).encode()
    place, n = draw(st.integers(0, len(content))), draw(st.integers(0, 20))
    return content[:place] + draw(st.binary(max_size=20)) + content[place + n :]


@pytest.mark.tiny
@settings(max_examples=20)
@given(data=st.data())
def test_any_change_to_the_files_of_a_model_is_answered(data):
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        models.folder(model__safetensors=models.weights())(here)
        file = (
            here
            / "m"
            / data.draw(
                st.sampled_from(["config.json", "model.safetensors", "tokenizer_config.json"])
            )
        )
        file.write_bytes(spoilt(data.draw, file.read_bytes()))
        answered(("models", "{here}/m", "--dtype", "float32", "--device", "cpu"), here)


@pytest.mark.tiny
@pytest.mark.usefixtures("warm")
@settings(max_examples=20)
@given(data=st.data())
def test_any_change_to_the_files_of_an_adapter_is_answered(data, whole_model):
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        models.adapter()(here)
        file = (
            here
            / "a"
            / data.draw(st.sampled_from(["adapter_config.json", "adapter_model.safetensors"]))
        )
        file.write_bytes(spoilt(data.draw, file.read_bytes()))
        words = next(bad.words for bad in rows.adapters())
        answered(words, here, whole_model)


@settings(max_examples=40)
@given(data=st.data())
def test_any_change_to_a_pack_is_answered(data):
    contents = packs.contents_of(packs.whole())
    name = data.draw(st.sampled_from(sorted(contents)))
    contents[name] = spoilt(data.draw, contents[name])
    if data.draw(st.booleans()):
        packs.match_checksums(contents, name)
    with tempfile.TemporaryDirectory() as folder, packs.checked_here():
        (Path(folder) / packs.FILE).write_bytes(zips.made(contents))
        answered(("open", f"{{here}}/{packs.FILE}"), Path(folder))
