"""Sentences for a source that is written as a file, but names no model: the hub is not asked for it."""

import re
from pathlib import Path

from analysis.models import gguf

_ENDINGS = (
    "bin", "ckpt", "csv", "doc", "docx", "ggml", "gz", "h5", "html", "ipynb", "json", "jsonl", "log", "md", "msgpack", "npz",
    "onnx", "parquet", "pdf", "pickle", "pkl", "pt", "pth", "py", "safetensors", "tar", "toml", "tsv", "txt", "xml", "yaml",
    "yml", "zip",
)  # fmt: skip
"""Endings of files; other letters behind a dot may be part of a Hub id, as in Qwen2.5."""
_FIX = "Give a .gguf file, a folder with a config.json, `starter`, or a Hub id such as HuggingFaceTB/SmolLM2-135M."
_PLAIN_ENDING = re.compile(r"[^/\\]*\.[A-Za-z]{2,12}")
"""A name without a folder that ends in letters behind a dot: no model on the Hub has such a name."""


def refusal(source: str, *, as_gguf: bool = False) -> str:
    """Return why a source that is written as a file is no model.

        "" for a GGUF file, for a folder and for a name that may be a Hub id.

    Args:
        source: as in `ModelSpec.source`.
        as_gguf: whether a GGUF file was asked for, so that nothing else will do.
    """
    if source.endswith(gguf.SUFFIX):
        return ""
    path = Path(source).expanduser() if not source.startswith("~") or "/" in source else Path(source)
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
    except (OSError, ValueError):
        return ""
    if is_file:
        whole = " For safetensors weights, give their folder." if path.suffix == ".safetensors" else ""
        return f"{source!r} is not a GGUF file: its name does not end in {gguf.SUFFIX}.{whole} {_FIX}"
    if as_gguf and is_folder:
        return f"{source!r} is a folder, not a GGUF file. Choose Folder, or give the path of a file that ends in {gguf.SUFFIX}."
    ending = path.suffix.removeprefix(".").lower()
    if as_gguf or ending in _ENDINGS or (ending and _PLAIN_ENDING.fullmatch(source)):
        return f"The file {source!r} does not exist, and its name does not end in {gguf.SUFFIX}. {_FIX}"
    return ""
