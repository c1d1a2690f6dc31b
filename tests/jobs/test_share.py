"""Several processes that share a request: the figures of one, bit for bit, whichever process is
lost on the way.
"""

import dataclasses
import json
import os
import signal
import threading
import time
from pkgutil import resolve_name

import pytest
import torch

from analysis import jobs, service
from analysis.core import extensions, shards, store
from analysis.core.blocks import Block
from analysis.core.errors import JobError, SpecError, UnsupportedModelError
from analysis.core.experiment import EXPERIMENTS
from analysis.core.progress import Cancelled
from analysis.core.shards import Shard
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec, SweepSpec
from analysis.experiments.batch.grid_spec import GridSpec
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.experiments.maps import damage
from analysis.experiments.maps.damage_spec import DamageResult, DamageSpec
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.experiments.scoring import likelihood
from analysis.experiments.search import search
from analysis.experiments.search.search_spec import SearchResult, SearchSpec
from analysis.jobs.runner import remote, versions
from analysis.jobs.runner.answer import share
from analysis.jobs.runner.executor import Executor, WorkerLost
from analysis.jobs.runner.local_workers import LocalWorkers
from analysis.jobs.runner.shard_worker import ShardWorker
from analysis.models.running import hidden_states
from analysis.models.source.model_spec import ModelSpec
from tests.support.levels import few
from tests.support.worker import end_worker, wait_for, wait_state

TEXTS = CorpusSpec(n_texts=7, seq_len=32)
KINDS = ("distances", "damage", "sweep", "evaluate")


@pytest.fixture
def asked(tiny_folder):
    """One request of each kind that can be shared, of a small model."""
    model = ModelSpec(str(tiny_folder("llama")), dtype="float32", device="cpu")
    maps, questions = DistanceSpec(model, TEXTS), BenchmarkSpec(limit=60)
    made = [
        maps,
        DamageSpec(model, TEXTS, maps, max_size=2),
        SweepSpec(model, benchmark=questions, loss_corpus=TEXTS, distances=maps, max_n=2),
        EvaluateSpec(model, block=Block(1, 1), benchmark=questions, loss_corpus=TEXTS),
    ]
    return {spec.kind: spec for spec in made}


@pytest.fixture
def small_batches(monkeypatch):
    """Batches of two texts, of a few questions and of a few cuts, so that there is something to
    share.
    """
    monkeypatch.setattr(damage, "CUTS_PER_SHARD", 4)
    monkeypatch.setattr(hidden_states, "tokens_per_batch", lambda device: 64)
    monkeypatch.setattr(likelihood, "tokens_per_batch", lambda device: 128)
    for module in (
        "analysis.experiments.scoring.likelihood",
        "analysis.experiments.maps.distance_map",
    ):
        monkeypatch.setattr(f"{module}.tokens_per_batch", lambda device: 128, raising=False)


class Here(Executor):
    """A pool of threads of this process; some measurements find their worker gone."""

    def __init__(self, n: int, lost: tuple[int, ...] = (), versions: dict | None = None) -> None:
        super().__init__(n)
        self._lost, self._versions = set(lost), versions
        self.measured, self.n_opened = [], 0
        self._one = threading.Lock()  # torch shares its threads, and the tests their cores

    def open(self, index):
        worker = ShardWorker()
        self.n_opened += 1

        def do(task):
            with self._one:
                asked = json.loads(task)
                if self._versions:
                    asked["versions"] = self._versions
                if asked["do"] == "measure":
                    self.measured += [Shard(**one).address for one in asked["shards"]]
                    if len(self.measured) in self._lost:
                        raise WorkerLost("It is gone.")
                if self.is_closed:
                    raise WorkerLost("It is gone.")
                return worker.do(json.dumps(asked))

        return do


def figures(result) -> dict:
    """All that a result says of the model, arrays bit by bit."""
    said = {
        name: value
        for name, value in result.to_json().items()
        if name not in ("wall_s", "versions")
    }
    arrays = store.load_result(result.kind, result.spec.fingerprint()).arrays()
    return said | {name: array.tobytes() for name, array in arrays.items()}


def alone(spec, cache, with_starter, monkeypatch, tmp_path) -> dict:
    """The figures of one process, in a cache of its own."""
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(with_starter(tmp_path / "alone")))
    found = figures(resolve_name(EXPERIMENTS[spec.kind].run)(spec))
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(cache))
    return found


def nobody(progress) -> None:
    """Report to nobody."""


def stored_shards() -> list:
    return list((store.cache_dir() / "results" / shards.FOLDER).glob("*/result.json"))


@pytest.mark.usefixtures("cache")
def test_one_process_makes_the_search_of_a_curve(asked, monkeypatch):
    model, told = asked["sweep"].model, []
    original = search.run
    monkeypatch.setattr(
        search,
        "run",
        lambda spec, *a, **k: told.append(SearchResult.load(spec)) or original(spec, *a, **k),
    )
    parts = (CorpusSpec("wiki", 2, 24, split=part) for part in ("train", "validation"))
    made = SearchSpec(model, "greedy", "kl", *parts, CorpusSpec("c4", 2, 24), max_n=2)
    curve = share(
        dataclasses.replace(asked["sweep"], strategy="greedy", search=made), Here(2), nobody
    )
    found = SearchResult.load(curve.spec.search)
    assert [point.block for point in curve.points[1:]] == [one.removed for one in found.found]
    assert told[0] is None
    assert all(result.complete for result in told[1:])


@pytest.mark.parametrize("kind", few(KINDS, "sweep"))
def test_one_and_three_workers_find_the_figures_of_one_process(
    asked, kind, cache, with_starter, monkeypatch, tmp_path, small_batches
):
    wanted = alone(asked[kind], cache, with_starter, monkeypatch, tmp_path)
    for n in (1, 3):
        monkeypatch.setenv("LAYERSCOPE_CACHE", str(with_starter(tmp_path / f"of-{n}")))
        workers = Here(n)
        assert figures(share(asked[kind], workers, nobody)) == wanted
        assert len(set(workers.measured)) == len(workers.measured) > 1, (
            "each piece is measured once"
        )
        assert stored_shards() == [], "they are kept until the result says the same"


@pytest.mark.long
def test_grid_shares_curves_and_missing_model_costs_only_its_own(
    asked, cache, with_starter, monkeypatch, tmp_path
):
    model = asked["sweep"].model
    spec = GridSpec(
        (model, ModelSpec("/no/such")), (BenchmarkSpec(limit=12),), (TEXTS,), (TEXTS,), max_n=1
    )
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(with_starter(tmp_path / "alone")))
    wanted = [
        dataclasses.replace(cell, wall_s=0.0)
        for cell in resolve_name(EXPERIMENTS["grid"].run)(spec).cells
    ]
    assert [bool(cell.error) for cell in wanted] == [False, False, True, True]
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(with_starter(tmp_path / "of-2")))
    workers = Here(2)
    found = share(spec, workers, nobody)
    assert [dataclasses.replace(cell, wall_s=0.0) for cell in found.cells] == wanted
    assert len(workers.measured) == 2
    assert stored_shards() == []


def test_a_lost_worker_costs_the_shard_it_had(
    asked, cache, with_starter, monkeypatch, tmp_path, small_batches
):
    wanted = alone(asked["damage"], cache, with_starter, monkeypatch, tmp_path)
    workers = Here(2, lost=(2, 5))
    assert figures(share(asked["damage"], workers, nobody)) == wanted
    assert workers.n_opened == 2 + 2
    assert len(workers.measured) == len(set(workers.measured)) + 2


def test_late_workers_join_and_absent_ones_are_not_awaited(
    asked, cache, with_starter, monkeypatch, tmp_path, small_batches
):
    wanted = alone(asked["damage"], cache, with_starter, monkeypatch, tmp_path)

    class TwoOfSeven(Here):
        """The last one is there at once, another when two shards are measured, and no other
        ever.
        """

        def open(self, index):
            if index not in (3, 6):
                assert ended.wait(60)
            if index == 3:
                assert is_late.wait(60)
            do = super().open(index)

            def counted(task):
                if json.loads(task)["do"] == "measure":
                    by.append(index)
                    if len(by) > 2:
                        is_late.set()
                        time.sleep(0.01)  # both have a turn
                return do(task)

            return counted

    def on_progress(progress):
        if progress.phase not in phases:
            phases.append(progress.phase)

    ended, is_late, by, phases = threading.Event(), threading.Event(), [], []
    workers = TwoOfSeven(7)
    assert figures(share(asked["damage"], workers, on_progress)) == wanted
    workers.close()
    ended.set()
    assert set(by) == {3, 6}
    assert by[:2] == [6, 6]
    assert phases[0] == "starting the processes"
    said = [phase.partition(" in ")[2] for phase in phases if phase.startswith("measuring")]
    assert (said[0], said[-1]) == (
        "1 of 4 processes",
        "2 of 7 processes",
    ), "the map that it rests on has four shards"


def test_repeated_losses_fail_the_request_and_keep_its_shards(asked, cache, small_batches):
    workers = Here(1, lost=tuple(range(6, 60)))
    with pytest.raises(JobError, match="was lost 4 times. The measured parts are kept"):
        share(asked["damage"], workers, nobody)
    kept = {file.parent.name for file in stored_shards()}
    assert kept
    again = Here(2)
    assert share(asked["damage"], again, nobody).complete
    assert again.measured
    assert kept.isdisjoint(again.measured)


def test_a_damaged_shard_is_measured_again(
    asked, cache, with_starter, monkeypatch, tmp_path, small_batches
):
    wanted = alone(asked["distances"], cache, with_starter, monkeypatch, tmp_path)
    with pytest.raises(JobError):
        share(asked["distances"], Here(1, lost=tuple(range(3, 20))), nobody)
    file = stored_shards()[0]
    file.write_bytes(file.read_bytes().replace(b"distances", b"distance5"))
    assert figures(share(asked["distances"], Here(1), nobody)) == wanted


class Second(Here):
    """Two workers; the second is not as it should be, and the first has measured something by
    then.
    """

    changed: dict = {}

    def __init__(self, spec, n):
        super().__init__(n)
        self._first_measured, self._second_begins = threading.Event(), threading.Event()

    def open(self, index):
        if index == 1:
            assert self._first_measured.wait(60)
        do = super().open(index)

        def changed(task):
            asked = json.loads(task)
            if index == 1:
                asked["spec"]["model"] |= self.changed
                self._second_begins.set()
            elif self.measured:
                self._first_measured.set()
                assert self._second_begins.wait(60)
            return do(json.dumps(asked))

        return changed


def failed(spec) -> str:
    """Return the sentence of a job that two workers share, and that has failed with its finished
    measurements kept.
    """
    job = jobs.submit(spec, shards=2)
    remote.make(job.id, job.attempts, shards=2, workers=f"{__name__}:Second")
    said = remote.of(job).status()
    assert said.state == "failed"
    assert stored_shards()
    assert said.error.count("\n") == 0
    return said.error


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"source": "/no/such"}, "There is no model at '/no/such'"),
        ({"identity": "files:0"}, "are files:"),
    ],
)
def test_worker_with_missing_or_different_model_fails_job_keeping_shards(
    asked, cache, small_batches, monkeypatch, changed, sentence
):
    monkeypatch.setattr(Second, "changed", changed)
    assert sentence in failed(asked["distances"])


def test_worker_out_of_gpu_memory_fails_job_and_keeps_shards(
    asked, cache, small_batches, monkeypatch
):
    def measure(self, spec, *shards):
        if stored_shards():
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return original(self, spec, *shards)

    original = ShardWorker.measure
    monkeypatch.setattr(ShardWorker, "measure", measure)
    assert failed(asked["distances"]).startswith("The GPU ran out of memory. Lower the batch size")


def test_weights_exchanged_during_the_run_are_refused(asked, cache, tiny_folder, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny_folder("llama"), tmp_path / "model")
    spec = dataclasses.replace(
        asked["distances"], model=ModelSpec(str(folder), dtype="float32", device="cpu")
    )
    ((_, resolved),) = ShardWorker().requests(spec)
    weights = load_file(folder / "model.safetensors")
    save_file(
        {name: tensor + 1 for name, tensor in weights.items()},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(UnsupportedModelError, match="were replaced since"):
        ShardWorker().missing(DistanceSpec.from_json(resolved))


def test_other_versions_are_refused_before_anything_runs(asked, cache):
    workers = Here(2, versions=versions.versions() | {"torch": "1.0.0"})
    with pytest.raises(
        JobError,
        match=r"This machine has torch 1\.0\.0, but a worker has .+, so figures may differ",
    ):
        share(asked["distances"], workers, nobody)
    assert not workers.measured


def test_storage_that_is_not_shared_is_refused(asked, cache, monkeypatch):
    monkeypatch.setattr(store, "write_atomic", lambda file, content: None)
    with pytest.raises(JobError, match="does not see the cache folder"):
        share(asked["distances"], Here(1), nobody)
    assert not list(cache.glob("shared-*"))


def test_a_wish_to_end_is_heard_while_workers_measure(asked, cache, small_batches):
    told = []

    def until_measured(progress):
        told.append(progress.phase.startswith("measuring"))
        if sum(told) > 1:  # the first says that it begins
            raise Cancelled

    workers = Here(2)
    with pytest.raises(Cancelled):
        share(asked["damage"], workers, until_measured)
    workers.close()
    assert len(stored_shards()) < 9


@pytest.mark.parametrize(
    ("kind", "n", "sentence"),
    [
        ("distances", 0, "must be 1..256"),
        ("corpus", 2, "kind corpus runs in one"),
        ("heal", 2, "kind heal runs in one"),
    ],
)
def test_request_that_cannot_be_shared_is_refused(asked, cache, kind, n, sentence):
    request = {"corpus": TEXTS, "heal": HealSpec(block=Block(2, 2))}.get(kind) or asked[kind]
    for answer in (service.run, service.submit):
        with pytest.raises(SpecError, match=sentence):
            answer(request, workers=n)


def test_healed_model_never_uses_shards_of_its_base(asked):
    assert not service.can_share(dataclasses.replace(asked["evaluate"], adapter="some-heal"))


GATE = """
import os
import time

from analysis.core import store
from analysis.experiments.maps import damage
from analysis.jobs.runner.shard_worker import ShardWorker

measure = ShardWorker.measure


def gated(self, spec, *shards):
    if spec.kind == "damage":
        (store.cache_dir() / f"measuring-{os.getpid()}").touch()
        while not (store.cache_dir() / "go").exists():
            time.sleep(0.01)
    return measure(self, spec, *shards)


ShardWorker.measure, damage.CUTS_PER_SHARD = gated, 4
"""
"""Extension: each process waits with its first shard for a file, so that both have one when the
test kills a process."""


@pytest.mark.timeout(300)
@pytest.mark.long
def test_worker_job_is_shared_by_local_processes_despite_a_kill(
    asked, cache, with_starter, monkeypatch, tmp_path
):
    (tmp_path / "gate.py").write_text(GATE)
    monkeypatch.setenv(extensions.VARIABLE, str(tmp_path / "gate.py"))
    monkeypatch.setattr(damage, "CUTS_PER_SHARD", 4)
    job = jobs.submit(asked["damage"], shards=2)
    try:
        jobs.ensure_worker()
        measuring = wait_for(lambda: len(files := [*cache.glob("measuring-*")]) == 2 and files, 120)
        os.kill(int(measuring[0].name.rpartition("-")[2]), signal.SIGKILL)
        (cache / "go").touch()
        done = wait_state(job, "done", 120)
    finally:
        end_worker()
    said = [event["phase"] for event in jobs.events(job.id)[0]]
    assert {"starting the processes", "loading the model", "putting the shards together"} < set(
        said
    )
    found = figures(DamageResult.read(store.load_result("damage", done.result_key)))
    assert found == alone(asked["damage"], cache, with_starter, monkeypatch, tmp_path)


def test_killed_process_loses_its_task_and_another_takes_its_place(asked, cache):
    workers = LocalWorkers(asked["distances"], 1)
    try:
        for _ in range(2):
            with pytest.raises(JobError, match="does requests, missing"):
                workers.submit({"do": "clear"}).result(60)
            os.kill(workers.pids[0], signal.SIGKILL)
            with pytest.raises(WorkerLost, match="ended with exit code -9"):
                workers.submit({"do": "clear"}).result(60)
    finally:
        workers.close()
