"""From a `CorpusSpec` to documents and token ids: seeded draws, cut to length, never padded."""

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
"""Names of the texts of the starter pack, to show."""
STARTER = ("c4", "wiki")
_HUB = {"c4": ("allenai/c4", "en", "validation"), "wiki": ("wikimedia/wikipedia", "20231101.en", "train")}
_HUB_DOCUMENTS = 4000
"""Documents streamed from the hub when the starter pack is not installed."""
_STREAM = ("allenai/c4", "en", "train")
_SHUFFLED_AT_ONCE = 2_000
"""Streamed documents that are held to be put in a random order."""
_SPLIT_RULE = "near-copies on one side"
"""Part of the identity of a text that is read on one side only: another rule of splitting makes another text."""
_MOST_BYTES = 512 << 20
"""Of a text file, which is held whole."""
_LOOKED_THROUGH = 10_000
"""Documents among which long ones are looked for before shorter ones are taken."""


@dataclass(frozen=True)
class Texts:
    """Documents as token ids."""

    token_ids: list[list[int]]
    """At most seq_len ids each, in the drawn order; no padding."""
    n_skipped: int
    """Documents passed over because they were under 16 tokens, or because longer ones were there."""


def title(spec: CorpusSpec) -> str:
    """Return the name of the texts, to show."""
    return TITLES.get(spec.source) or files.title(spec.source)


def shortfall(spec: CorpusSpec, lengths: Sequence[int]) -> str:
    """Return a sentence on the difference between the texts that were read and the request; "" for none.

    Args:
        spec: the request.
        lengths: tokens of each text that was read.
    """
    long = sum(length >= spec.long_enough for length in lengths)
    if long >= spec.n_texts:
        return ""
    return f"Only {long} of {spec.n_texts} texts of {title(spec)} have at least {spec.long_enough} tokens."


def resolve(spec: CorpusSpec) -> CorpusSpec:
    """The spec with the identity of its text as it is now."""
    return replace(spec, identity=_identity(spec.source) + (f", {_SPLIT_RULE}" if spec.split != "all" else ""))


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
    """All documents of the spec's split in the seeded order of its draw, whole and as text.

    Near-copies are on one side of the split, and the training part does not quote the validation texts (`near_copies`).
    The caller takes as many as it needs from the front.

    Raises:
        CorpusError: when the text is missing, empty, not UTF-8, or has no document in the asked split.
    """
    if spec.source == STREAMED:
        raise CorpusError(
            f"The text {STREAMED} has no end, so it can be used for healing only. Choose `c4`, `wiki`, or a TXT or JSONL file."
        )
    texts = _starter_documents(spec.source) if spec.source in STARTER else _file_documents(Path(spec.source))
    texts = list(dict.fromkeys(texts))  # a repeated document must not stand on both sides of a split
    if spec.split != "all":
        parts = near_copies.split(texts)
        chosen = parts.train if spec.split == "train" else parts.validation
        texts = [text for text in texts if text in chosen]
    if not texts:
        raise CorpusError(
            f"{spec.source} has no "
            f"documents{'' if spec.split == 'all' else f' in its {spec.split} part (near-copies stay in one part)'}. "
            "Give a file with more different documents, separated by blank lines or one per line."
        )
    random.Random(spec.seed).shuffle(texts)
    return texts


def check(spec: CorpusSpec) -> None:
    """Check that a text can be read; of one on the Hub, that its first row arrives.

    Raises:
        CorpusError: as `stream`.
    """
    if spec.source == STREAMED:
        next(_streamed(lambda rows: rows), None)
    else:
        _check_once(spec.source, spec.split, _identity(spec.source))


@functools.lru_cache(maxsize=64)  # a batch asks for the same text in every cell
def _check_once(source: str, split: str, identity: str) -> None:
    documents(CorpusSpec(source, split=split))


def stream(spec: CorpusSpec) -> Iterator[str]:
    """Yield the documents one by one; of a source that is streamed, no more are fetched than are taken.

    Raises:
        CorpusError: as `documents`, and when the hub cannot be reached.
    """
    if spec.source != STREAMED:
        yield from documents(spec)
        return
    for text in _streamed(lambda rows: rows.shuffle(seed=spec.seed, buffer_size=_SHUFFLED_AT_ONCE)):
        # Measured texts are not in this split at all, and near-copies of them are left out when rows are packed.
        if spec.split == "all" or near_copies.is_validation(text) == (spec.split == "validation"):
            yield text


def _streamed(ordered: Callable[[Any], Any]) -> Iterator[str]:
    """Yield the texts of the streamed source, its rows put into an order.

    Raises:
        CorpusError: when the Hub cannot be reached.
    """
    try:
        for row in ordered(_hub_rows(*_STREAM)):
            yield row["text"]
    except Exception as error:  # the hub client raises a dozen unrelated types when it cannot be reached
        raise CorpusError(
            f"The text {STREAMED!r} cannot be streamed from {_STREAM[0]} on the Hub ({failures.clause(error)}). "
            "Connect to the network, or choose `c4`, `wiki`, or a TXT or JSONL file."
        ) from error


def tokenize(spec: CorpusSpec, tokenizer: Any, *, skip: int = 0) -> Texts:
    """Draw `n_texts` documents and cut each to `seq_len` tokens; a shorter one keeps its own last token.

    A smaller draw is the front of a larger one. Documents under `min_tokens` come last (`shortfall` tells of them).

    Args:
        spec: which texts.
        tokenizer: a transformers tokenizer.
        skip: documents at the front of the draw to leave to others.

    Raises:
        CorpusError: as `documents`, and when every document is under 16 tokens.
    """
    n_wanted = skip + spec.n_texts
    long: list[list[int]] = []
    shorter: list[list[int]] = []
    skipped = 0
    for looked_at, text in enumerate(documents(spec)):
        if looked_at >= _LOOKED_THROUGH and len(long) + len(shorter) >= n_wanted:
            break
        # Forty characters a token is more than any tokenizer needs, and saves tokenizing whole books.
        ids = tokenizer(text[: spec.seq_len * 40]).input_ids[: spec.seq_len]
        if len(ids) < MIN_DOCUMENT_TOKENS:
            skipped += 1
            continue
        (long if len(ids) >= spec.long_enough else shorter).append(ids)
        if len(long) == n_wanted:
            break
    if not long and not shorter:
        raise CorpusError(
            f"Every document of {spec.source} is shorter than {MIN_DOCUMENT_TOKENS} tokens ({skipped} skipped). "
            "Give longer texts, separated by blank lines."
        )
    chosen = [*long, *shorter][:n_wanted]
    return Texts(chosen[skip:], skipped + len(long) + len(shorter) - len(chosen))


def _starter_documents(name: str) -> list[str]:
    try:
        text = starter.text_file(name).read_text(encoding="utf-8")
    except CorpusError:
        return _hub_documents(name)
    if name == "c4":
        return [line for line in text.split("\n") if line.strip()]
    articles = [part.partition(">")[2].partition("</doc>")[0].strip() for part in text.split("<doc ")[1:]]
    return [article for article in articles if article]


def _hub_documents(name: str) -> list[str]:
    path, config, split = _HUB[name]
    try:
        return [row["text"] for row in _hub_rows(path, config, split).take(_HUB_DOCUMENTS)]
    except Exception as error:  # the hub client raises a dozen unrelated types when it cannot be reached
        raise CorpusError(
            f"The text {name!r} is missing: the starter pack is not installed, and the Hub did not send {path} "
            f"({failures.clause(error)}). Install the pack with `{starter.GET_IT}`, connect to the network, or "
            "give a TXT or JSONL file."
        ) from error


def _hub_rows(path: str, config: str, split: str) -> Any:
    import datasets

    return datasets.load_dataset(path, config, split=split, streaming=True, token=hub.refusal.token() or False)


def _read(path: Path) -> bytes:
    try:
        return input_files.read(path, _MOST_BYTES)
    except OSError as error:
        raise CorpusError(
            f"The text file {str(path)!r} cannot be read ({error.strerror}). Give an existing TXT or JSONL file, "
            "`c4` or `wiki`."
        ) from error


def _file_documents(path: Path) -> list[str]:
    content = _read(path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{path.name} is not UTF-8 text (byte {error.start} is {content[error.start]:#04x}). Save it as UTF-8 "
            "and try again."
        ) from error
    if (position := content.find(b"\0")) >= 0:
        raise CorpusError(f"{path.name} is not text (byte {position} is NUL). Save it as UTF-8 text and try again.")
    if not text.strip():
        raise CorpusError(
            f"{path.name} is empty. Give a file with documents separated by blank lines, or one document per line."
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
    # Only a line feed ends a line of JSON: texts may hold U+2028 and its like as they are.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            texts.append(_text(parsed(line)["text"]))
        except (ValueError, KeyError, TypeError) as error:
            raise CorpusError(
                f'Line {number} of {name} is not a JSON object with a field "text". Each line must look like {{"text": "…"}}.'
            ) from error
    return [document for document in texts if document.strip()]
