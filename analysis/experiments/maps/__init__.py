"""What each block of layers changes: by distance, by measured damage."""

from analysis.experiments.maps.spec import DamageResult, DamageSpec, DistanceResult, DistanceSpec

__all__ = ["DamageResult", "DamageSpec", "DistanceResult", "DistanceSpec"]
