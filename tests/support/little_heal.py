"""A heal of a tiny model on made-up text, of seconds: common parts of tests of its steps,
checkpoints and jobs.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from analysis.core.blocks import Block
from analysis.core.progress import Cancelled, Progress
from analysis.data.spec import CorpusSpec
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.models.source.model_spec import ModelSpec
from tests.support import documents


def spec(model: Path, folder: Path, **own: Any) -> HealSpec:
    """Return the request.

    Args:
        model: a tiny one, of at least four layers.
        folder: where its texts are written.
        own: settings of this heal.
    """
    texts, others = documents.two_kinds(folder)
    return HealSpec(
        block=Block(2, 2),
        model=ModelSpec(str(model), dtype="float32", device="cpu"),
        corpus=CorpusSpec(texts, n_texts=100, seq_len=32, split="train"),
        validation=CorpusSpec(others, n_texts=3, seq_len=32),
        **{"benchmark": None, "batch_size": 2, "learning_rate": 1e-2, "r": 4} | own,
    )


def cancel_at(step: int) -> Callable[[Progress], None]:
    """Return a progress callback that cancels a healing run after an optimizer step."""

    def on_progress(progress: Progress) -> None:
        if progress.phase == "healing" and progress.values.get("step") == step:
            raise Cancelled

    return on_progress
