"""The model hub: what it offers, files of it that come whole or go on where they stopped, and what of it is on this machine."""

from analysis.hub.cache import Kept, delete, folder_of, kept, recall, remember, revisions, snapshot, there, top
from analysis.hub.client import endpoint, is_offline, token
from analysis.hub.download import PHASE, fetch, missing_bytes
from analysis.hub.repository import DATA_SET, MODEL, File, Found, Repository, is_commit, look, search

__all__ = [
    "DATA_SET",
    "MODEL",
    "PHASE",
    "File",
    "Found",
    "Kept",
    "Repository",
    "delete",
    "endpoint",
    "fetch",
    "folder_of",
    "is_commit",
    "is_offline",
    "kept",
    "look",
    "missing_bytes",
    "recall",
    "remember",
    "revisions",
    "search",
    "snapshot",
    "there",
    "token",
    "top",
]
