"""Tokenizer of a GGUF file.

It is copied from the GGUF file that a model came from, or made of a Hugging Face one. One that such a file cannot express
exactly is refused.

Source: docs/gguf.md in ggml-org/ggml, and how llama.cpp reads it (src/llama-vocab.cpp in ggml-org/llama.cpp).
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.core.errors import UnsupportedModelError
from analysis.models.source import gguf

Entry = tuple[str, Any, Any, Any]
"""Key, value, its type in ggml, and for a list the type of its entries, or None for the type of the first entry."""
_NORMAL, _UNKNOWN, _CONTROL, _OWN, _UNUSED, _BYTE = 1, 2, 3, 4, 5, 6
"""Kinds of tokens; `_OWN` are those that were added as plain text."""
_GPT4 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?"
    r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SPLITS = {
    (_GPT4 % "{1,3}", True): "llama-bpe",
    (_GPT4 % "{1,3}", False): "dbrx",
    (_GPT4 % "", False): "qwen2",
    (_TEKKEN, True): "tekken",
}
"""llama.cpp's names of pre-tokenizers, by expression and by whether words that are tokens skip the merging."""
_TEXTS = (
    "The capital of France is Paris. I'm sure we'll see, DON'T they?",
    "  two spaces,\n\n\ttabs \r\n and an end ",
    "naïve café, 你好世界, Привет, 🙂👍🏽 — «x»",
    "def f(x):\n    return {x ** 2 != 0.5};  # €",
)
_NUMBERS = "In 1984, 12345 of 3.14 and x86_64"
_INSTEAD = "Export the folder (hf) instead: it contains the tokenizer unchanged"


def of_file(path: Path) -> list[Entry]:
    """All that a GGUF file says of its tokenizer, as it says it.

    Raises:
        OSError, ValueError: when it cannot be read.
    """
    from gguf import GGUFReader, GGUFValueType

    fields = []
    for key, field in GGUFReader(path).fields.items():
        if key.startswith("tokenizer."):
            item_type = field.types[1] if field.types[0] == GGUFValueType.ARRAY else None
            fields.append((key, field.contents(), field.types[0], item_type))
    return fields


def of_tokenizer(tokenizer: Any, n_tokens: int) -> list[Entry]:
    """Return the entries of a GGUF file for a Hugging Face tokenizer.

    Args:
        tokenizer: of transformers.
        n_tokens: number of embeddings; missing tokens are filled up with unused ones.

    Raises:
        UnsupportedModelError: when llama.cpp would tokenize differently in some respect.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise _refused("it is not a tokenizer of the tokenizers library")
    tokenizer_json = json.loads(backend.to_str())
    model = tokenizer_json["model"]
    if (
        model.get("type") != "BPE"
        or model.get("dropout")
        or model.get("continuing_subword_prefix")
        or model.get("end_of_word_suffix")
    ):
        raise _refused(f"its model is {model.get('type')}, not plain byte pair encoding")
    merges = [tuple(merge.split(" ", 1)) if isinstance(merge, str) else tuple(merge) for merge in model.get("merges") or ()]
    if not merges:
        raise _refused("it has no merges, and llama.cpp cannot read it without them")
    vocab = {**model["vocab"], **{token["content"]: token["id"] for token in tokenizer_json["added_tokens"]}}
    tokens, kinds = _listed(vocab, tokenizer_json["added_tokens"], n_tokens)
    is_words = bool(model.get("byte_fallback"))
    of_model = _sentencepiece(tokenizer_json, tokens, kinds, merges) if is_words else _byte_level(tokenizer_json, merges)
    first, last = _around(tokenizer)
    if isinstance(tokenizer.chat_template, Mapping):
        templates = dict(tokenizer.chat_template)
    else:
        templates = {"default": tokenizer.chat_template} if tokenizer.chat_template else {}
    ids = {
        f"tokenizer.ggml.{name}_token_id": getattr(tokenizer, f"{gguf_name}_token_id")
        for name, gguf_name in {"bos": "bos", "eos": "eos", "unknown": "unk", "padding": "pad"}.items()
    }
    fields: dict[str, Any] = {
        **of_model,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": kinds,
        **{key: number for key, number in ids.items() if number is not None},
        "tokenizer.ggml.add_bos_token": first,
        "tokenizer.ggml.add_eos_token": last,
        **{"tokenizer.chat_template" + ("" if name == "default" else f".{name}"): text for name, text in templates.items()},
    }
    return [_entry(key, value) for key, value in fields.items()]


def _refused(reason: str) -> UnsupportedModelError:
    return UnsupportedModelError(f"llama.cpp would tokenize differently from this model: {reason}. {_INSTEAD}.")


def _entry(key: str, value: Any) -> Entry:
    from gguf import GGUFValueType as Type

    kinds = {bool: Type.BOOL, int: Type.UINT32, float: Type.FLOAT32, str: Type.STRING}
    if not isinstance(value, list):
        return key, value, kinds[type(value)], None
    return key, value, Type.ARRAY, Type.INT32 if type(value[0]) is int else kinds[type(value[0])]


def _listed(vocab: Mapping[str, int], added: Sequence[Mapping[str, Any]], n_tokens: int) -> tuple[list[str], list[int]]:
    """Return the tokens in their order, and the kind of each."""
    if max(vocab.values()) >= n_tokens:
        raise _refused(f"its tokenizer has a token {max(vocab.values())}, and the model has tokens 0 to {n_tokens - 1}")
    tokens, kinds = [f"[PAD{number}]" for number in range(n_tokens)], [_UNUSED] * n_tokens
    for token, number in vocab.items():
        tokens[number], kinds[number] = token, _NORMAL
    for added_token in added:
        kinds[added_token["id"]] = _CONTROL if added_token["special"] else _OWN
        beside = [name for name in ("lstrip", "rstrip", "single_word") if added_token[name]]
        if beside and not (beside == ["rstrip"] and _strips(added)):
            raise _refused(f"its token {added_token['content']} also matches the text around it ({beside[0]})")
    return tokens, kinds


_KEEPING = {"<unk>", "<s>", "<|endoftext|>"}
"""The tokens of Phi-3 that leave the spaces behind them alone."""


def _strips(added: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether exactly the tokens that take the spaces behind them in Phi-3 do so here."""
    contents = {token["content"] for token in added}
    takes = {token["content"] for token in added if token["rstrip"]}
    return takes == contents - _KEEPING and {*_KEEPING, "</s>"} <= contents


def name_for(name: str, tokenizer: Any, gguf_file: Path | None) -> str:
    """Return the model's name for a file: llama.cpp takes the spaces behind special tokens away in one named Phi-3.

    Args:
        name: of the model.
        tokenizer: of transformers.
        gguf_file: the GGUF file that the tokenizer was copied from, if it was.
    """
    if gguf_file is None:
        strips = _strips(json.loads(tokenizer.backend_tokenizer.to_str())["added_tokens"])
    else:
        strips = _PHI.search(str(gguf.header(gguf_file).get("general.name"))) is not None
    plain = _PHI.sub("Phi_3", name)
    return f"{plain} (phi-3)" if strips else plain


_PHI = re.compile("phi-?3", re.IGNORECASE)


def _byte_level(tokenizer_json: Mapping[str, Any], merges: Sequence[tuple[str, ...]]) -> dict[str, Any]:
    if (tokenizer_json["decoder"] or {}).get("type") != "ByteLevel":
        raise _refused("its tokenizer is neither byte-level nor has a byte fallback")
    # Every converter of llama.cpp passes this over: only text that is not in this form is parted otherwise.
    if (tokenizer_json["normalizer"] or {"type": "NFC"}) != {"type": "NFC"}:
        raise _refused(f"its tokenizer normalizes texts first ({tokenizer_json['normalizer']['type']})")
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": _pre(tokenizer_json),
        "tokenizer.ggml.merges": [" ".join(pair) for pair in merges],
        "tokenizer.ggml.add_space_prefix": False,
    }


def _pre(tokenizer_json: Mapping[str, Any]) -> str:
    """Return llama.cpp's name of the pre-tokenizer, which splits a text before merging."""
    parts = tokenizer_json["pre_tokenizer"] or {"type": "nothing"}
    steps = [
        {name: value for name, value in step.items() if name not in ("trim_offsets", "add_prefix_space")}
        for step in parts.get("pretokenizers", [parts])
        if not step.get("add_prefix_space")
    ]
    with_regex, without_regex = {"type": "ByteLevel", "use_regex": True}, {"type": "ByteLevel", "use_regex": False}
    ignores_merges = bool(tokenizer_json["model"].get("ignore_merges"))
    if steps == [with_regex] and not ignores_merges:
        return "gpt-2"
    if steps == [{"type": "Digits", "individual_digits": True}, with_regex] and not ignores_merges:
        return "smollm"
    if len(steps) == 2 and steps[1] == without_regex:
        split = {"type": "Split", "behavior": "Isolated", "invert": False}
        expression = steps[0].get("pattern", {}).get("Regex", "")
        if {**split, "pattern": {"Regex": expression}} == steps[0] and (expression, ignores_merges) in _SPLITS:
            return _SPLITS[expression, ignores_merges]
    names = ", ".join(step["type"] for step in steps) or parts["type"]
    raise _refused(f"llama.cpp has no name for its pre-tokenizer ({names})")


def _sentencepiece(
    tokenizer_json: Mapping[str, Any], tokens: list[str], kinds: list[int], merges: Sequence[tuple[str, ...]]
) -> dict[str, Any]:
    """Of a tokenizer that was made of a sentencepiece one; its tokens and their kinds are written as llama.cpp has them."""
    prefix = _prefix(tokenizer_json)
    scores = _scores(tokens, kinds, merges)
    for number, token in enumerate(tokens):
        if kinds[number] == _OWN:  # looked for in the text before spaces are written as they are within tokens
            tokens[number] = token.replace("▁", " ")
        elif token == tokenizer_json["model"].get("unk_token"):
            kinds[number] = _UNKNOWN
        elif len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
            kinds[number] = _BYTE
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.scores": scores,
        "tokenizer.ggml.add_space_prefix": prefix,
    }


def _prefix(tokenizer_json: Mapping[str, Any]) -> bool:
    """Return whether a space is put before every text, those between special tokens included."""
    before, parts = tokenizer_json["normalizer"], tokenizer_json["pre_tokenizer"]
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    if before == {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, spaces]} and parts is None:
        return True
    if before == spaces and (parts is None or parts["type"] == "Split" and parts["pattern"] == {"String": " "}):
        return False
    if before is None and (parts or {}).get("type") == "Metaspace" and parts["replacement"] == "▁" and not parts["split"]:
        if parts["prepend_scheme"] == "never":
            return False
        raise _refused("it adds no space before a text that begins with one, and llama.cpp does")
    raise _refused("llama.cpp does not support its treatment of spaces")


def _scores(tokens: Sequence[str], kinds: Sequence[int], merges: Sequence[tuple[str, ...]]) -> list[float]:
    """Return the scores that llama.cpp merges by, so that it merges in the order of the list of merges.

    It merges any two neighbours that make up a token, the token of the highest score first. tokenizers goes by a list of pairs.
    Both do the same where the list has every such pair, and all pairs that make up one token next to each other.
    """
    merged = ["".join(pair) for pair in merges]
    order = list(dict.fromkeys(merged))
    rank = {token: number for number, token in enumerate(order)}
    if [rank[token] for token in merged] != sorted(rank[token] for token in merged):
        raise _refused("no score per token gives the order of its merges")
    plain = {token for token, kind in zip(tokens, kinds, strict=True) if kind == _NORMAL}
    merge_set = set(merges)
    for token in plain:
        for split in range(1, len(token)):
            if token[:split] in plain and token[split:] in plain and (token[:split], token[split:]) not in merge_set:
                raise _refused(f"it never merges {token[:split]!r} and {token[split:]!r} to {token!r}")
    return [-float(rank.get(token, len(order))) if kind == _NORMAL else 0.0 for token, kind in zip(tokens, kinds, strict=True)]


def _around(tokenizer: Any) -> tuple[bool, bool]:
    """Return whether it puts the beginning token before a text, and whether it puts the end token behind it."""
    plain_ids = tokenizer("a", add_special_tokens=False).input_ids
    ids = tokenizer("a").input_ids
    start = next(
        (start for start in range(len(ids) - len(plain_ids) + 1) if ids[start : start + len(plain_ids)] == plain_ids), 0
    )
    first, last = ids[:start], ids[start + len(plain_ids) :]
    if first not in ([], [tokenizer.bos_token_id]) or last not in ([], [tokenizer.eos_token_id]):
        raise _refused("it adds other tokens than those of beginning and end around a text")
    return bool(first), bool(last)


def check(path: Path, tokenizer: Any) -> None:
    """Read the tokenizer of a GGUF file as transformers does, and hold it against the one that it was made of on a few texts.

    Raises:
        UnsupportedModelError: when they part a text in two ways.
    """
    from analysis.models.loading import pretrained

    reloaded = pretrained.tokenizer(path.parent, path.name)
    header, texts = gguf.header(path), list(_TEXTS)
    if not header.get("tokenizer.ggml.add_space_prefix"):
        # Between special tokens transformers puts no space before a text where it reads a file, and llama.cpp does.
        texts.append("x".join(["", *(token.content for token in tokenizer.added_tokens_decoder.values() if token.special), ""]))
    if header.get("tokenizer.ggml.pre") != "smollm":
        texts.append(_NUMBERS)  # whose digits it does not part then
    for text in texts:
        if list(reloaded(text).input_ids) != list(tokenizer(text).input_ids):
            raise _refused(f"the reloaded file gives other tokens for {text[:40]!r}")
