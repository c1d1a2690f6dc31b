"""A model named, planned, loaded, taken apart, cut, listened to."""

from analysis.models.spec import InspectResult, InspectSpec, ModelFacts, ModelSpec

__all__ = ["InspectResult", "InspectSpec", "ModelFacts", "ModelSpec"]
