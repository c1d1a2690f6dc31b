"""The subcommand `jobs`: list and control background jobs."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from analysis import service
from analysis.cli.stdout import write
from analysis.core.bounds import one_of
from analysis.core.errors import SpecError
from analysis.jobs.queue.job import LOCAL, Job
from analysis.results.stored import ignored

_ON_ONE = {"show": "get", "pause": "pause", "cancel": "cancel", "resume": "resume"}
"""Actions on one job, with their functions of `service.jobs`."""
ACTIONS = ("list", *_ON_ONE, "move", "delete", "clear", "auto-resume")
"""Actions of the subcommand."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the subcommand to a parser."""
    parser.add_argument(
        "action",
        nargs="?",
        default="list",
        metavar=f"{{{','.join(ACTIONS)}}}",
        help="Action (default: list).",
    )
    parser.add_argument("id", nargs="?", help="Job id. For auto-resume: on or off.")
    parser.add_argument(
        "where",
        nargs="?",
        metavar="up|down|first|last",
        help="Position for move: up, down, first or last.",
    )
    parser.add_argument(
        "--saved",
        action="store_true",
        help=(
            "With delete or clear: also remove checkpoints, the adapter and results that nothing"
            " else needs (default: off)."
        ),
    )


def run(options: argparse.Namespace) -> None:
    """List, show, pause, cancel, resume, move or delete background jobs, or set automatic
    resuming.
    """
    one_of("action", options.action, ACTIONS)
    service.jobs.reap()
    action = options.action
    if action == "auto-resume":
        service.jobs.set_auto_resume(_choice(options.id, {"on": True, "off": False}, action))
    elif action == "clear":
        service.jobs.clear(saved=options.saved)
    elif action != "list":
        if options.id is None:
            raise SpecError(f"`jobs {action}` needs a job id. `jobs list` shows them.")
        if action == "move":
            places = {"up": -1, "down": 1, "first": service.jobs.FRONT, "last": service.jobs.END}
            service.jobs.move(options.id, _choice(options.where, places, f"move {options.id}"))
        elif action == "delete":
            service.jobs.delete(options.id, saved=options.saved)
        else:
            getattr(service.jobs, _ON_ONE[action])(options.id)
        if action == "resume":
            service.refresh()
    _show(
        options, [service.jobs.get(options.id)] if action in _ON_ONE else service.jobs.list_jobs()
    )


def _choice(value: str | None, choices: dict[str, Any], action: str) -> Any:
    if value not in choices:
        *first_ones, last = choices
        raise SpecError(f"`jobs {action}` needs {', '.join(first_ones)} or {last} after it.")
    return choices[value]


def _show(options: argparse.Namespace, listed: list[Job]) -> None:
    is_resumed = service.jobs.auto_resume()
    lines = [
        f"{job.id}  {job.kind:9}  {job.state:11}  {_where(job)}{job.phase} {job.how_far} "
        f" {job.error or ''}"
        for job in listed
    ]
    if options.action == "show":
        lines += [
            f"{' ' * 12}{done}"
            for job in listed
            if job.work is not None and (done := job.work.in_words())
        ]
    if options.action in ("list", "auto-resume"):
        wont = "resume automatically" if is_resumed else "wait until you resume them"
        lines = [*(lines or ["No jobs yet."]), f"Interrupted jobs {wont}."]
        if n_ignored := ignored.count():
            lines.append(
                "Stored results that are ignored, since their method, setting or extension is"
                f" gone: {n_ignored:,}."
            )
    write(options, data(listed), lines or ["No jobs left."])


def data(listed: Sequence[Job]) -> dict[str, Any]:
    """Return jobs, and whether interrupted ones resume automatically, as JSON."""
    return {"jobs": [_as_json(job) for job in listed], "auto_resume": service.jobs.auto_resume()}


def _where(job: Job) -> str:
    return "" if job.backend == LOCAL else f"on {job.backend}: "


_FIELDS = ("id", "kind", "state", "backend", "phase", "done", "total", "error", "result_key")


def _as_json(job: Job) -> dict[str, Any]:
    return {name: getattr(job, name) for name in _FIELDS} | {
        "values": dict(job.values),
        "work": None if job.work is None else asdict(job.work),
        "size_bytes": service.jobs.size_bytes(job),
        "spec": json.loads(job.spec_json),
    }
