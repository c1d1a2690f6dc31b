"""The model Hub: its models and datasets, downloads that resume, uploads, and the files of it on this machine.

Requests, downloads and uploads are those of huggingface_hub, which is imported when one is made: it takes longer to load than
a command's help.
"""

from analysis.hub import cache, download, refusal, repository, upload

__all__ = ["cache", "download", "refusal", "repository", "upload"]
