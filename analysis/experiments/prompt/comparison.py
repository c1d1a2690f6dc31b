"""The experiment that generates text with several variants of a model in parallel, with the same
prompt and seed.
"""

import copy
import hashlib
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import nn

from analysis.core.errors import SpecError
from analysis.core.progress import Cancelled, OnProgress, Progress, Stages, ignore
from analysis.experiments.prompt.comparison_spec import CompareResult, CompareSpec, Variant, Writing
from analysis.models.architecture.decoder import Decoder, find_decoder
from analysis.models.loading import load as models
from analysis.models.loading.load import LoadedModel, Loader
from analysis.models.running import generation, pruning
from analysis.models.running.adapters import check_adapter, with_adapter
from analysis.models.source import resolving
from analysis.models.source.adapter_config import located, result_name

PUBLISH_EVERY_S = 0.5
"""Seconds between two saves of growing texts, which pages display."""

PHASE = "writing"


def resolve(spec: CompareSpec) -> CompareSpec:
    """Return the request with concrete dtype, device and identities.

    Raises:
        RecipeError: If a folder contains no adapter, or an adapter for other removed layers.
    """
    return replace(
        resolving.resolve(spec), variants=tuple(_identified(variant) for variant in spec.variants)
    )


def _identified(variant: Variant) -> Variant:
    if variant.adapter is None:
        return variant
    folder = located(variant.adapter)
    check_adapter(str(folder), variant.block)
    return replace(variant, adapter=result_name(variant.adapter), identity=_identity(folder))


def _identity(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted([*folder.glob("adapter_config.json"), *folder.glob("*.safetensors")]):
        digest.update(file.name.encode())
        with file.open("rb") as content:
            hashlib.file_digest(content, lambda: digest)
    return f"adapter:{digest.hexdigest()[:24]}"


class _Writer:
    """Generation of one variant, token by token."""

    def __init__(
        self, variant: Variant, loaded: LoadedModel, spec: CompareSpec, prompt: Sequence[int]
    ) -> None:
        """Prepare a variant. Layers are removed only while it generates a token, and an adapter is
        applied to a copy.
        """
        self.variant = variant
        self._own = None if variant.adapter is None else _healed(loaded, variant)
        self._decoder = self._own.decoder if self._own else loaded.decoder
        self._pieces = generation.TextPieces(loaded.tokenizer, prompt)
        with self._in_place() as decoder:
            self._stop = generation.stop_tokens(decoder, loaded.tokenizer)
            self.text = Writing(
                [], [], [], [], decoder.n_layers, 0.0, 0.0, ended=False, complete=False
            )
            generation.warm_up(decoder)
        chooser = generation.Chooser(spec.temperature, spec.seed)
        self._steps = generation.generate(self._decoder, prompt, spec.max_new_tokens, chooser)
        self._left = spec.max_new_tokens
        self._begun = False

    def _in_place(self) -> AbstractContextManager[Decoder]:
        """Return a context with the model of this variant."""
        return (
            nullcontext(self._own.decoder)
            if self._own
            else pruning.without_block(self._decoder, self.variant.block)
        )

    @property
    def is_over(self) -> bool:
        """Return whether the text is finished."""
        return self.text.ended or not self._left

    def step(self) -> None:
        """Generate one token, or end the text."""
        with self._in_place():
            step = next(self._steps)
        text = self.text
        timing = (
            (text.prefill_s, text.decode_s + step.seconds) if self._begun else (step.seconds, 0.0)
        )
        text = replace(text, prefill_s=timing[0], decode_s=timing[1])
        self._begun = True
        self._left = self._left - 1
        if step.token in self._stop:
            text = replace(text, ended=True)
        else:
            text = replace(
                text,
                token_ids=[*text.token_ids, step.token],
                pieces=[*text.pieces, self._pieces.add(step.token)],
                own_surprise=[*text.own_surprise, step.surprise],
            )
        if (text.ended or not self._left) and text.pieces:
            text = replace(text, pieces=[*text.pieces[:-1], text.pieces[-1] + self._pieces.rest()])
        self.text = text


def _healed(loaded: LoadedModel, variant: Variant) -> LoadedModel:
    """Return the healed model, which has its own modules but shares its weights with `loaded`."""
    model = _sharing_weights(loaded.model)
    return with_adapter(
        replace(loaded, model=model, decoder=find_decoder(model)),
        variant.block,
        str(located(str(variant.adapter))),
    )


def _sharing_weights(model: nn.Module) -> nn.Module:
    """Return a copy of a model whose modules can be modified, without copying the weights."""
    weights: dict[int, object] = {}
    for parameter in model.parameters():
        is_plain = type(parameter) is nn.Parameter
        # A new parameter with the same storage, so that the original keeps its own if the copy
        # replaces it.
        weights[id(parameter)] = (
            nn.Parameter(parameter.data, requires_grad=False) if is_plain else parameter
        )
    weights |= {id(buffer): buffer for buffer in model.buffers()}
    return copy.deepcopy(model, weights)


@dataclass
class _Desk:
    """Texts of all variants so far."""

    spec: CompareSpec
    loaded: LoadedModel
    prompt: list[int]
    on_progress: OnProgress
    texts: list[Writing] = field(default_factory=list)
    """Texts by variant, complete or not."""
    before_s: float = 0.0
    """Seconds of an interrupted run that this one resumes."""
    began: float = field(default_factory=time.perf_counter)
    published: float = 0.0

    def result(self, *, complete: bool = False) -> CompareResult:
        """Return the result so far."""
        return CompareResult(
            spec=self.spec,
            versions=self.loaded.versions(),
            wall_s=self.before_s + time.perf_counter() - self.began,
            n_tokens=sum(len(self.prompt) + len(text.token_ids) for text in self.texts),
            complete=complete,
            model_name=self.loaded.facts.name,
            n_layers=self.loaded.facts.n_layers,
            n_prompt_tokens=len(self.prompt),
            writings=list(self.texts),
        )

    def report(self) -> None:
        """Report the progress, and save the texts every `PUBLISH_EVERY_S` seconds."""
        if time.monotonic() - self.published >= PUBLISH_EVERY_S:
            self.result().save()
            self.published = time.monotonic()
        max_tokens = self.spec.max_new_tokens
        done = sum(max_tokens if text.complete else len(text.token_ids) for text in self.texts)
        values = {"result_key": self.spec.fingerprint()}
        self.on_progress(Progress(PHASE, done, len(self.spec.variants) * max_tokens, values=values))

    def finish(self, index: int, text: Writing) -> None:
        """Complete a text with its surprisal under the unpruned model, which its own text has
        already.
        """
        read = text.own_surprise
        if not self.spec.variants[index].is_unpruned:
            read = generation.surprisals(self.loaded.decoder, self.prompt, text.token_ids)
        self.texts[index] = replace(text, unpruned_surprise=read, complete=True)
        self.published = 0.0
        self.report()


def run(
    spec: CompareSpec, on_progress: OnProgress = ignore, *, load: Loader = models.FRESH
) -> CompareResult:
    """Generate with all variants, one token each in turn, or return the stored texts. A stopped run
    keeps complete texts.

    All variants share the weights of one model.

    Raises:
        LayerscopeError: For each problem that the user can fix, in one sentence.
    """
    resolved = resolve(spec)
    stored = CompareResult.load(resolved, on_progress)
    if stored is not None and stored.complete:
        return stored
    on_progress = Stages.after_loading(on_progress, {PHASE: 1.0})
    loaded = load(resolved.model, on_progress)
    resolved.check_depth(loaded.decoder.n_layers)
    desk = _Desk(resolved, loaded, _encode(resolved, loaded), on_progress)
    before = stored.writings if stored is not None else []
    desk.before_s = stored.wall_s if stored is not None else 0.0
    complete = {index: text for index, text in enumerate(before) if text.complete}
    writers = {
        index: _Writer(variant, loaded, resolved, desk.prompt)
        for index, variant in enumerate(resolved.variants)
        if index not in complete
    }
    desk.texts = [
        complete[index] if index in complete else writers[index].text
        for index in range(len(resolved.variants))
    ]
    try:
        while writers:
            for index, writer in list(writers.items()):
                desk.report()
                writer.step()
                desk.texts[index] = writer.text
                if writer.is_over:
                    desk.finish(index, writers.pop(index).text)
    except Cancelled:
        unfinished = desk.result()
        unfinished.save()
        return unfinished
    finished = desk.result(complete=True)
    finished.save()
    return finished


def _encode(spec: CompareSpec, loaded: LoadedModel) -> list[int]:
    ids = generation.encode(loaded.tokenizer, spec.prompt)
    window = loaded.facts.max_positions
    if window is not None and len(ids) + spec.max_new_tokens > window:
        raise SpecError(
            f"The prompt has {len(ids)} tokens. With {spec.max_new_tokens} new ones it exceeds the"
            f" window of {loaded.facts.name}, {window} tokens. Shorten the prompt, or lower the"
            " number of tokens."
        )
    return ids
