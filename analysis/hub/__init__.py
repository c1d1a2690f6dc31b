"""The model Hub: its models and datasets, downloads that resume, uploads, and the files of it on this machine.

Requests, downloads and uploads are those of huggingface_hub, which is imported when one is made: it takes longer to load than
a command's help.
"""

from analysis.hub.cache import (
    Kept,
    cached_repositories,
    delete,
    missing_bytes,
    recall,
    recall_unlisted,
    resolve,
    revisions,
    top,
)
from analysis.hub.download import PHASE, fetch, opened
from analysis.hub.refusal import token
from analysis.hub.repository import (
    DATA_SET,
    MODEL,
    File,
    HubModel,
    Repository,
    check_id,
    endpoint,
    is_commit,
    is_offline,
    look,
    search,
)
from analysis.hub.upload import Upload, plan, push

__all__ = [
    "DATA_SET",
    "MODEL",
    "PHASE",
    "File",
    "HubModel",
    "Kept",
    "Repository",
    "Upload",
    "cached_repositories",
    "check_id",
    "delete",
    "endpoint",
    "fetch",
    "is_commit",
    "is_offline",
    "look",
    "missing_bytes",
    "opened",
    "plan",
    "push",
    "recall",
    "recall_unlisted",
    "resolve",
    "revisions",
    "search",
    "token",
    "top",
]
