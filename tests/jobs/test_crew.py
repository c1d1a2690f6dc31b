"""Several processes that share a request: the figures of one, bit for bit, whichever process is lost on the way."""

import dataclasses
import os
import signal
import threading
import time

import psutil
import pytest
import torch

from analysis import jobs
from analysis.core import shards, store
from analysis.core.blocks import Block
from analysis.core.errors import JobError, SpecError
from analysis.core.experiment import EXPERIMENTS
from analysis.core.progress import Cancelled
from analysis.core.shards import Shard
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec, SweepSpec
from analysis.experiments.batch.grid_spec import GridSpec
from analysis.experiments.maps import damage
from analysis.experiments.maps.damage_spec import DamageResult, DamageSpec
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.experiments.search import search
from analysis.experiments.search.search_spec import SearchResult, SearchSpec
from analysis.jobs import crew, errand
from analysis.jobs.crew import Crew, MemberLost, member, team
from analysis.jobs.crew.local import LocalCrew
from analysis.models import stream
from analysis.models.spec import ModelSpec
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
    """Batches of two texts, of a few questions and of a few cuts, so that there is something to share."""
    monkeypatch.setattr(damage, "CUTS_PER_SHARD", 4)
    monkeypatch.setattr(stream, "tokens_per_batch", lambda device: 64)
    for module in ("analysis.experiments.scoring.likelihood", "analysis.experiments.maps.distance_map"):
        monkeypatch.setattr(f"{module}.tokens_per_batch", lambda device: 128, raising=False)


class Here(Crew):
    """A pool of threads of this process; some calls find their member gone."""

    def __init__(self, n: int, lost: tuple[int, ...] = (), versions: dict | None = None) -> None:
        self.n, self._lost, self._versions = n, set(lost), versions
        self.measured, self.replaced, self.is_closed = [], [], False
        self._members = [member.Member() for _ in range(n)]
        self._lock = threading.Lock()  # torch shares its threads, and the tests their cores

    def call(self, place, do, *arguments):
        if do == "hello" and self._versions:
            return self._versions
        with self._lock:
            if do == "measure":
                self.measured += [Shard.from_json(one).address for one in arguments[0]]
                if len(self.measured) in self._lost:
                    self._members[place] = None
            if self._members[place] is None or self.is_closed:
                raise MemberLost("It is gone.")
            said = member.answer(self._members[place], {"do": do, "with": arguments})
        if "error" in said:
            raise JobError(said["error"])
        return said["value"]

    def replace(self, place):
        self.replaced.append(place)
        self._members[place] = member.Member()

    def close(self):
        self.is_closed = True


def figures(result) -> dict:
    """All that a result says of the model, arrays bit by bit."""
    said = {name: value for name, value in result.to_json().items() if name not in ("wall_s", "versions")}
    arrays = store.load_result(result.kind, result.spec.fingerprint()).arrays()
    return said | {name: array.tobytes() for name, array in arrays.items()}


def alone(spec, cache, with_starter, monkeypatch, tmp_path) -> dict:
    """The figures of one process, in a cache of its own."""
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(with_starter(tmp_path / "alone")))
    found = figures(EXPERIMENTS[spec.kind].runner()(spec))
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
    monkeypatch.setattr(search, "run", lambda spec, *a, **k: told.append(SearchResult.load(spec)) or original(spec, *a, **k))
    parts = (CorpusSpec("wiki", 2, 24, split=part) for part in ("train", "validation"))
    made = SearchSpec(model, "greedy", "kl", *parts, CorpusSpec("c4", 2, 24), max_n=2)
    curve = crew.share(dataclasses.replace(asked["sweep"], strategy="greedy", search=made), Here(2), nobody)
    found = SearchResult.load(curve.spec.search)
    assert [point.block for point in curve.points[1:]] == [one.removed for one in found.found]
    assert told[0] is None
    assert all(result.complete for result in told[1:])


@pytest.mark.parametrize("kind", KINDS)
def test_two_and_seven_find_the_figures_of_one_process(asked, kind, cache, with_starter, monkeypatch, tmp_path, small_batches):
    wanted = alone(asked[kind], cache, with_starter, monkeypatch, tmp_path)
    for n in (2, 7):
        monkeypatch.setenv("LAYERSCOPE_CACHE", str(with_starter(tmp_path / f"of-{n}")))
        members = Here(n)
        assert figures(crew.share(asked[kind], members, nobody)) == wanted
        assert len(set(members.measured)) == len(members.measured) > 1, "each piece is measured once"
        assert stored_shards() == [], "they are kept until the result says the same"


def test_grid_shares_curves_and_missing_model_costs_only_its_own(asked, cache, with_starter, monkeypatch, tmp_path):
    model = asked["sweep"].model
    spec = GridSpec((model, ModelSpec("/no/such")), (BenchmarkSpec(limit=12),), (TEXTS,), (TEXTS,), max_n=1)
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(with_starter(tmp_path / "alone")))
    wanted = [dataclasses.replace(cell, wall_s=0.0) for cell in EXPERIMENTS["grid"].runner()(spec).cells]
    assert [bool(cell.error) for cell in wanted] == [False, False, True, True]
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(with_starter(tmp_path / "of-2")))
    members = Here(2)
    found = crew.share(spec, members, nobody)
    assert [dataclasses.replace(cell, wall_s=0.0) for cell in found.cells] == wanted
    assert len(members.measured) == 2
    assert stored_shards() == []


def test_a_lost_member_costs_the_shard_it_had(asked, cache, with_starter, monkeypatch, tmp_path, small_batches):
    wanted = alone(asked["damage"], cache, with_starter, monkeypatch, tmp_path)
    members = Here(2, lost=(2, 5))
    assert figures(crew.share(asked["damage"], members, nobody)) == wanted
    assert len(members.replaced) == 2
    assert len(members.measured) == len(set(members.measured)) + 2


def test_late_members_join_and_absent_ones_are_not_awaited(asked, cache, with_starter, monkeypatch, tmp_path, small_batches):
    wanted = alone(asked["damage"], cache, with_starter, monkeypatch, tmp_path)

    class TwoOfSeven(Here):
        """The last one is there at once, another when two pieces are measured, and no other ever."""

        def call(self, place, do, *arguments):
            if do == "hello" and place not in (3, 6):
                assert ended.wait(60)
                raise MemberLost("It never came.")
            if do == "hello" and place == 3:
                assert is_late.wait(60)
            if do == "measure":
                by.append(place)
                if len(by) > 2:
                    is_late.set()
                    time.sleep(0.01)  # both have a turn
            return super().call(place, do, *arguments)

    def on_progress(progress):
        if progress.phase not in phases:
            phases.append(progress.phase)

    ended, is_late, by, phases = threading.Event(), threading.Event(), [], []
    assert figures(crew.share(asked["damage"], TwoOfSeven(7), on_progress)) == wanted
    ended.set()
    assert set(by) == {3, 6}
    assert by[:2] == [6, 6]
    assert phases[0] == "starting the processes"
    said = [phase.partition(" in ")[2] for phase in phases if phase.startswith("measuring")]
    assert (said[0], said[-1]) == ("1 of 4 processes", "2 of 7 processes"), "the map that it rests on has four pieces"


def test_a_straggler_costs_the_shard_it_has(asked, cache, with_starter, monkeypatch, tmp_path, small_batches):
    wanted = alone(asked["distances"], cache, with_starter, monkeypatch, tmp_path)
    monkeypatch.setattr(team, "_LATE_S", 0.1)

    class Stuck(Here):
        """The second is given a piece, and never says more."""

        def call(self, place, do, *arguments):
            if place == 1 and do == "measure":
                stuck.set()
                assert ended.wait(60)
                raise MemberLost("It is gone.")
            if do == "measure":
                assert stuck.wait(60)
            return super().call(place, do, *arguments)

    ended, stuck = threading.Event(), threading.Event()
    members = Stuck(2)
    assert figures(crew.share(asked["distances"], members, nobody)) == wanted
    assert not ended.is_set()
    ended.set()
    assert len(set(members.measured)) == len(members.measured) > 1
    assert members.replaced == []


def test_repeated_losses_fail_the_request_and_keep_its_shards(asked, cache, small_batches):
    members = Here(1, lost=tuple(range(6, 20)))
    with pytest.raises(JobError, match="was lost 4 times. The measured parts are kept"):
        crew.share(asked["damage"], members, nobody)
    kept = {file.parent.name for file in stored_shards()}
    assert kept
    again = Here(2)
    assert crew.share(asked["damage"], again, nobody).complete
    assert again.measured
    assert kept.isdisjoint(again.measured)


def test_single_process_resumes_from_shards_of_several(asked, cache, small_batches):
    with pytest.raises(JobError):
        crew.share(asked["distances"], Here(1, lost=tuple(range(3, 20))), nobody)
    assert stored_shards()
    result = EXPERIMENTS["distances"].runner()(asked["distances"])
    assert result.complete
    assert result.n_texts == TEXTS.n_texts


def test_a_damaged_shard_is_measured_again(asked, cache, with_starter, monkeypatch, tmp_path, small_batches):
    wanted = alone(asked["distances"], cache, with_starter, monkeypatch, tmp_path)
    with pytest.raises(JobError):
        crew.share(asked["distances"], Here(1, lost=tuple(range(3, 20))), nobody)
    file = stored_shards()[0]
    file.write_bytes(file.read_bytes().replace(b"distances", b"distance5"))
    assert figures(crew.share(asked["distances"], Here(1), nobody)) == wanted


class Second(Here):
    """Two members; the second is not as it should be, and the first has measured something by then."""

    changed: dict = {}

    def __init__(self, spec, n):
        super().__init__(n)
        self._first_measured, self._second_begins = threading.Event(), threading.Event()

    def call(self, place, do, *arguments):
        if place == 1 and do == "hello":
            assert self._first_measured.wait(60)
        if place == 1 and do == "begin":
            kind, spec = arguments
            arguments = kind, {**spec, "model": {**spec["model"], **self.changed}}
            self._second_begins.set()
        if place == 0 and self.measured:
            self._first_measured.set()
            assert self._second_begins.wait(60)
        return super().call(place, do, *arguments)


def failed(spec) -> str:
    """Return the sentence of a job that two members share, and that has failed with its finished measurements kept."""
    job = jobs.submit(spec, shards=2)
    errand.make(job.id, job.attempts, shards=2, members=f"{__name__}:Second")
    said = errand.seen(job)
    assert said.state == "failed"
    assert stored_shards()
    assert said.error.count("\n") == 0
    return said.error


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"source": "/no/such"}, "There is no model at '/no/such'"),
        ({"source": "nobody/nothing"}, "'nobody/nothing' is neither a local folder nor in the local Hub cache"),
        ({"identity": "files:0"}, "are files:"),
    ],
)
def test_member_with_missing_or_different_model_fails_job_keeping_shards(
    asked, cache, small_batches, monkeypatch, changed, sentence
):
    monkeypatch.setattr(Second, "changed", changed)
    assert sentence in failed(asked["distances"])


def test_member_out_of_gpu_memory_fails_job_and_keeps_shards(asked, cache, small_batches, monkeypatch):
    def measure(self, shards):
        if stored_shards():
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return original(self, shards)

    original = member.Member.measure
    monkeypatch.setattr(member.Member, "measure", measure)
    assert failed(asked["distances"]).startswith("The GPU ran out of memory. Lower the batch size")


def test_a_shard_of_other_weights_is_another_shard(asked, cache):
    spec = asked["distances"]
    other = dataclasses.replace(spec, model=dataclasses.replace(spec.model, identity="sha256:0"))
    content = {"texts": [0], "model": spec.model.to_json()}
    assert Shard("distances", content).address != Shard("distances", content | {"model": other.model.to_json()}).address


def test_weights_exchanged_during_the_run_are_refused(asked, cache, tiny_folder, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny_folder("llama"), tmp_path / "model")
    spec = dataclasses.replace(asked["distances"], model=ModelSpec(str(folder), dtype="float32", device="cpu"))
    (kind, resolved), *_ = member.Member().requests("distances", spec.to_json())
    weights = load_file(folder / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    said = member.answer(member.Member(), {"do": "begin", "with": [kind, resolved]})
    assert "were replaced since" in said["error"]


def test_other_versions_are_refused_before_anything_runs(asked, cache):
    other = crew.versions() | {"torch": "1.0.0"}
    members = Here(2, versions=other)
    with pytest.raises(JobError, match=r"This machine has torch .+ but a worker has 1\.0\.0"):
        crew.share(asked["distances"], members, nobody)
    assert members.is_closed
    assert not members.measured


def test_storage_that_is_not_shared_is_refused(asked, cache, monkeypatch):
    monkeypatch.setattr(member.Member, "sees", lambda self, file: False)
    with pytest.raises(JobError, match="does not see the cache folder"):
        crew.share(asked["distances"], Here(1), nobody)
    assert not list(cache.glob("shared-*"))


def test_a_wish_to_end_is_heard_while_members_work(asked, cache, small_batches):
    told = []

    def until_measured(progress):
        told.append(progress.phase.startswith("measuring"))
        if sum(told) > 1:  # the first says that it begins
            raise Cancelled

    members = Here(2)
    with pytest.raises(Cancelled):
        crew.share(asked["damage"], members, until_measured)
    assert members.is_closed


def test_request_that_cannot_be_shared_is_refused(asked):
    with pytest.raises(SpecError, match="must be 1..256"):
        crew.check(asked["distances"], 0)
    with pytest.raises(SpecError, match="kind corpus runs in one process"):
        crew.check(TEXTS, 2)
    crew.check(TEXTS, 1)


def test_healed_model_never_uses_shards_of_its_base(asked):
    healed = dataclasses.replace(asked["evaluate"], adapter="some-heal")
    assert not crew.can_share(healed)


@pytest.mark.timeout(300)
@pytest.mark.long
def test_worker_job_is_shared_by_local_processes_despite_a_kill(asked, cache, with_starter, monkeypatch, tmp_path):
    spec = dataclasses.replace(asked["damage"], corpus=dataclasses.replace(TEXTS, n_texts=12, seq_len=128))
    job = jobs.submit(spec, shards=2)
    try:
        jobs.ensure_worker()

        def both_measure() -> jobs.Job | None:
            seen = jobs.get(job.id)
            return seen if seen.phase.endswith(" in 2 processes") and 0 < seen.done < seen.total else None

        now = wait_for(both_measure, 240)
        assert now.state == "running"
        assert 0 < now.done < now.total
        members = [one for one in psutil.Process(now.pid).children() if member.__name__ in one.cmdline()]
        members[-1].kill()
        done = wait_state(job, "done", 240)
    finally:
        end_worker()
    assert len(members) == 2
    said = [event["phase"] for event in jobs.events(job.id)[0]]
    assert {"starting the processes", "loading the model", "putting the shards together"} < set(said)
    assert any(phase.endswith(" in 2 processes") for phase in said)
    assert any(phase.endswith(" in 1 of 2 processes") for phase in said), "one was lost"
    assert jobs.get(job.id).work.flop > 1e9, "what its processes computed counts as the job's"
    found = figures(DamageResult.read(store.load_result("damage", done.result_key)))
    assert found == alone(spec, cache, with_starter, monkeypatch, tmp_path)


def test_attempt_process_shares_its_job(asked, cache, monkeypatch):
    monkeypatch.setattr(errand, "LOADER", "builtins:object")
    shared = []
    monkeypatch.setattr(crew, "shared", lambda spec, n, on_progress, members: shared.append((spec, n, members)))
    queued = jobs.submit(asked["distances"], shards=3)
    assert queued.shards == 3
    errand.make(queued.id, 1, shards=3)
    assert shared == [(asked["distances"], 3, crew.LOCAL)]
    assert errand.command(queued)[-2:] == ["3", crew.LOCAL]


def test_lost_connection_is_reported_as_lost_member(asked, cache):
    members = LocalCrew(asked["distances"], 1)
    try:
        assert members.call(0, "hello") == crew.versions()
        os.kill(members.pids[0], signal.SIGKILL)
        with pytest.raises(MemberLost, match="Process"):
            members.call(0, "hello")
        members.replace(0)
        with pytest.raises(JobError, match="does hello, sees"):
            members.call(0, "clear")
    finally:
        members.close()
