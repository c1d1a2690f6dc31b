"""Maps of the effect of each block of layers: by distance, by measured damage."""

from analysis.experiments.maps.spec import DamageResult, DamageSpec, DistanceResult, DistanceSpec

__all__ = ["DamageResult", "DamageSpec", "DistanceResult", "DistanceSpec"]
