"""What a job wrote down while it ran: its events and its log."""

import contextlib
import json
import os
import re
from pathlib import Path
from typing import Any

from analysis import job_table
from analysis.job import redact

_LOG_TAIL_BYTES = 256 * 1024


def events(job_id: str, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """What a job reported after `offset`, and the offset to ask with next time.

    Each event has `t` (seconds since the epoch), `attempt` and the fields of `Progress`. A last line that is only half
    written is left for the next call; a line that a killed worker left broken is passed over.
    """
    return read_events(job_table.get(job_id).folder, offset)


def read_events(folder: Path, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """The same, of a job known by its folder."""
    file = folder / "events.jsonl"
    try:
        with file.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            offset = offset if 0 <= offset <= size else 0
            stream.seek(offset)
            content = stream.read(size - offset)
    except FileNotFoundError:
        return [], 0
    complete = content[: content.rfind(b"\n") + 1]
    found = []
    for line in complete.split(b"\n"):
        with contextlib.suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict):
                found.append(event)
    return found, offset + len(complete)


def log_tail(job_id: str, n_lines: int = 30) -> str:
    """The last lines of a job's log, with anything that looks like a hub token blotted out."""
    file = job_table.get(job_id).folder / "log.txt"
    try:
        with file.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            start = max(0, size - _LOG_TAIL_BYTES)
            stream.seek(start)
            text = stream.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    if start > 0:
        # The cut may fall inside a token, which would then no longer look like one.
        text = re.sub(r"\A\S*\s?", "", text)
    # A progress bar redraws its line with carriage returns: only what was drawn last counts.
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
    while lines and not lines[-1].strip():
        lines.pop()
    return redact("\n".join(lines[-n_lines:] if n_lines > 0 else []))
