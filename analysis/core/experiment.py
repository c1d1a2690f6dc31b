"""Kinds of experiment: each registers its request, its result and the function that answers it.

A kind is one file with a `register(Experiment(...))` in it. In the program its name ends in `spec` or `result`, and it loads no
model library. Elsewhere it is named as an extension (`extensions`). It is then on the command line and in the queue.
Lists of runs, the report and the glossary have it too, without a change anywhere else.
"""

from dataclasses import dataclass

import analysis
from analysis.core.record import Result, Spec
from analysis.core.registry import Registry, modules_in

ADDED = 100
"""Place of kinds that no page and no section of the report was made for."""


@dataclass(frozen=True)
class Experiment:
    """One kind of experiment; its name is `spec.kind`, the version of its results `spec.version`."""

    spec: type[Spec]
    result: type[Result]
    run: str
    """"module:function", called as `run(spec, on_progress, *, load) -> Result` and imported when first needed."""
    title: str
    """Name for people: "Distance map"."""
    shards: str = ""
    """"module:class", a `shards.Work`, where several processes can share the work; empty where one does it all."""
    resolve: str = ""
    """"module:function", which returns a request with all identities, without torch if it is known what this machine chooses;
    a complete stored result of it is then the answer. Empty if a stored result alone is not the answer."""
    help: str = ""
    """Explanation, in a sentence for the glossary; empty for none."""
    figure: str = ""
    """"module:function", called as `figure(result, *, dark) -> Figure` when a chart is wanted; empty for none, or for those
    that `charts.kinds` has."""
    panel: str = ""
    """"module:function", called as `panel(result)` on a page below the title; empty for its tables and its chart."""
    place: int = ADDED
    """Position in lists. A kind before `ADDED` has its own place on the pages and in the report. Others are shown by the fields
    of their `Experiment`."""

    def __post_init__(self) -> None:
        """Raise `TypeError` if pydantic does not validate the request."""
        if "__pydantic_validator__" not in self.spec.__dict__:
            raise TypeError(f"{self.spec.__name__} validates no field. Decorate it with `record.spec_dataclass`.")

    @property
    def kind(self) -> str:
        """Its name in fingerprints, folders and the command line."""
        return self.spec.kind


def _order(experiment: Experiment) -> tuple[int, bool]:
    return experiment.place, not experiment.spec.__module__.startswith(f"{analysis.__name__}.")


EXPERIMENTS: Registry[Experiment] = Registry(
    "kind of experiment",
    key=lambda experiment: experiment.kind,
    modules=modules_in("analysis", "spec", "result"),
    order=_order,
)
"""Every kind of experiment by name: those with a place of their own, additions of this program, then those of elsewhere."""
register = EXPERIMENTS.add
"""Make a kind of experiment known everywhere: command line, queue, pages, reports."""


def additions() -> dict[str, Experiment]:
    """Return the kinds without a place of their own, by name: they are shown by their tables and figures."""
    return {kind: experiment for kind, experiment in EXPERIMENTS.items() if experiment.place >= ADDED}


def title(kind: str) -> str:
    """Return the title of a kind; its name if its extension is not loaded."""
    return EXPERIMENTS[kind].title if kind in EXPERIMENTS else kind
