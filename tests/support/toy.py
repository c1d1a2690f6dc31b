"""Results of a model of four layers, small enough to be checked by eye."""

from dataclasses import replace

from analysis.core.blocks import Block
from analysis.experiments.accuracy.points import Lines, Point
from analysis.experiments.accuracy.sweep_spec import SweepResult, SweepSpec
from analysis.experiments.heal.heal_result import HealResult, HealStep, Validation
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.experiments.maps.damage_spec import DamageResult, DamageSpec, LeastDamage
from analysis.experiments.maps.distance_spec import Best, DistanceResult, DistanceSpec
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.sizes import ModelFacts

FACTS = ModelFacts("toy", "llama", 4, 8, 32, [100] * 4, 256, 4.0, 64)
BASE = {"versions": {}, "wall_s": 1.0, "n_tokens": 10, "complete": True, "model": FACTS}
MEAN = [[0.30, 0.10, 0.20, 0.40], [0.35, 0.15, 0.45], [0.5, 0.5], [0.6]]
_MODEL = ModelSpec(dtype="float32")
MAP = DistanceResult(
    spec=DistanceSpec(model=_MODEL),
    **BASE,
    n_layers=4,
    mean=MEAN,
    stderr=[[0.01] * len(row) for row in MEAN],
    best=[Best(1, 1, 0.10), Best(2, 1, 0.15), Best(3, 1, 0.5)],
    n_texts=3,
    n_skipped=0,
    text_lengths=[16] * 3,
)
SWEEP = SweepResult(
    spec=SweepSpec(max_n=2),
    **BASE,
    n_layers=4,
    points=[
        Point(0, None, 0.5, 0.05, n_samples=100, loss=2.0, loss_stderr=0.1, n_texts=8),
        Point(1, 1, 0.4, 0.06, n_samples=100, loss=2.5, loss_stderr=0.2, n_texts=8),
    ],
    lines=Lines(0.25, 0.27),
    n_questions=100,
    n_truncated=0,
)
DAMAGE = DamageResult(
    spec=DamageSpec(model=_MODEL, max_size=2),
    **BASE,
    n_layers=4,
    unpruned_loss=2.0,
    increase=[[2.0, 0.1, None, 0.4], [3.0, 0.2, 0.5]],
    stderr=[[0.1, 0.01, None, 0.1], [None, 0.1, 0.1]],
    n_measured=[[2, 2, 0, 2], [1, 2, 2]],
    best=[LeastDamage(2, 1, 0.2)],
    n_texts=8,
    rank_correlation=0.7,
    rank_correlation_by_size=[None, 1.0],
)
HEAL = HealResult(
    spec=HealSpec(block=Block(1, 1), steps=4),
    **BASE,
    steps=[HealStep(1, 2.5, 3e-4, 100.0, 10), HealStep(2, 2.3, 2e-4, 100.0, 10)],
    validations=[Validation(0, 2.6, 0.1), Validation(2, 2.2, 0.1)],
    unpruned=SWEEP.points[0],
    pruned=SWEEP.points[1],
    healed=replace(SWEEP.points[1], acc=0.45, loss=2.2),
    lines=SWEEP.lines,
    adapter="adapters/x",
    trainable_parameters=10,
    packed_rows=5,
    n_skipped=0,
    precision="float32",
)
