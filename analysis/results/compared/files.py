"""Models as llama.cpp runs them: the GGUF file, the file without layers, and the healed file.

Scores in float32 are measured with the weights of the file, so they hold for the file as well.
Those of a healed file are measured with its changed matrices quantized again
(`EvaluateSpec.as_file`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from analysis.core import escapes
from analysis.core.blocks import PartSet, Removal, written
from analysis.data import starter
from analysis.data.gallery import STARTER
from analysis.experiments.speed.speed_spec import LLAMA_CPP, SpeedResult
from analysis.models.source import adapter_config
from analysis.models.source.weights_format import IN_LLAMA_CPP
from analysis.results.compared.candidates import Candidate
from analysis.results.compared.disk import MEASURED, Bytes


def with_files(forms: Sequence[Candidate], speeds: Sequence[SpeedResult]) -> list[Candidate]:
    """Return forms together with those that llama.cpp runs: the unpruned file, and each file that
    was timed.

    Args:
        forms: of any models.
        speeds: measured speeds of them.
    """
    file_bytes = {
        (speed.spec.model.identity, point.block, point.adapter): point.file_bytes
        for speed in speeds
        if speed.spec.runtime == LLAMA_CPP
        for point in speed.points
    }

    def files() -> Iterator[Candidate]:
        for form in forms:
            is_exact = form.model.is_exact and not form.repair
            if not (form.is_file or is_exact) or not form.model.is_gguf:
                continue
            size = file_bytes.get((form.model.identity, form.cut, form.adapter))
            if form.cut is None and form.disk is not None and form.disk.how == MEASURED:
                size = form.disk.value
            if size and not isinstance(form.cut, PartSet):
                scores = {
                    name: replace(score, condition=replace(score.condition, precision=IN_LLAMA_CPP))
                    for name, score in form.scores.items()
                }
                yield replace(
                    form,
                    scores=scores,
                    memory=size,
                    disk=Bytes(size, MEASURED),
                    is_quantized=True,
                )

    return [*(form for form in forms if not form.is_file), *files()]


def command(candidate: Candidate) -> str:
    """Return the command that runs the file of a candidate, that writes it if it is cut, or that
    heals it again.

    Results of the gallery come without most adapters: the healing run makes them.
    """
    source = candidate.model.source
    adapter = candidate.adapter
    if candidate.cut is not None and adapter and not adapter_config.located(adapter).is_dir():
        words = [
            "python",
            "-m",
            "analysis",
            "heal",
            source,
            "--block",
            written(candidate.cut),
            "--recipe",
            candidate.repair,
        ]
        return escapes.command([*words, "--dtype", candidate.model.dtype])
    if candidate.cut is not None:
        return export_command(source, candidate.cut, adapter, "smaller")
    if source == STARTER:
        return escapes.command(["llama-cli", "-m", starter.gguf_file().name])
    repository, _, file = source.rpartition("/")
    is_remote = repository.count("/") == 1 and not Path(source).exists()
    return escapes.command(
        ["llama-cli", *(["-hf", repository, "-hff", file] if is_remote else ["-m", source])]
    )


def export_command(source: str, cut: Removal, adapter: str, out: str) -> str:
    """Return the command that writes a GGUF file without layers, healed if an adapter is named."""
    words = [
        "python",
        "-m",
        "analysis",
        "export",
        source,
        "--block",
        written(cut),
        "--format",
        "gguf",
    ]
    return escapes.command([*words, *(["--adapter", adapter] if adapter else []), "--out", out])
