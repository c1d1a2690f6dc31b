"""The subcommand `manifest`: a request as a job for Kubernetes, written to a file and not run."""

import argparse
import json
import shlex
from collections.abc import Callable, Sequence

from analysis.cli import line, requests
from analysis.cli.forms import plain_number
from analysis.cli.options import Misuse
from analysis.cli.stdout import write
from analysis.core import output, units
from analysis.core.errors import SpecError
from analysis.core.record import Spec
from analysis.exports import rayjob

_NEEDED = {
    "--image": ("IMAGE", "Image made by `docker build --target ray`, with a tag or a digest."),
    "--claim": ("NAME", "Volume claim that holds the cache, with access mode ReadWriteMany."),
    "--secret": ("NAME", "Secret with the cluster's token under the key auth_token."),
    "--out": ("FILE", "File for the manifest, in JSON, which kubectl accepts."),
}
_COUNTS = {
    "--workers": (1, "Number of workers that share the request"),
    "--cpus": (4, "CPUs of each worker"),
    "--gpus": (0, "GPUs of each worker"),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give a parser the options of the subcommand."""
    for flag, (metavar, help_text) in _NEEDED.items():
        parser.add_argument(flag, metavar=metavar, help=help_text, required=True)
    for flag, (default, help_text) in _COUNTS.items():
        parser.add_argument(flag, metavar="N", type=plain_number, default=default, help=f"{help_text} (default: {default}).")
    parser.add_argument("--shards", type=plain_number, dest="workers", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    needs = "Memory of each worker, such as 64GiB (default: the model's need, where its size is known here)."
    parser.add_argument("--worker-memory", metavar="SIZE", help=needs)
    parser.add_argument("--name", help="Name of the RayJob (default: derived from the request).")
    help_text = "Command to run on the cluster, after `--`, such as -- distances starter --samples 32."
    parser.add_argument("request", nargs=argparse.REMAINDER, metavar="-- COMMAND …", help=help_text)


def run(options: argparse.Namespace) -> None:
    """Write the manifest of the request behind the options.

    Raises:
        LayerscopeError: when there is none, or its manifest cannot be made or written.
    """
    output.check(options.out, "--out")
    words = options.request[1:] if options.request[:1] == ["--"] else options.request
    spec = _request(words, options.parse)
    rayjob.check_files(spec)
    cluster = rayjob.KubernetesCluster(
        image=options.image,
        claim=options.claim,
        secret=options.secret,
        name=options.name or rayjob.name_of(spec),
        memory_bytes=_memory_bytes(spec, options),
        shards=options.workers,
        cpus=options.cpus,
        gpus=options.gpus,
        memory=options.memory,
    )
    notes = shlex.split(options.command_line(spec))
    if cluster.shards > 1:
        notes += rayjob.sharing(cluster.shards)
        try:
            options.parse(notes[len(line.PROGRAM) :])
        except Misuse:
            raise SpecError(f"`{words[0]}` runs on one worker. Leave out --workers.") from None
    content = json.dumps(rayjob.manifest(notes, cluster), indent=2) + "\n"
    output.write(options.out, content.encode(), "--out")
    pods = f"{cluster.shards} x {cluster.cpus} CPUs, {cluster.gpus} GPUs, {units.size(cluster.memory_bytes)}"
    lines = [f"Written to {options.out}: {cluster.name}, {pods}", f"  {shlex.join(notes)}"]
    lines += [f"Not submitted. Submit it with `kubectl apply --filename {shlex.quote(options.out)}`."]
    write(options, {"out": options.out, "name": cluster.name, "command": shlex.join(notes)}, lines)


def _request(words: Sequence[str], parse: Callable[[Sequence[str]], argparse.Namespace]) -> Spec:
    """Return the request that a command makes.

    Raises:
        SpecError: when it makes none, or has more arguments than a request.
    """
    if not words:
        raise SpecError("A manifest needs a command. Write it after `--`, as in -- distances starter.")
    inner = parse(words)
    if inner.asks is None and not hasattr(inner, "kind"):
        raise SpecError(f"`{words[0]}` cannot run as a job on the cluster. Name a command that can, such as distances.")
    extras = {extra.flag: False if extra.is_switch else extra.default for extra in (inner.asks.extras if inner.asks else ())}
    for flag, default in {**extras, "--json": None, "--memory": None}.items():
        if getattr(inner, flag.lstrip("-").replace("-", "_")) != default:
            advice = "Put it before the `--`" if flag == "--memory" else "Leave it out"
            raise SpecError(f"{flag} has no effect after the `--`, because the manifest sets it. {advice}.")
    return requests.of(inner)


def _memory_bytes(spec: Spec, options: argparse.Namespace) -> int:
    """Return the memory of each worker: the given one, else the bound or need of a model, and the program beside it."""
    if options.worker_memory is not None:
        return units.read_size(options.worker_memory)
    return rayjob.memory_for(units.read_size(options.memory) if options.memory else rayjob.model_bytes(spec))
