"""Tokenizers: the trial before one is loaded, its verdict, and tokens that a model does not
have.
"""

import json
import sys
from pathlib import Path

import pytest
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers import models as kinds
from transformers import PreTrainedTokenizerFast

from analysis.core import sandbox
from analysis.core.errors import UnsupportedModelError
from analysis.models.loading import tokenizer as tokenizers
from analysis.models.loading import tokenizer_trial
from analysis.models.source.location import Source
from tests.corpus import models
from tests.support import small_words


def word_pieces() -> PreTrainedTokenizerFast:
    """Word pieces of lower case, as BERT has them."""
    vocab = {
        token: number
        for number, token in enumerate(
            [
                "[UNK]",
                *"abcdefghijklmnopqrstuvwxyz",
                *map("##{}".format, "abcdefghijklmnopqrstuvwxyz"),
            ]
        )
    }
    made = Tokenizer(kinds.WordPiece(vocab, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[UNK]")


def letters() -> PreTrainedTokenizerFast:
    """Pieces with a likelihood, with normalizers that put a space first, as T5 and XLNet have
    them.
    """
    made = Tokenizer(
        kinds.Unigram(
            [
                ("<unk>", 0.0),
                ("▁", -1.0),
                *((letter, -2.0) for letter in "abcdefghijklmnopqrstuvwxyz"),
            ],
            0,
        )
    )
    steps = [
        normalizers.Replace("``", '"'),
        normalizers.NFKD(),
        normalizers.StripAccents(),
        normalizers.Lowercase(),
    ]
    made.normalizer = normalizers.Sequence(
        [*steps, normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    made.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>")


def proteins() -> PreTrainedTokenizerFast:
    """One token for each of a few upper-case letters."""
    made = Tokenizer(
        kinds.WordLevel(
            {letter: number for number, letter in enumerate(["<unk>", *"ACGT"])}, unk_token="<unk>"
        )
    )
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>")


KINDS = {
    "GPT-2": small_words.byte_level,
    "Llama 3": lambda: small_words.byte_level(begins=True),
    "Qwen": lambda: small_words.byte_level(split=small_words.QWEN),
    "Llama 2": small_words.pieces,
    "Mistral": lambda: small_words.pieces(scheme="first"),
    "Phi-3": lambda: small_words.pieces(stripped="<|end|>"),
    "BERT": word_pieces,
    "T5": letters,
    "DNA": proteins,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_tokenizer_of_a_common_kind_passes_the_trial(kind):
    assert list(tokenizer_trial.faults(KINDS[kind]())) == []


def test_the_starter_tokenizer_passes_the_trial(tokenizer):
    assert list(tokenizer_trial.faults(tokenizer)) == []


def test_tokenizer_with_one_token_for_all_words_is_refused():
    made = word_pieces()
    made.backend_tokenizer.normalizer = normalizers.Replace(Regex("[a-zA-Z]+"), "a")
    assert "it returns the same tokens for different texts" in list(tokenizer_trial.faults(made))


def test_a_tokenizer_with_dropout_is_refused():
    made = small_words.byte_level()
    made.backend_tokenizer.model.dropout = 0.5
    assert "its dropout changes the tokens of a text each time" in list(
        tokenizer_trial.faults(made)
    )


def test_a_table_of_letters_that_grows_texts_is_refused():
    table = (4).to_bytes(4, "little") + b"\0" * 4 + b"\0" + b"a" * 1000 + b"\0"
    assert [
        why
        for why in tokenizer_trial.faults_of_letters(list(table))
        if "replaces a letter by 1,000 bytes" in why
    ]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tokenizers, "_passed", set())
    models.whole(tmp_path / "m")
    return tmp_path / "m"


def test_accepted_tokenizer_is_tried_again_only_after_file_changes(folder, monkeypatch):
    asked: list[str] = []
    monkeypatch.setattr(
        sandbox, "answer", lambda function, *arguments, **_: asked.append(arguments[0])
    )
    source = Source(folder, None, "m", "files:1")
    tokenizers.check(source)
    tokenizers.check(source)
    assert asked == [str(folder)]
    monkeypatch.setattr(tokenizers, "_passed", set())  # another process
    tokenizers.check(source)
    assert asked == [str(folder)]
    changed = json.loads((folder / "tokenizer.json").read_text()) | {"normalizer": {"type": "NFC"}}
    (folder / "tokenizer.json").write_text(json.dumps(changed))
    tokenizers.check(source)
    assert asked == [str(folder)] * 2


def test_the_starter_tokenizer_is_not_tried(monkeypatch, starter_folder):
    from analysis.data import starter

    monkeypatch.setattr(sandbox, "answer", lambda *_, **__: pytest.fail("it was tried"))
    tokenizers.check(Source(starter_folder, None, starter.NAME, starter.model_identity()))


def test_a_refusal_is_not_kept(folder):
    rules = {"normalizer": {"type": "Replace", "pattern": {"Regex": "."}, "content": "a" * 1000}}
    whole = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(whole | rules))
    source = Source(folder, None, "m", "files:1")
    with pytest.raises(
        UnsupportedModelError, match="The tokenizer of m cannot be used: its rules lengthen a text"
    ):
        tokenizers.check(source)
    (folder / "tokenizer.json").write_text(json.dumps(whole))
    tokenizers.check(source)


@pytest.mark.skipif(sys.platform != "linux", reason="the bound of memory holds on Linux alone")
def test_the_libraries_say_nothing_of_a_tokenizer_that_fails(folder, capfd):
    whole = json.loads((folder / "tokenizer.json").read_text())
    table = {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "CAAAAP//////////YWJj"}}
    (folder / "tokenizer.json").write_text(json.dumps(whole | table))
    with pytest.raises(UnsupportedModelError, match="index out of bounds"):
        tokenizers.check(Source(folder, None, "m", "files:1"))
    assert capfd.readouterr().err == ""
