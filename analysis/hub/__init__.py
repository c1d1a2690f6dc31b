"""Hugging Face Hub: models and datasets, resumable downloads, uploads and the local cache.

Requests use huggingface_hub, which is imported on demand because its import is slow.
"""

from analysis.hub import cache, download, refusal, repository, upload

__all__ = ["cache", "download", "refusal", "repository", "upload"]
