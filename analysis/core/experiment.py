"""Registry of the kinds of experiment.

A kind is a file with a `register(Experiment(...))`. The name of a built-in file ends in `spec` or
`result`, and it imports no model library; other files are extensions (`extensions`). A registered
kind is available in the command line, the job queue, the lists of runs, the report and the
glossary.
"""

from dataclasses import dataclass

import analysis
from analysis.core.record import Result, Spec
from analysis.core.registry import Registry, modules_in

ADDED = 100
"""Position of kinds without their own page or section of the report."""


@dataclass(frozen=True)
class Experiment:
    """Kind of experiment, with the name `spec.kind` and the result version `spec.version`."""

    spec: type[Spec]
    result: type[Result]
    run: str
    """`module:function`, called as `run(spec, on_progress, *, load) -> Result` and imported at its
    first use."""
    title: str
    """Title, such as "Distance map"."""
    shards: str = ""
    """`module:class` of a `shards.Work` if several processes can share the work, else ""."""
    resolve: str = ""
    """`module:function` that resolves a request, without torch if the dtype and device of this
    machine are known. A complete stored result of the resolved request is then the answer. "" if a
    stored result is not sufficient."""
    help: str = ""
    """Explanation for the glossary; "" for none."""
    figure: str = ""
    """`module:function`, called as `figure(result, *, dark) -> Figure`; "" for no chart or the
    charts in `charts.kinds`."""
    panel: str = ""
    """`module:function`, called as `panel(result)` to draw the result on a page; "" for its tables
    and chart."""
    place: int = ADDED
    """Position in lists. Kinds before `ADDED` have their own pages and sections of the report."""

    def __post_init__(self) -> None:
        """Check that the request is a `spec_dataclass`."""
        if "__pydantic_validator__" not in self.spec.__dict__:
            raise TypeError(
                f"{self.spec.__name__} validates no field. Decorate it with"
                " `record.spec_dataclass`."
            )

    @property
    def kind(self) -> str:
        """Name in fingerprints, folders and the command line."""
        return self.spec.kind


def _order(experiment: Experiment) -> tuple[int, bool]:
    return experiment.place, not experiment.spec.__module__.startswith(f"{analysis.__name__}.")


EXPERIMENTS: Registry[Experiment] = Registry(
    "kind of experiment",
    key=lambda experiment: experiment.kind,
    modules=modules_in("analysis", "spec", "result"),
    order=_order,
)
"""All kinds of experiment by name, in the order of `place`, built-in kinds before extensions."""
register = EXPERIMENTS.add
"""Register a kind of experiment."""


def additions() -> dict[str, Experiment]:
    """Return the kinds without their own page, by name."""
    return {
        kind: experiment for kind, experiment in EXPERIMENTS.items() if experiment.place >= ADDED
    }


def title(kind: str) -> str:
    """Return the title of a kind, or its name if its extension is not loaded."""
    return EXPERIMENTS[kind].title if kind in EXPERIMENTS else kind
