"""Texts and question sets."""

from analysis.data.spec import BenchmarkSpec, CorpusSpec, GenerationSpec

__all__ = ["BenchmarkSpec", "CorpusSpec", "GenerationSpec"]
