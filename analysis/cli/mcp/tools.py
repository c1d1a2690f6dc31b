"""Tools of the MCP server: one for each kind of request, and tools for stored results and jobs.

The module is independent of the protocol. A tool takes JSON and returns JSON, or a job to watch.
"""

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from analysis import service
from analysis.cli import decision_sheet, front, groups
from analysis.cli import jobs as job_list
from analysis.cli.mcp import schema, stored
from analysis.cli.mcp.schema import Json
from analysis.cli.options import Subcommand
from analysis.core import escapes, serving
from analysis.core.bounds import Bound
from analysis.core.errors import AccessError, BusyError, SpecError
from analysis.core.experiment import EXPERIMENTS
from analysis.core.options import Option
from analysis.core.record import Spec, spec_dataclass
from analysis.jobs.queue.job import LOCAL, Job
from analysis.models.source.model_spec import InspectSpec, ModelSpec
from analysis.stored_answers import Nearest

LEFT_OUT = ("export",)
"""Kinds without a tool: a person decides to write or upload a model."""
LONGEST_WAIT_S = 600
FRONT_FIELDS = ("answers", "missing", "duration_s")
"""Fields that `front` returns by default; the points may take 100 kB."""


@spec_dataclass
class Selection(Spec):
    """The returned part of an answer."""

    kind: ClassVar[str] = "selection"

    fields: Annotated[tuple[str, ...], Option()] = ()
    """Names of the fields to return, such as best, points or answers (default: all, but no points
    of a front)."""
    per_question: Annotated[bool, Option()] = False
    """Add the log-likelihoods of every question (default: off)."""


@spec_dataclass
class Delivery(Spec):
    """Mode in which a measurement runs."""

    kind: ClassVar[str] = "delivery"

    wait_s: Annotated[int, Option(), Bound(0, LONGEST_WAIT_S)] = 0
    """Seconds to wait for the job, with progress notifications (default: 0, the id of the job at
    once)."""
    run_on: Annotated[str, Option()] = LOCAL
    """Backend that runs the job."""
    workers: Annotated[int, Option(), Bound(1, 1_000)] = 1
    """Number of processes that share the work."""


@spec_dataclass
class ResultsSpec(Spec):
    """List stored results, the strongest evidence first, each with its key, condition and key
    figures.
    """

    kind: ClassVar[str] = "results"

    model: Annotated[str, Option(metavar="MODEL")] = ""
    """Model as in the other tools, such as `starter` (default: any model)."""
    of_kind: Annotated[str, Option("--kind", choices=EXPERIMENTS)] = ""
    """Kind of the results (default: every kind)."""
    text: Annotated[str, Option()] = ""
    """Words that all occur in the description of a result, such as a strategy or a dataset
    (default: none)."""
    most: Annotated[int, Option(), Bound(1, 100)] = 3
    """Number of results of each kind, at most."""


@spec_dataclass
class ResultKeySpec(Spec):
    """Return one stored result by its kind and key, as `results` and a finished job name them."""

    kind: ClassVar[str] = "result"

    of_kind: Annotated[str, Option("--kind", choices=EXPERIMENTS)]
    """Kind of the result."""
    key: Annotated[str, Option()]
    """Key of the result: twenty hexadecimal digits."""


@spec_dataclass
class JobsSpec(Spec):
    """List background jobs, or show one, with its progress and the key of its result."""

    kind: ClassVar[str] = "jobs"

    id: Annotated[str, Option()] = ""
    """Id of the job (default: all jobs)."""
    wait_s: Annotated[int, Option(), Bound(0, LONGEST_WAIT_S)] = 0
    """Seconds to wait for the end of this job, with progress notifications (default: 0)."""


@spec_dataclass
class JobIdSpec(Spec):
    """Name one background job."""

    kind: ClassVar[str] = "job"

    id: Annotated[str, Option()]
    """Id of the job."""


class ReadOnlyError(AccessError):
    """Error for a call that a read-only server refuses."""

    def __init__(self, problem: str, cause: str, fix: str, **more: Any) -> None:
        """Create the error from three sentences and further fields of the answer."""
        super().__init__(f"{problem} {cause} {fix}")
        self.parts = {"problem": problem, "cause": cause, "fix": fix, **more}


@dataclass(frozen=True)
class Watch:
    """A job to wait for, and the function that makes the answer."""

    job: Job
    """Job to wait for."""
    wait_s: int
    """Maximum time to wait, in seconds."""
    answer: Callable[[Job], Json]
    """Function from the job after the wait to the answer."""


@dataclass(frozen=True)
class Tool:
    """A tool with its arguments and the function that answers a call."""

    name: str
    """Name of the tool."""
    about: str
    """Description for clients."""
    kinds: tuple[type[Spec], ...]
    """Classes of the requests whose options are the arguments."""
    answer: Callable[..., Json | Watch]
    """Function that takes a request of each kind."""
    without: frozenset[str] = frozenset()
    """Names of options that are not arguments."""
    changes: bool = False
    """Whether it starts or stops jobs if the server allows it."""
    stops: bool = False
    """Whether it stops running jobs."""

    @functools.cached_property
    def arguments(self) -> Json:
        """Return the JSON schema of the arguments."""
        return schema.of(self.kinds, without=self.without, settable=Delivery in self.kinds)


class Tools:
    """The tools of a server."""

    def __init__(
        self,
        subcommands: Sequence[Subcommand],
        command_line: Callable[[Spec], str],
        *,
        allow_run: bool = False,
    ) -> None:
        """Create the tools.

        Args:
            subcommands: subcommands of the kinds of requests.
            command_line: function that returns the command of a request.
            allow_run: whether clients may start, stop and resume jobs.
        """
        self.allow_run = allow_run
        self._command_line = command_line
        measuring = [
            self._measuring(subcommand)
            for subcommand in subcommands
            if subcommand.spec.kind not in LEFT_OUT
        ]
        self.by_name = {tool.name: tool for tool in [*measuring, *self._reading()]}

    def call(self, name: str, arguments: Mapping[str, Any]) -> Json | Watch:
        """Answer a call.

        Raises:
            ReadOnlyError: if the call would run something and the server is read-only.
            LayerscopeError: for another problem that the caller can fix.
        """
        tool = self.by_name.get(name)
        if tool is None:
            raise SpecError(f"There is no tool {name[:60]!r}. Use {', '.join(self.by_name)}.")
        unknown = sorted(arguments.keys() - tool.arguments["properties"].keys())
        if unknown:
            names = ", ".join(tool.arguments["properties"])
            raise SpecError(f"The tool {name} has no argument {unknown[0][:60]!r}. Use {names}.")
        for kind in tool.kinds:
            for value in schema.files(
                kind, arguments
            ):  # making the request of a recipe reads its texts and model
                serving.read(shared=False).check_file(value)
        first, *more = tool.kinds
        requests = [
            schema.request(first, arguments),
            *(schema.request(kind, {**arguments, schema.SET: None}) for kind in more),
        ]
        for request in requests:
            serving.read(shared=False).check_files(request)
        return tool.answer(*requests)

    def look(self, job_id: str) -> Job:
        """Return the current state of a job, and start waiting jobs if jobs may run."""
        with contextlib.suppress(BusyError):  # try again at the next poll
            if self.allow_run:
                service.refresh()
        return service.jobs.get(job_id)

    def _measuring(self, subcommand: Subcommand) -> Tool:
        has = {name.lstrip("-").replace("-", "_") for name, _ in subcommand.extras}
        about = groups.about(subcommand.name, subcommand.spec)
        run = (
            "Runs as a background job." if self.allow_run else "Answers from stored results alone."
        )
        return Tool(
            subcommand.name,
            about if self.allow_run and subcommand.spec is InspectSpec else f"{about} {run}",
            (subcommand.spec, Selection, Delivery),
            self._measure,
            frozenset({"per_question", "run_on", "workers"} - has),
            changes=True,
        )

    def _reading(self) -> list[Tool]:
        sheet = groups.ABOUT["sheet"][0].replace("Write", "Return", 1)
        listing = "List background jobs, or show one, with its progress and the key of its result."
        cancel = "Stop a background job. Its finished work is kept."
        resume = "Put a stopped or failed job back into the queue."
        return [
            Tool("results", groups.about("results", ResultsSpec), (ResultsSpec,), _results),
            Tool(
                "result", groups.about("result", ResultKeySpec), (ResultKeySpec, Selection), _result
            ),
            Tool("sheet", sheet, (decision_sheet.SheetSpec,), self._sheet),
            Tool(
                "front",
                groups.ABOUT["front"][0],
                (front.FrontSpec, Selection),
                self._front,
                frozenset({"per_question"}),
            ),
            Tool("jobs", listing, (JobsSpec,), self._jobs),
            Tool(
                "cancel_job",
                cancel,
                (JobIdSpec,),
                functools.partial(self._on_job, "cancel"),
                changes=True,
                stops=True,
            ),
            Tool(
                "resume_job",
                resume,
                (JobIdSpec,),
                functools.partial(self._on_job, "resume"),
                changes=True,
            ),
        ]

    def _measure(self, spec: Spec, selection: Selection, delivery: Delivery) -> Json | Watch:
        answer = functools.partial(
            stored.data, fields=selection.fields, per_question=selection.per_question
        )
        if self.allow_run and isinstance(spec, InspectSpec) and not (spec.load or spec.fetch):
            return answer(service.inspect(spec.model))
        is_enough = (
            not self.allow_run or EXPERIMENTS[spec.kind].resolve
        )  # a stored result can answer
        if is_enough and (result := service.stored(spec, read_only=True)) is not None:
            return answer(result)
        if self.allow_run:
            job = service.submit(spec, backend=delivery.run_on, workers=delivery.workers)
            return Watch(job, delivery.wait_s, lambda ended: _ended(ended, answer))
        raise ReadOnlyError(
            f"The request of kind {spec.kind} was not run.",
            "This server is read-only, and no stored result answers this request.",
            f"Ask for a stored result, run `{self._command_line(spec)}` yourself, or start the"
            " server with --allow-run.",
            stored=[self._listed(near) for near in service.nearest(spec)],
        )

    def _listed(self, near: Nearest) -> Json:
        command = self._command_line(near.request)
        return {"kind": near.entry.kind, "key": near.entry.key, "command": command}

    def _sheet(self, request: decision_sheet.SheetSpec) -> Json:
        return decision_sheet.data(decision_sheet.decide(request, self._command_line))

    def _front(self, request: front.FrontSpec, selection: Selection) -> Json:
        content = front.compare(request).to_json(self._command_line)
        return stored.selected(
            content, selection.fields or FRONT_FIELDS, ("model", "questions", "texts", "reference")
        )

    def _jobs(self, request: JobsSpec) -> Json | Watch:
        if not request.id:
            if self.allow_run:
                service.refresh()
            return job_list.data(service.jobs.list_jobs())
        return Watch(self.look(request.id), request.wait_s, lambda job: job_list.data([job]))

    def _on_job(self, action: str, request: JobIdSpec) -> Json:
        if not self.allow_run:
            job = escapes.command([request.id])
            raise ReadOnlyError(
                f"The action {action} was not carried out on job {job}.",
                "This server is read-only.",
                f"Run `python -m analysis jobs {action} {job}` yourself, or start the server with"
                " --allow-run.",
            )
        {"cancel": service.jobs.cancel, "resume": service.jobs.resume}[action](request.id)
        return job_list.data([self.look(request.id)])


def _results(request: ResultsSpec) -> Json:
    kinds = [request.of_kind] if request.of_kind else [*EXPERIMENTS]
    model = ModelSpec(request.model) if request.model else None
    entries = [
        entry
        for kind in kinds
        for entry in service.find(kind, model, most=request.most, text=request.text)
    ]
    return {"results": [stored.listed(entry) for entry in entries]}


def _result(request: ResultKeySpec, selection: Selection) -> Json:
    entry = service.by_key(request.of_kind, request.key)
    if entry is None:
        raise SpecError(
            f"There is no stored result {request.key[:60]!r} of kind {request.of_kind[:60]!r}. The"
            " tool results lists them."
        )
    return stored.data(entry.result, selection.fields, per_question=selection.per_question)


def _ended(job: Job, answer: Callable[[Any], Json]) -> Json:
    """Return the result of a finished job, or the id of an active one.

    Raises:
        JobError: if the job ended without a result.
    """
    return (
        {"job": job.id, "spec": job.spec.to_json()}
        if job.is_active
        else answer(service.result_of(job))
    )
