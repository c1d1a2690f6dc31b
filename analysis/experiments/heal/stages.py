"""Prune, heal, prune: the layers of a cut are removed in several stages, with training in between.

The trained weights are, from the first step on, the adapter of the model without all of these layers. In an earlier stage the
layers of the later ones are still in their places, with the unpruned model's weights. So a checkpoint is of the same weights
in every stage, and validation always measures the model without all of the layers.
"""

from collections.abc import Sequence

from analysis.core.blocks import Removal, removal
from analysis.experiments.heal.heal_result import Stage
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.experiments.search.objective import Objective
from analysis.models.architecture.decoder import Decoder

_KEPT_BYTES = 256 * 1024**2
"""Streams of the texts that need not be run anew for each layer."""


def cuts(decoder: Decoder, spec: HealSpec, texts: Sequence[Sequence[int]]) -> list[Removal]:
    """Return the removed layers of each stage in order; each is a part of the next, and the last is all of the cut.

    Layers are removed by their influence, least first: one minus the mean cosine of their input and output (ShortGPT,
    arXiv:2403.03853). It is measured anew without the layers removed before; of equals the deeper layer is first.

    Args:
        decoder: the unpruned model; it is not changed.
        spec: the request; of whole layers.
        texts: token ids for the influence.
    """
    objective = Objective(decoder, texts, kind="loss", stride=1, keep_bytes=_KEPT_BYTES)
    order: list[int] = []
    while len(order) < spec.block.size:
        influence = objective.influence(tuple(sorted(order)))
        order.append(min(set(spec.block.layers) - set(order), key=lambda layer: (influence[layer], -layer)))
    return [removal(order[:n]) for n in spec.gone_by_stage]


def number(step: int, n_stages: int, n_steps: int) -> int:
    """The stage, from 0 on, of the step that follows on so many: each has as many of them, but for the remainder.

    While their number is not known yet it is the first stage, whose steps take longest.
    """
    return 0 if not n_steps else max(stage for stage in range(n_stages) if stage * n_steps // n_stages <= step)


def planned(removals: Sequence[Removal], n_steps: int) -> list[Stage]:
    """Return the stages with the steps that they begin at.

    Args:
        removals: removed layers of each.
        n_steps: of all of them.
    """
    return [Stage(cut, stage * n_steps // len(removals)) for stage, cut in enumerate(removals)]
