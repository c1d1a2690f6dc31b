"""The steps of the lesson, one a file: each has its `STEP`."""

from pages.components.learn.steps import (
    angle,
    big_models,
    check,
    cliff,
    distance_map,
    healing,
    layers,
    limits,
)

IN_ORDER = tuple(
    module.STEP
    for module in (layers, angle, distance_map, cliff, big_models, healing, limits, check)
)
