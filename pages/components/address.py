"""Texts and questions as the address of a page names them, so that the same link means the same elsewhere."""

import re
from dataclasses import replace

from analysis.core.errors import SpecError
from analysis.data.spec import BenchmarkSpec, CorpusSpec

_TEXTS = re.compile(r"(c4|wiki):(\d{1,6})x(\d{1,6})(?::seed(\d{1,9}))?")
_QUESTIONS = re.compile(r"(\w+):(all|\d{1,6})(?::(\d)-shot)?(?::seed(\d{1,9}))?(?::(\w+(?:\+\w+)*))?(?:@(\w+))?")


def of_texts(spec: CorpusSpec) -> str:
    """ "c4:32x256": 32 texts of up to 256 tokens; a file of the visitor's own is "file" and means nothing elsewhere."""
    if spec.source not in ("c4", "wiki") or spec.split != "all":
        return "file"
    return f"{spec.source}:{spec.n_texts}x{spec.seq_len}" + (f":seed{spec.seed}" if spec.seed else "")


def texts(text: str) -> CorpusSpec | None:
    """What `of_texts` wrote; None where it cannot be read or is a file."""
    found = _TEXTS.fullmatch(text)
    if not found:
        return None
    source, n_texts, seq_len, seed = found.groups()
    try:
        return CorpusSpec(source, int(n_texts), int(seq_len), seed=int(seed or 0))
    except SpecError:
        return None


def of_questions(spec: BenchmarkSpec) -> str:
    """ "arc_easy:100", "mmlu:all:5-shot:stem+virology@paper"; a file of the visitor's own is "file"."""
    if spec.is_file:
        return "file"
    said = f"{spec.task}:{spec.limit or 'all'}" + (f":{spec.shots}-shot" if spec.shots is not None else "")
    said += (f":seed{spec.seed}" if spec.seed else "") + (f":{'+'.join(spec.subset)}" if spec.subset else "")
    return said if spec.protocol == "harness" else f"{said}@{spec.protocol}"


def questions(text: str) -> BenchmarkSpec | None:
    """What `of_questions` wrote; None where it cannot be read or is a file."""
    found = _QUESTIONS.fullmatch(text)
    if not found:
        return None
    task, limit, shots, seed, subset, protocol = found.groups()
    try:
        spec = BenchmarkSpec(task, None if limit == "all" else int(limit), int(shots) if shots else None, int(seed or 0))
        return replace(spec, subset=tuple(subset.split("+")) if subset else (), protocol=protocol or "harness")
    except SpecError:
        return None
