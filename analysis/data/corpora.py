"""Documents and token ids of a `CorpusSpec`: seeded selection, truncated, without padding."""

import functools
import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from analysis import hub
from analysis.core import failures, input_files
from analysis.core.errors import CorpusError
from analysis.core.input_files import parsed
from analysis.data import files, near_copies, starter
from analysis.data.spec import MIN_DOCUMENT_TOKENS, STREAMED, CorpusSpec

TITLES = {"c4": "C4", "c4-train": "C4 (training split)", "wiki": "Wikipedia"}
"""Display names of the built-in texts."""
STARTER = ("c4", "wiki")
_HUB = {
    "c4": ("allenai/c4", "en", "validation"),
    "wiki": ("wikimedia/wikipedia", "20231101.en", "train"),
}
_HUB_DOCUMENTS = 4000
"""Number of documents streamed from the Hub if the starter pack is not installed."""
_STREAM = ("allenai/c4", "en", "train")
_SHUFFLE_BUFFER = 2_000
"""Number of streamed documents in the shuffle buffer."""
_SPLIT_RULE = "near-copies on one side"
"""Part of the identity of a split. Change it if the rule of the split changes."""
_MAX_BYTES = 512 << 20
"""Maximum size of a text file."""
_MAX_SEARCHED = 10_000
"""Maximum number of documents searched for long ones before shorter ones are used."""


@dataclass(frozen=True)
class Texts:
    """Documents as token ids."""

    token_ids: list[list[int]]
    """Token ids of each document, at most `seq_len`, in random order and without padding."""
    n_skipped: int
    """Number of documents skipped because they have fewer than 16 tokens, or because longer ones
    were available."""


def title(spec: CorpusSpec) -> str:
    """Return the display name of a text."""
    return TITLES.get(spec.source) or files.title(spec.source)


def shortfall(spec: CorpusSpec, lengths: Sequence[int]) -> str:
    """Return a sentence if fewer texts than requested have enough tokens, else "".

    Args:
        spec: request.
        lengths: number of tokens of each text.
    """
    long = sum(length >= spec.long_enough for length in lengths)
    if long >= spec.n_texts:
        return ""
    return (
        f"Only {long} of {spec.n_texts} texts of {title(spec)} have at least {spec.long_enough}"
        " tokens."
    )


def resolve(spec: CorpusSpec) -> CorpusSpec:
    """Return the request with the current identity of its text."""
    return replace(
        spec, identity=_identity(spec.source) + (f", {_SPLIT_RULE}" if spec.split != "all" else "")
    )


def _identity(source: str) -> str:
    if source == STREAMED:
        return f"hub:{'/'.join(_STREAM)}"
    if source in STARTER:
        try:
            return starter.text_identity(source)
        except CorpusError:
            return f"hub:{'/'.join(_HUB[source])}:{_HUB_DOCUMENTS}"
    return f"sha256:{hashlib.sha256(_read(Path(source))).hexdigest()[:24]}"


def documents(spec: CorpusSpec) -> list[str]:
    """Return all documents of a split as text, shuffled by the seed.

    `near_copies` describes the split.

    Raises:
        CorpusError: if the text is missing, empty or not UTF-8, or has no document in the split.
    """
    if spec.source == STREAMED:
        raise CorpusError(
            f"The text {STREAMED} has no end, so it can be used for healing only. Choose `c4`,"
            " `wiki`, or a TXT or JSONL file."
        )
    texts = (
        _starter_documents(spec.source)
        if spec.source in STARTER
        else _file_documents(Path(spec.source))
    )
    texts = list(dict.fromkeys(texts))  # a repeated document must not be on both sides of a split
    if spec.split != "all":
        parts = near_copies.split(texts)
        selected = parts.train if spec.split == "train" else parts.validation
        texts = [text for text in texts if text in selected]
    if not texts:
        part = f" in its {spec.split} part (near-copies stay in one part)"
        raise CorpusError(
            f"{spec.source} has no documents{'' if spec.split == 'all' else part}."
            " Give a file with more different documents, separated by blank lines or one per line."
        )
    random.Random(spec.seed).shuffle(texts)
    return texts


def check(spec: CorpusSpec) -> None:
    """Check that a text can be read. For a streamed text, only the first row is downloaded.

    Raises:
        CorpusError: as for `stream`.
    """
    if spec.source == STREAMED:
        next(_streamed(lambda rows: rows), None)
    else:
        _check_once(spec.source, spec.split, _identity(spec.source))


@functools.lru_cache(maxsize=64)  # each cell of a batch checks the same text
def _check_once(source: str, split: str, identity: str) -> None:
    documents(CorpusSpec(source, split=split))


def stream(spec: CorpusSpec) -> Iterator[str]:
    """Yield the documents of a split; a streamed source is downloaded as far as it is iterated.

    Raises:
        CorpusError: as for `documents`, or if the Hub cannot be reached.
    """
    if spec.source != STREAMED:
        yield from documents(spec)
        return
    for text in _streamed(lambda rows: rows.shuffle(seed=spec.seed, buffer_size=_SHUFFLE_BUFFER)):
        # Near-copies of measured texts are removed when sequences are packed.
        if spec.split == "all" or near_copies.is_validation(text) == (spec.split == "validation"):
            yield text


def _streamed(ordered: Callable[[Any], Any]) -> Iterator[str]:
    """Yield the texts of the streamed source.

    Args:
        ordered: function that shuffles the rows.

    Raises:
        CorpusError: if the Hub cannot be reached.
    """
    try:
        for row in ordered(_hub_rows(*_STREAM)):
            yield row["text"]
    except (
        Exception
    ) as error:  # the client raises many unrelated types if the Hub cannot be reached
        raise CorpusError(
            f"The text {STREAMED!r} cannot be streamed from {_STREAM[0]} on the Hub"
            f" ({failures.clause(error)}). Connect to the network, or choose `c4`, `wiki`, or a TXT"
            " or JSONL file."
        ) from error


def tokenize(spec: CorpusSpec, tokenizer: Any, *, skip: int = 0) -> Texts:
    """Select `n_texts` documents and truncate each to `seq_len` tokens.

    A smaller selection is the beginning of a larger one. Documents with fewer than `min_tokens`
    come last.

    Args:
        spec: request.
        tokenizer: tokenizer of transformers.
        skip: number of documents to skip at the beginning.

    Raises:
        CorpusError: as for `documents`, or if all documents have fewer than 16 tokens.
    """
    n_wanted = skip + spec.n_texts
    long: list[list[int]] = []
    shorter: list[list[int]] = []
    skipped = 0
    for index, text in enumerate(documents(spec)):
        if index >= _MAX_SEARCHED and len(long) + len(shorter) >= n_wanted:
            break
        # No tokenizer needs 40 characters per token, so the rest of a long text is not tokenized.
        ids = tokenizer(text[: spec.seq_len * 40]).input_ids[: spec.seq_len]
        if len(ids) < MIN_DOCUMENT_TOKENS:
            skipped += 1
            continue
        (long if len(ids) >= spec.long_enough else shorter).append(ids)
        if len(long) == n_wanted:
            break
    if not long and not shorter:
        raise CorpusError(
            f"Every document of {spec.source} is shorter than {MIN_DOCUMENT_TOKENS} tokens"
            f" ({skipped} skipped). Give longer texts, separated by blank lines."
        )
    selected = [*long, *shorter][:n_wanted]
    return Texts(selected[skip:], skipped + len(long) + len(shorter) - len(selected))


def _starter_documents(name: str) -> list[str]:
    try:
        text = starter.text_file(name).read_text(encoding="utf-8")
    except CorpusError:
        return _hub_documents(name)
    if name == "c4":
        return [line for line in text.split("\n") if line.strip()]
    articles = [
        part.partition(">")[2].partition("</doc>")[0].strip() for part in text.split("<doc ")[1:]
    ]
    return [article for article in articles if article]


def _hub_documents(name: str) -> list[str]:
    path, config, split = _HUB[name]
    try:
        return [row["text"] for row in _hub_rows(path, config, split).take(_HUB_DOCUMENTS)]
    except (
        Exception
    ) as error:  # the client raises many unrelated types if the Hub cannot be reached
        raise CorpusError(
            f"The text {name!r} is missing: the starter pack is not installed, and the Hub did not"
            f" send {path} ({failures.clause(error)}). Install the pack with `{starter.GET_IT}`,"
            " connect to the network, or give a TXT or JSONL file."
        ) from error


def _hub_rows(path: str, config: str, split: str) -> Any:
    import datasets

    return datasets.load_dataset(
        path, config, split=split, streaming=True, token=hub.refusal.token() or False
    )


def _read(path: Path) -> bytes:
    try:
        return input_files.read(path, _MAX_BYTES)
    except OSError as error:
        raise CorpusError(
            f"The text file {str(path)!r} cannot be read ({error.strerror}). Give an existing TXT"
            " or JSONL file, `c4` or `wiki`."
        ) from error


def _file_documents(path: Path) -> list[str]:
    content = _read(path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{path.name} is not UTF-8 text (byte {error.start} is {content[error.start]:#04x})."
            " Save it as UTF-8 and try again."
        ) from error
    if (position := content.find(b"\0")) >= 0:
        raise CorpusError(
            f"{path.name} is not text (byte {position} is NUL). Save it as UTF-8 text and try"
            " again."
        )
    if not text.strip():
        raise CorpusError(
            f"{path.name} is empty. Give a file with documents separated by blank lines, or one"
            " document per line."
        )
    if path.suffix.lower() in (".jsonl", ".json", ".ndjson"):
        return _json_lines(path.name, text)
    lines = [line.rstrip() for line in text.splitlines()]
    if "" in "\n".join(lines).strip().split("\n"):
        paragraphs = "\n".join(lines).split("\n\n")
        return [paragraph.strip() for paragraph in paragraphs if paragraph.strip()]
    return [line for line in lines if line]


def _text(value: Any) -> str:
    if not isinstance(value, str) or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise TypeError("not a text")
    return value


def _json_lines(name: str, text: str) -> list[str]:
    texts = []
    # Only line feeds separate lines, because texts may contain U+2028 and similar characters.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            texts.append(_text(parsed(line)["text"]))
        except (ValueError, KeyError, TypeError) as error:
            raise CorpusError(
                f'Line {number} of {name} is not a JSON object with a field "text". Each line must'
                ' look like {"text": "…"}.'
            ) from error
    return [document for document in texts if document.strip()]
