"""Inputs of measurements: texts, question sets, the starter pack."""

from analysis.data.spec import BenchmarkSpec, CorpusSpec, GenerationSpec

__all__ = ["BenchmarkSpec", "CorpusSpec", "GenerationSpec"]
