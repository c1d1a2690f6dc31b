"""The experiment that lets a model and what is left of it write side by side: cut, healed, with one prompt and one seed."""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from analysis.core import store
from analysis.core.errors import SpecError
from analysis.core.progress import Cancelled, OnProgress, Progress, ignore
from analysis.experiments.prompt.spec import CompareResult, CompareSpec, Variant, Writing
from analysis.models import cut, machine, writing
from analysis.models import load as models
from analysis.models.adapter import check_adapter, with_adapter
from analysis.models.decoder import Decoder
from analysis.models.load import Load, LoadedModel

PUBLISH_EVERY_S = 0.5
"""Seconds between two states of a text on disk, for pages that watch it grow."""


def resolve(spec: CompareSpec) -> CompareSpec:
    """The spec with concrete dtype, device and identities.

    Raises:
        RecipeError: when an adapter is none, or one for another cut.
    """
    return replace(spec, model=models.resolve(spec.model), variants=tuple(_identified(variant) for variant in spec.variants))


def _identified(variant: Variant) -> Variant:
    if variant.adapter is None:
        return variant
    check_adapter(_folder(variant.adapter), variant.block)
    return replace(variant, identity=_identity(_folder(variant.adapter)))


def _folder(adapter: str) -> str:
    """Where an adapter lies: in the cache folder, as a heal says it, or anywhere."""
    stored = store.cache_dir() / adapter
    return str(stored if stored.is_dir() else Path(adapter).expanduser())


def _identity(folder: str) -> str:
    digest = hashlib.sha256()
    for file in sorted([*Path(folder).glob("adapter_config.json"), *Path(folder).glob("*.safetensors")]):
        digest.update(file.name.encode() + file.read_bytes())
    return f"adapter:{digest.hexdigest()[:24]}"


@dataclass
class _Desk:
    """All that has been written so far."""

    spec: CompareSpec
    loaded: LoadedModel
    prompt: list[int]
    on_progress: OnProgress
    done: list[Writing] = field(default_factory=list)
    growing: Writing | None = None
    before_s: float = 0.0
    """What an earlier, stopped run took."""
    began: float = field(default_factory=time.perf_counter)
    published: float = 0.0

    def result(self, *, complete: bool = False) -> CompareResult:
        """The texts as they are now."""
        texts = [*self.done, self.growing] if self.growing else self.done
        return CompareResult(
            spec=self.spec,
            versions=machine.versions(),
            wall_s=self.before_s + time.perf_counter() - self.began,
            n_tokens=sum(len(self.prompt) + len(text.token_ids) for text in texts),
            complete=complete,
            model_name=self.loaded.facts.name,
            n_layers=self.loaded.facts.n_layers,
            n_prompt_tokens=len(self.prompt),
            writings=list(texts),
        )

    def report(self) -> None:
        """Tell how far it is, and put the texts on disk if that is due."""
        if time.monotonic() - self.published >= PUBLISH_EVERY_S:
            self.result().save()
            self.published = time.monotonic()
        tokens = len(self.growing.token_ids) if self.growing else 0
        most = self.spec.max_new_tokens
        values = {"result_key": self.spec.fingerprint()}
        self.on_progress(Progress("writing", len(self.done) * most + tokens, len(self.spec.variants) * most, values=values))

    def finish(self, variant: Variant, text: Writing) -> None:
        """Put a text with those that are done, after the unpruned model has read it, which knows its own already."""
        read = text.own_surprise
        if not variant.is_unpruned:
            read = writing.surprises(self.loaded.decoder, self.prompt, text.token_ids)
        self.done.append(replace(text, unpruned_surprise=read, complete=True))
        self.growing, self.published = None, 0.0
        self.report()


def run(spec: CompareSpec, on_progress: OnProgress = ignore, *, load: Load = models.FRESH) -> CompareResult:
    """Let every variant write, one after another, or return the stored texts; what a stopped run finished is kept.

    A healed variant is loaded by itself, since an adapter changes the model; all others share one.

    Raises:
        LayerscopeError: one sentence on whatever the user can mend.
    """
    resolved = resolve(spec)
    stored = CompareResult.load(resolved, on_progress)
    if stored is not None and stored.complete:
        return stored
    loaded = load(resolved.model, on_progress)
    for variant in resolved.variants:
        if variant.block is not None:
            variant.block.check(loaded.decoder.n_layers)
    desk = _Desk(resolved, loaded, _encode(resolved, loaded), on_progress)
    if stored is not None:
        desk.done, desk.before_s = [text for text in stored.writings if text.complete], stored.wall_s
    try:
        for variant in resolved.variants[len(desk.done) :]:
            with _ready(variant, loaded, on_progress) as decoder:
                text = _write(decoder, desk)
            desk.finish(variant, text)
    except Cancelled:
        unfinished = desk.result()
        unfinished.save()
        return unfinished
    finished = desk.result(complete=True)
    finished.save()
    return finished


def _encode(spec: CompareSpec, loaded: LoadedModel) -> list[int]:
    ids = writing.encode(loaded.tokenizer, spec.prompt)
    window = loaded.facts.max_positions
    if window is not None and len(ids) + spec.max_new_tokens > window:
        raise SpecError(
            f"The prompt has {len(ids)} tokens and {spec.max_new_tokens} more were asked for, but {loaded.facts.name} has a "
            f"window of {window}; shorten the prompt or ask for fewer tokens."
        )
    return ids


@contextmanager
def _ready(variant: Variant, loaded: LoadedModel, on_progress: OnProgress) -> Iterator[Decoder]:
    """The model as this variant wants it, for as long as the body runs."""
    if variant.adapter is None:
        with cut.without_block(loaded.decoder, variant.block) as decoder:
            yield decoder
    else:
        own = models.load(loaded.spec, on_progress)
        yield with_adapter(own, variant.block, _folder(variant.adapter)).decoder


def _write(decoder: Decoder, desk: _Desk) -> Writing:
    """One variant's text, told to the desk token by token."""
    spec, tokenizer = desk.spec, desk.loaded.tokenizer
    stop = writing.stop_tokens(decoder, tokenizer)
    pieces = writing.Pieces(tokenizer, desk.prompt)
    text = Writing([], [], [], [], decoder.n_layers, 0.0, 0.0, ended=False, complete=False)
    writing.warm_up(decoder)
    steps = writing.write(decoder, desk.prompt, spec.max_new_tokens, writing.Chooser(spec.temperature, spec.seed))
    for number, step in enumerate(steps):
        desk.growing = text
        desk.report()
        timing = (text.prefill_s, text.decode_s + step.seconds) if number else (step.seconds, 0.0)
        text = replace(text, prefill_s=timing[0], decode_s=timing[1])
        if step.token in stop:
            text = replace(text, ended=True)
            break
        text = replace(
            text,
            token_ids=[*text.token_ids, step.token],
            pieces=[*text.pieces, pieces.add(step.token)],
            own_surprise=[*text.own_surprise, step.surprise],
        )
    if text.pieces:
        text = replace(text, pieces=[*text.pieces[:-1], text.pieces[-1] + pieces.rest()])
    return text
