"""Which requests several processes can share, and by how many."""

from analysis.core.errors import SpecError
from analysis.core.experiment import EXPERIMENTS
from analysis.core.record import Spec

MOST_WORKERS = 256
"""Processes that may share a request."""


def can_share(spec: Spec) -> bool:
    """Return whether several processes can share this request."""
    experiment = EXPERIMENTS.get(spec.kind)
    return experiment is not None and experiment.is_shared and getattr(spec, "adapter", None) is None


def check_workers(spec: Spec, n: int) -> None:
    """Refuse a number of processes that a request cannot have.

    Raises:
        SpecError: when there are none, too many, or the request is one that a single process answers.
    """
    if not 1 <= n <= MOST_WORKERS:
        raise SpecError(f"--workers must be 1..{MOST_WORKERS}, not {n}.")
    if n > 1 and not can_share(spec):
        kinds = ", ".join(kind for kind, experiment in EXPERIMENTS.items() if experiment.is_shared)
        raise SpecError(
            f"A request of kind {spec.kind} runs in one process. Use --workers with {kinds}, and without an adapter."
        )
