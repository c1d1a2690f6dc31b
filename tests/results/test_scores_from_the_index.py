"""The index chooses the same scores as a walk through every result, and opens only the results that
matter.
"""

import os
import random
from dataclasses import replace

import pytest

from analysis.core import store
from analysis.core.blocks import Block, removal
from analysis.results import library
from analysis.results.compared import scores_of_block
from analysis.results.stored import evidence as strength
from analysis.results.stored import result as opened
from tests.support import fakes, stored

CUTS = (Block(11, 5), Block(9, 5), Block(3, 1), removal([2, 7, 9]), Block(20, 9))
KINDS = ("sweep", "evaluate", "heal")


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "precomputed_dir", lambda: tmp_path / "precomputed")


def random_result(rng: random.Random):
    """Return a curve, an evaluation or a heal under one of a few conditions; some are of other
    models or precisions.
    """
    kind = rng.choice(KINDS)
    if kind == "sweep":
        result = fakes.sweep(
            rng.choice((2, 5, 9)),
            strategy=rng.choice(("similarity", "deepest", "random")),
            draw=rng.randrange(2),
        )
        result = replace(result, complete=rng.random() < 0.8)
    elif kind == "evaluate":
        result = fakes.evaluate(rng.choice((None, *CUTS)), acc=rng.random())
        dropped = rng.choice(({}, {"acc": None, "n_samples": 0}, {"loss": None, "n_texts": 0}))
        result = replace(result, point=replace(result.point, **dropped))
        if rng.random() < 0.2:
            result = replace(result, spec=replace(result.spec, adapter="adapters/a"))
    else:
        result = fakes.heal(rng.choice((50, 30)))
        result = replace(result, spec=replace(result.spec, control=rng.random() < 0.2))
    spec = result.spec
    model = replace(
        spec.model,
        dtype=rng.choice(("bfloat16", "float32")),
        quantization=rng.choice(("none", "none", "none", "4bit")),
        identity=rng.choice(("files:a", "files:a", "files:a", "", "files:b")),
        source=rng.choice(("lab/a", "lab/a", "lab/b")),
    )
    benchmark = replace(spec.benchmark, seed=rng.randrange(2), shots=rng.choice((0, 5)))
    return replace(
        result, spec=replace(spec, model=model, benchmark=benchmark), wall_s=rng.random()
    )


def fill(seed: int) -> None:
    rng = random.Random(seed)
    for number in range(rng.randrange(1, 25)):
        result = random_result(rng)
        result.save()
        file = store.result_dir(result.kind, result.spec.fingerprint()) / "result.json"
        os.utime(file, (1000 + number // 3, 1000 + number // 3))
        if rng.random() < 0.2:
            target = store.precomputed_dir() / result.kind / file.parent.name
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                file.parent.rename(target)


def walked(model) -> list:
    """Return every score of a model in the order of preference: its precision first, then the
    strongest evidence.
    """
    found = []
    for kind in KINDS:
        read = [
            library.EXPERIMENTS[kind].result.read(replace(one, files={}))
            for one in stored.walked(kind)
        ]
        every = [one for one in _once(read) if _is_of(one, model)]
        if kind == "evaluate":
            every = [one for one in every if one.spec.adapter is None]
        if kind == "heal":
            every = [one for one in every if one.healed is not None and not one.spec.control]
        found += every
    return preferred(found, model)


def preferred(items: list, model) -> list:
    """Return results, newest first, in the order in which they answer a request for a model."""

    def is_other(item) -> tuple[bool, bool]:
        own = item.spec.model
        return own.quantization != model.quantization, model.dtype not in ("auto", own.dtype)

    items = sorted(items, key=lambda item: item.spec.model.source != model.source)
    items.sort(key=lambda item: item.healed.loss if getattr(item, "healed", None) else 1e9)
    items.sort(key=strength.weight, reverse=True)
    return sorted(items, key=is_other)


def _is_of(result, model) -> bool:
    own = result.spec.model
    return (
        own.identity == model.identity
        if own.identity
        else (own.source, own.revision) == (model.source, model.revision)
    )


def _once(results: list) -> list:
    """Return the first result of each request: a committed one does not count beside one of the
    cache.
    """
    firsts = {}
    for result in results:
        firsts.setdefault(result.spec.fingerprint(), result)
    return list(firsts.values())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_index_selects_scores_of_every_block_as_a_walk_does(seed):
    fill(seed)
    rng = random.Random(seed)
    model = replace(
        fakes.MODEL,
        source="lab/a",
        identity="files:a",
        dtype=rng.choice(("auto", "bfloat16", "float32")),
    )
    every = walked(model)
    curves = list(library.find("sweep", model, any_precision=False))
    shown = rng.choice(curves) if curves and rng.random() < 0.7 else None
    ordered = sorted(every, key=lambda one: shown is None or one.spec.fingerprint() != shown.key)
    for removed in (None, *CUTS):
        found = library.scores_of(removed, model, shown)
        expected = scores_of_block.select(removed, ordered, shown=shown and shown.result)
        assert (
            scores_of_block.select(
                removed, [one.result for one in found], shown=shown and shown.result
            )
            == expected
        )


@pytest.mark.slow
def test_scores_of_a_block_open_few_of_many_results(monkeypatch):
    for number in range(60):
        made = fakes.evaluate(Block(11, 5) if number % 2 else Block(number // 2 % 20, 5))
        replace(
            made, spec=replace(made.spec, benchmark=replace(made.spec.benchmark, seed=number))
        ).save()
    fakes.sweep().save()
    read = []
    monkeypatch.setattr(
        opened, "_read", lambda *args, _read=opened._read: read.append(args) or _read(*args)
    )
    shown = library.find("sweep", fakes.MODEL, most=1)[0]
    found = library.scores_of(Block(11, 5), fakes.MODEL, shown)
    selected = scores_of_block.select(
        Block(11, 5), [one.result for one in found], shown=shown.result
    )
    assert selected.loss.score is not None
    assert len({key for _, key, *_ in read}) <= 25


def test_a_grid_is_of_each_of_its_models(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path))
    grid = fakes.grid()
    grid.save()
    assert (
        library.of("grid", grid.spec.models[1]) == library.of("grid", grid.spec.models[0]) == [grid]
    )
    assert library.of("grid", replace(fakes.MODEL, identity="files:other")) == []
