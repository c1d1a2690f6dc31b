"""Trial of a tokenizer in a separate process: it is loaded, and encodes a few texts.

The rules of a tokenizer can be patterns that take minutes, character tables that crash its library,
or replacements that turn a sentence into gigabytes. The trial does not import torch, which would
take longer than the trial itself.
"""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from analysis.core import failures, sandbox
from analysis.core.errors import UnsupportedModelError
from analysis.models.source import model_files

VERSION = "1"
"""Version of the checks. Raising it tests all tokenizers again."""
SENTENCE = "The capital of France is Paris."
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ abcdefghijklmnopqrstuvwxyz 0123456789"
_TEXTS = (
    SENTENCE,
    _LETTERS,
    "Is it?\n\n\tYes: I'm sure we'll see, and DON'T they say so...  \r\n",
    "naïve café, 你好世界, Привет мир, नमस्ते, السلام عليكم, 🙂👍🏽 «x» ﷺ",
    "def f(x):\n    return x ** 2 != 0.5  # http://x.org/?a=b&c={}",
    "a" * 3000,
    "ab " * 1000 + "!",
    " " * 1000 + "\n" * 1000 + "x",
    "1234567890" * 200,
    f"{SENTENCE} " * 40,
)
_PAIRS = (
    ("The capital of France is Paris.", "The village in Poland is Cairo."),
    ("abc def ghi", "ihg fed cba"),
    ("ACGT TGCA", "TGAC CAGT"),
)
"""Pairs of texts of the same shape, of which a working tokenizer encodes at least one
differently."""
_MAX_ADDED = 8
"""Maximum number of special tokens around a text."""
_MAX_GROWTH = 16
"""Maximum factor by which the rules lengthen a text, and maximum number of tokens per byte."""
_MAX_LETTERS = 64
"""Maximum bytes of a replacement in a character table; those of sentencepiece have at most 33."""
_MAX_ADDED_BYTES = 3 << 30
"""Maximum memory in addition to the libraries; a tokenizer of 262,144 tokens takes 0.6 GB."""


def try_out(folder: str, gguf_file: str) -> int:
    """Load a tokenizer, check its rules, and encode a few texts.

    Args:
        folder: folder of the model.
        gguf_file: name of the file if the tokenizer is in a GGUF file, else "".

    Returns:
        Its number of tokens.

    Raises:
        UnsupportedModelError: with a clause on the problem.
    """
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    if not gguf_file:  # transformers needs torch only for GGUF files
        sys.modules["torch"] = None  # type: ignore[assignment]
    from transformers import AutoTokenizer

    sandbox.bound_further(_MAX_ADDED_BYTES)
    try:
        with model_files.reading(Path(folder), gguf_file or None) as (path, options):
            tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False, **options)
        for fault in faults(tokenizer):
            raise UnsupportedModelError(fault)
        return len(tokenizer)
    except (UnsupportedModelError, MemoryError):
        raise
    except BaseException as error:  # panics of libraries in Rust are no Exception
        raise UnsupportedModelError(failures.clause(error)) from error


def faults(tokenizer: Any) -> Iterator[str]:
    """Yield the problems of a tokenizer, as clauses. Rules are checked first, since they may
    lengthen texts.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        yield from _faults_of_rules(
            [_rule(getattr(backend, part)) for part in ("normalizer", "pre_tokenizer", "decoder")]
        )
        if getattr(backend.model, "dropout", None):
            yield "its dropout changes the tokens of a text each time"
        for step in _steps(_rule(backend.post_processor)):
            if (
                step.get("type") == "TemplateProcessing"
                and sum("Sequence" in piece for piece in step["single"]) != 1
            ):
                yield "its template must have the text exactly once"
    plain = [list(tokenizer(text, add_special_tokens=False).input_ids) for text in _TEXTS]
    with_special = [list(tokenizer(text, add_special_tokens=True).input_ids) for text in _TEXTS]
    added = max(
        len(ids) - len(plain_ids) for ids, plain_ids in zip(with_special, plain, strict=True)
    )
    if added > _MAX_ADDED:
        yield f"it adds {added:,} tokens around a text, but at most {_MAX_ADDED} are possible"
    if not with_special[0]:
        yield "it returns no tokens for a sentence"
    for text, ids in zip(_TEXTS, plain, strict=True):
        if len(ids) > _MAX_GROWTH * len(text.encode()):
            yield f"it returns {len(ids):,} tokens for {len(text):,} letters"
        if list(tokenizer(text, add_special_tokens=False).input_ids) != ids:
            yield "it returns other tokens for the same text each time"
    if all(tokenizer(first).input_ids == tokenizer(second).input_ids for first, second in _PAIRS):
        yield "it returns the same tokens for different texts"
    tokenizer.decode(plain[0])


def _rule(step: Any) -> Any:
    """Return the JSON of a component of a tokenizer."""
    return None if step is None else json.loads(step.__getstate__())


def _faults_of_rules(rules: Sequence[Any]) -> Iterator[str]:
    for rule in rules:
        growth = 1
        for step in _steps(rule):
            content = [
                str(step[name])
                for name in ("content", "prepend", "replacement", "prefix", "suffix")
                if step.get(name)
            ]
            growth *= max(map(len, content), default=1)
            if growth > _MAX_GROWTH:
                yield f"its rules lengthen a text more than {_MAX_GROWTH} times"
            if letters := step.get("precompiled_charsmap"):
                yield from faults_of_letters(letters)


def _steps(rule: Any) -> Iterator[dict[str, Any]]:
    """Yield a rule and all rules within it."""
    if isinstance(rule, dict):
        yield rule
        inner_rules = list(rule.values())
    elif isinstance(rule, list):
        inner_rules = rule
    else:
        return
    for inner in inner_rules:
        yield from _steps(inner)


def faults_of_letters(letters: Any) -> Iterator[str]:
    """Check the character table of a sentencepiece normalizer: index size, index, and
    NUL-terminated texts.
    """
    import base64

    table = base64.b64decode(letters) if isinstance(letters, str) else bytes(letters)
    texts = table[4 + int.from_bytes(table[:4], "little") :]
    longest = max(map(len, texts.split(b"\0")))
    if longest > _MAX_LETTERS:
        yield (
            f"its table of letters replaces a letter by {longest:,} bytes, but at most"
            f" {_MAX_LETTERS} are possible"
        )
