"""The experiment behind the heat map: texts in, distances of all pairs of depths out, in one pass over the model."""

import time
from dataclasses import replace

import numpy as np
import torch

from analysis import corpora, hidden_states, machine, models, selection
from analysis.distances import DistanceSums, rows_by_size
from analysis.errors import CorpusError
from analysis.evaluation import Load
from analysis.models import LoadedModel
from analysis.progress import OnProgress, Progress, ignore
from analysis.results import DistanceResult
from analysis.specs import DistanceSpec

_SAVE_EVERY_S = 20.0
_MOST_STATE_BYTES = 2 << 30
"""Above this the kept states are dropped from the result: the sums over texts are all the map needs."""


def resolve(spec: DistanceSpec) -> DistanceSpec:
    """The spec with concrete dtype, device and identities."""
    return replace(spec, model=models.resolve(spec.model), corpus=corpora.resolve(spec.corpus))


def run(spec: DistanceSpec, on_progress: OnProgress = ignore, *, load: Load = models.load) -> DistanceResult:
    """Measure the distance map, or return the stored one; a stored part is gone on with.

    Raises:
        LayerscopeError: one sentence on whatever the user can mend.
    """
    resolved = resolve(spec)
    stored = DistanceResult.load(resolved, on_progress)
    if stored is not None and stored.complete:
        return stored
    on_progress(Progress("loading the model", values={"result_key": resolved.fingerprint()}))
    loaded = load(resolved.model, on_progress)
    texts = corpora.tokenize(resolved.corpus, loaded.tokenizer)
    window = loaded.facts.max_positions
    if window is not None and resolved.corpus.seq_len > window:
        raise CorpusError(
            f"seq-len {resolved.corpus.seq_len} is longer than the window of {loaded.facts.name}; choose at most {window}."
        )
    return _measure(resolved, loaded, texts, stored, on_progress)


def _measure(
    spec: DistanceSpec, loaded: LoadedModel, texts: corpora.Texts, stored: DistanceResult | None, on_progress: OnProgress
) -> DistanceResult:
    budget = hidden_states.tokens_per_batch(loaded.decoder.device)
    groups = hidden_states.batches([len(ids) for ids in texts.token_ids], budget)
    order = [index for group in groups for index in group]
    parts = [torch.from_numpy(stored.states)] if stored is not None and stored.states is not None else []
    before = stored.wall_s if parts and stored is not None else 0.0
    began = saved = time.perf_counter()

    def result(complete: bool) -> DistanceResult:
        states = torch.cat(parts)
        used = [len(texts.token_ids[index]) for index in order[: len(states)]]
        return _result(spec, loaded, states, used, texts.n_skipped, before + time.perf_counter() - began, complete)

    done = sum(len(part) for part in parts)
    on_progress(Progress("reading the residual stream", done, len(order)))
    try:
        first = 0
        for group in groups:
            first += len(group)
            if first <= done:  # groups are the same on every run, so a stored part ends at a group's end
                continue
            parts.append(hidden_states.last_token_states(loaded.decoder, [texts.token_ids[index] for index in group]))
            on_progress(Progress("reading the residual stream", first, len(order)))
            if time.perf_counter() - saved > _SAVE_EVERY_S:
                result(complete=False).save()
                saved = time.perf_counter()
    except BaseException:
        if parts:
            result(complete=False).save()
        raise
    finished = result(complete=True)
    finished.save()
    return finished


def _result(
    spec: DistanceSpec,
    loaded: LoadedModel,
    states: torch.Tensor,
    lengths: list[int],
    n_skipped: int,
    wall_s: float,
    complete: bool,
) -> DistanceResult:
    sums = DistanceSums.of(states)
    mean = rows_by_size(sums.mean)
    small = states.numel() * 4 <= _MOST_STATE_BYTES
    return DistanceResult(
        spec=spec,
        versions=machine.versions(),
        wall_s=wall_s,
        n_tokens=sum(lengths),
        complete=complete,
        model=loaded.facts,
        n_layers=loaded.decoder.n_layers,
        mean=mean,
        stderr=rows_by_size(sums.stderr),
        best=selection.best_blocks(mean),
        n_texts=len(states),
        n_skipped=n_skipped,
        text_lengths=lengths,
        states=states.numpy().astype(np.float32) if small or not complete else None,
    )
