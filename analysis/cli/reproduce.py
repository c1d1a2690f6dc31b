"""The command line that asks for a given request again: named options where there are any, `--set` for the rest."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields, replace
from typing import Any, TypeVar

from analysis.cli import field_settings
from analysis.core.blocks import Block, LayerSet, written
from analysis.core.record import Spec
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.data.tasks import TASKS
from analysis.experiments.accuracy.spec import EvaluateSpec, SweepSpec
from analysis.experiments.heal import recipes
from analysis.experiments.heal.spec import HealSpec
from analysis.experiments.maps.spec import DamageSpec, DistanceSpec
from analysis.experiments.prompt.spec import CompareSpec, MicroscopeSpec
from analysis.exports.spec import ExportSpec
from analysis.models.spec import InspectSpec, ModelSpec

Parse = Callable[[Sequence[str]], Spec]
"""The request that command-line arguments ask for."""
SpecT = TypeVar("SpecT", bound=Spec)

PROGRAM = ("python", "-m", "analysis")
_ROUNDS = 5
"""A setting may change what another one is by default: after a few rounds every one is said."""


_NAMED = {"heal": {"steps": "--steps", "minutes": "--minutes", "corpus.seq_len": "--seq-len"}}
"""By kind, fields with an option of their own and no fixed default: said first, since other defaults follow from them."""


def command_line(spec: Spec, parse: Parse) -> str:
    """The line to paste into a shell; see `arguments`."""
    return shlex.join([*PROGRAM, *arguments(spec, parse)])


def arguments(spec: Spec, parse: Parse) -> list[str]:
    """Arguments of the command line that ask for `spec`, only those that differ from what is asked for without them.

    What `parse` makes of them has the fingerprint of `asked(spec)`.

    Args:
        spec: any request, resolved or not.
        parse: the command line's own reading of arguments, which says what the defaults are.
    """
    wanted = asked(spec)
    write = _WRITERS.get(spec.kind)
    if write is None:
        return _whole(wanted)
    words = write(wanted)
    for _ in range(_ROUNDS):
        missing = [field_settings.read(setting) for setting in field_settings.differences(parse(words), wanted)]
        named = [(name, value) for name, value in missing if value is not None and name in _NAMED.get(spec.kind, {})]
        for name, value in named:
            words += _option(_NAMED[spec.kind][name], value)
        for name, value in missing if not named else ():
            words += ["--set", field_settings.write(name, value)]
    return words


def asked(spec: SpecT) -> SpecT:
    """The request as someone would ask for it: without the identities of files, and without what follows from the rest."""
    changes: dict[str, Any] = {}
    for field in fields(spec):
        value = getattr(spec, field.name)
        if field.name == "identity":
            changes["identity"] = ""
        elif isinstance(value, Spec):
            changes[field.name] = asked(value)
        elif isinstance(value, tuple):
            changes[field.name] = tuple(asked(part) if isinstance(part, Spec) else part for part in value)
    plain = replace(spec, **changes) if changes else spec
    if isinstance(plain, BenchmarkSpec):
        return replace(plain, shots=None if plain.shots == _usual_shots(plain) else plain.shots)
    if isinstance(plain, SweepSpec) and plain.damage == _usual_damage(plain):
        return replace(plain, damage=None)
    return plain


def _usual_shots(spec: BenchmarkSpec) -> int:
    return 0 if spec.is_file else TASKS[spec.task].default_shots


def _usual_damage(spec: SweepSpec) -> DamageSpec | None:
    """What `loss-greedy` measures when nothing else is asked for."""
    if spec.strategy != "loss-greedy":
        return None
    return DamageSpec(model=spec.model, distances=DistanceSpec(model=spec.model), max_size=spec.max_n or None)


def _option(name: str, value: Any, default: Any = None) -> list[str]:
    """An option and its value, unless it is the default."""
    if value == default:
        return []
    text = str(value)
    return [f"{name}={text}"] if text.startswith("-") else [name, text]


def _model(spec: ModelSpec, *, quantization: str | None = "none") -> list[str]:
    return [
        spec.source,
        *_option("--revision", spec.revision),
        *_option("--dtype", spec.dtype, "auto"),
        *_option("--device", spec.device, "auto"),
        *_option("--quantization", spec.quantization, quantization),
    ]


def _texts(corpus: CorpusSpec | None, default: CorpusSpec) -> list[str]:
    if corpus is None:
        return ["--texts", "none"]
    return [
        *_option("--texts", corpus.source, default.source),
        *_option("--samples", corpus.n_texts, default.n_texts),
        *_option("--seq-len", corpus.seq_len, default.seq_len),
    ]


def _seed(*seeds: int | None) -> list[str]:
    """The one seed of the command line, where all that it sets are that."""
    known = {seed for seed in seeds if seed is not None}
    return _option("--seed", known.pop(), 0) if len(known) == 1 else []


def _questions(benchmark: BenchmarkSpec | None) -> list[str]:
    if benchmark is None:
        return []
    return [
        *_option("--task", benchmark.task, "arc_easy"),
        *_option("--subset", ",".join(benchmark.subset), ""),
        *_option("--protocol", benchmark.protocol, "harness"),
        *_option("--limit", benchmark.limit or 0, 100),
        *_option("--shots", benchmark.shots),
    ]


def _measured(spec: SweepSpec | EvaluateSpec) -> list[str]:
    generation = spec.generation
    return [
        *_questions(spec.benchmark),
        *_texts(spec.loss_corpus, SweepSpec().loss_corpus or CorpusSpec()),
        *(["--generate"] if generation else []),
        *_seed(*(part.seed for part in (spec.benchmark, spec.loss_corpus, generation) if part is not None)),
    ]


def _inspect(spec: InspectSpec) -> list[str]:
    return ["models", *_model(spec.model)]


def _distances(spec: DistanceSpec) -> list[str]:
    metric = _option("--metric", spec.metric, "angular")
    return ["distances", *_model(spec.model), *_texts(spec.corpus, CorpusSpec()), *metric, *_seed(spec.corpus.seed)]


def _damage(spec: DamageSpec) -> list[str]:
    return [
        "damage",
        *_model(spec.model),
        *_texts(spec.corpus, DamageSpec().corpus),
        *_option("--max-size", spec.max_size),
        *_option("--metric", spec.distances.metric, "angular"),
        *_seed(spec.corpus.seed),
    ]


def _sweep(spec: SweepSpec) -> list[str]:
    return [
        "sweep",
        *_model(spec.model),
        *_option("--strategy", spec.strategy, "similarity"),
        *_option("--max-n", spec.max_n),
        *_option("--metric", spec.distances.metric, "angular"),
        *_option("--draw", spec.draw, 0),
        *_option("--blocks", ",".join(written(cut) for cut in spec.blocks), ""),
        *_measured(spec),
    ]


def _evaluate(spec: EvaluateSpec) -> list[str]:
    return [
        "evaluate",
        *_model(spec.model),
        *_cut(spec.block),
        *_option("--adapter", spec.adapter),
        *_measured(spec),
    ]


def _heal(spec: HealSpec) -> list[str]:
    # A recipe has a precision of its own, which depends on the machine: the command always says it.
    name = spec.recipe.removesuffix(", changed")
    return [
        "heal",
        *_model(spec.model, quantization=None),
        *_cut(spec.block),
        *(["--control"] if spec.control else []),
        *(["--generate"] if spec.generation else []),
        *_option("--recipe", name if name in recipes.NAMES else recipes.DEFAULT, recipes.DEFAULT),
        *_option("--seed", spec.seed, 0),
    ]


def _export(spec: ExportSpec) -> list[str]:
    adapter = _option("--adapter", spec.adapter)
    return ["export", *_model(spec.model), *_cut(spec.block), *adapter, "--name", spec.name]


def _compare(spec: CompareSpec) -> list[str]:
    """The usual variants by name: unpruned, pruned, healed; of others `--set` says all."""
    cut = next((variant.block for variant in spec.variants if variant.block), None)
    adapter = next((variant.adapter for variant in spec.variants if variant.label == "healed"), None)
    return [
        "compare",
        *_model(spec.model),
        *_prompt(spec.prompt),
        *_cut(cut),
        *_option("--adapter", adapter),
        *_option("--tokens", spec.max_new_tokens, 48),
        *_option("--temperature", spec.temperature, 0.0),
        *_option("--seed", spec.seed, 0),
    ]


def _microscope(spec: MicroscopeSpec) -> list[str]:
    return ["microscope", *_model(spec.model), *_prompt(spec.prompt), *_cut(spec.block)]


def _prompt(prompt: str) -> list[str]:
    """The prompt, or its first line where it has several: a command is one line, so that `--set` says the rest."""
    return _option("--prompt", (prompt.strip().splitlines() or [prompt])[0])


def _cut(cut: Block | LayerSet | None) -> list[str]:
    return [] if cut is None else ["--block", written(cut)]


_WRITERS: dict[str, Callable[[Any], list[str]]] = {
    "inspect": _inspect,
    "distances": _distances,
    "damage": _damage,
    "sweep": _sweep,
    "evaluate": _evaluate,
    "heal": _heal,
    "export": _export,
    "compare": _compare,
    "microscope": _microscope,
}
"""By kind of request, the subcommand with its named options."""


def _whole(spec: Spec) -> list[str]:
    """`run KIND`, for kinds without a subcommand of their own: every field that is not at its default."""
    words, data = ["run", spec.kind], spec.to_json()
    for field in fields(spec):
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        if getattr(spec, field.name) != default:
            words += ["--set", field_settings.write(field.name, field_settings.plain(data[field.name]))]
    return words
