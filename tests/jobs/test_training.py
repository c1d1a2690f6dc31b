"""Healing runs that several processes of this machine train together: the figures of one, also with lost or stopped
processes."""

import contextlib
import os
import sys
import threading
from dataclasses import replace
from functools import partial

import psutil
import pytest

from analysis import jobs
from analysis.core import extensions
from analysis.core.blocks import Block
from analysis.core.errors import JobError, RecipeError, SpecError
from analysis.core.progress import Cancelled, PeerLost, Progress
from analysis.experiments.heal import checkpoints, healing, recipes
from analysis.experiments.heal.group import Group
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.jobs.queue.sharing import can_share, check_workers
from analysis.jobs.runner import rank as one_rank
from analysis.jobs.runner import training, versions
from analysis.jobs.runner.executor import Executor
from analysis.jobs.runner.local_workers import LocalWorkers
from analysis.models.source.model_spec import ModelSpec
from tests.support import little_heal
from tests.support.forked_workers import ForkedWorkers

STEPS, LONG = 6, 24


@pytest.fixture
def spec(cache, short_texts, tiny_folder, tmp_path, monkeypatch) -> HealSpec:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return little_heal.spec(tiny_folder("llama"), tmp_path, steps=STEPS, batch_size=3, warmup_steps=1, eval_every=2)


def alone(spec, cache, with_starter, monkeypatch, tmp_path) -> HealResult:
    """Return the result of one process, in a cache of its own."""
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(with_starter(tmp_path / "alone")))
    found = healing.run(spec)
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(cache))
    return found


def same(found: HealResult, wanted: HealResult, n_steps: int = STEPS) -> None:
    assert [step.step for step in found.steps] == list(range(1, n_steps + 1))
    losses = partial(map, lambda step: step.loss)
    assert list(losses(found.steps)) == pytest.approx(list(losses(wanted.steps)), rel=1e-5)
    assert list(losses(found.validations)) == pytest.approx(list(losses(wanted.validations)), rel=1e-5)
    assert found.healed.loss == pytest.approx(wanted.healed.loss, rel=1e-5)


def trained(asked: HealSpec, n: int, told=lambda progress: None) -> HealResult:
    """Return the result of copies of a process that has imported everything."""
    workers = ForkedWorkers(asked, n)
    try:
        return training.train(asked, workers, told)
    finally:
        workers.close()


def trained_despite_kills(asked: HealSpec, n: int, told) -> HealResult:
    """Return the result of torchrun; `told` is called with how far it is, and a function that kills a process by rank."""
    workers = LocalWorkers(asked, n)

    def kill(rank: int) -> None:
        ranks = [one for one in psutil.Process(workers._training.pid).children() if one_rank.__name__ in one.cmdline()]
        (found,) = [one for one in ranks if one.environ()["RANK"] == str(rank)]
        found.kill()

    try:
        return training.train(asked, workers, lambda progress: told(progress, kill))
    finally:
        workers.close()


@pytest.mark.long
@pytest.mark.timeout(600)  # it starts seven processes that import everything
def test_lost_process_costs_steps_since_checkpoint_and_fewer_resume(spec, cache, with_starter, monkeypatch, tmp_path):
    spec = replace(spec, steps=LONG)  # the pool looks at the progress now and then, and may not see the last steps
    wanted = alone(spec, cache, with_starter, monkeypatch, tmp_path)
    killed, begun_again = [], []

    def told(progress, kill) -> None:
        if progress.phase == "healing" and progress.done >= 3 and not killed:
            killed.append(1)
            kill(1)
        if killed and progress.phase != "healing":
            begun_again.append(progress)  # the last report of the first group may be step 5 as well
        if begun_again and progress.phase == "healing" and progress.done >= 5:
            raise Cancelled

    with pytest.raises(Cancelled):
        trained_despite_kills(spec, 2, told)
    assert killed
    part = HealResult.load(healing.resolve(spec))
    assert not part.complete
    assert part.processes == [2]
    assert part.kept_step == checkpoints.newest(part.spec.fingerprint()).step >= 5
    found = healing.run(spec)
    assert found.processes == [2, 1]
    assert "trained by 2 then 1 processes" in found.measured_on()
    same(found, wanted, LONG)
    assert list(cache.glob("shared-*")) == []


@pytest.mark.long
def test_timed_shared_heal_takes_the_steps_of_one_process(spec, cache, with_starter, monkeypatch, tmp_path):
    six = tmp_path / "six.py"
    six.write_text("from analysis.experiments.heal import recipes\n\nrecipes.steps_that_fit = lambda **known: 6\n")
    monkeypatch.setenv(extensions.VARIABLE, os.pathsep.join([os.environ[extensions.VARIABLE], str(six)]))
    asked = replace(spec, minutes=1.0, steps=0, instant=True, distill=0.5, recipe="distill")
    found = trained(asked, 2)
    assert found.complete
    assert (found.processes, found.planned_steps) == ([2], STEPS)
    timeless = replace(recipes.planned(asked, STEPS), minutes=None)
    wanted = alone(timeless, cache, with_starter, monkeypatch, tmp_path)
    assert found.junction.strength == wanted.junction.strength
    assert [step.loss for step in found.steps] == pytest.approx([step.loss for step in wanted.steps], rel=1e-5)
    assert found.healed.loss == pytest.approx(wanted.healed.loss, rel=1e-5)


@pytest.fixture
def nobody_has_room(tmp_path, monkeypatch):
    """Within it no process has memory for a whole model, and each has for its part of one."""
    file = tmp_path / "no_room.py"
    file.write_text(
        "from analysis.experiments.heal import memory\n\n"
        "memory.shortage = lambda *args, n_parts=1, **options: None if n_parts > 1 else 'It is too large.'\n"
    )

    @contextlib.contextmanager
    def within():
        with monkeypatch.context() as now:
            now.setenv(extensions.VARIABLE, os.pathsep.join([os.environ[extensions.VARIABLE], str(file)]))
            yield

    return within


@pytest.mark.parametrize(
    "own",
    [
        {"quantization": "4bit"},
        pytest.param(
            {"instant": True, "distill": 0.5, "junction": 0.3, "distill_from": "states", "recipe": "distill"},
            marks=pytest.mark.long,
        ),
        pytest.param(
            {"method": "partial", "last_layers": 1, "gradient_accumulation": 3, "batch_size": 1, "keep_best": True},
            marks=pytest.mark.long,
        ),
    ],
    ids=["4bit", "taught", "passes of another number"],
)
def test_model_divided_over_processes_gives_equal_figures(
    spec, cache, with_starter, monkeypatch, tmp_path, own, nobody_has_room
):
    settings = dict(own)
    asked = replace(spec, model=replace(spec.model, quantization=settings.pop("quantization", "none")), **settings)
    said = []
    with nobody_has_room():
        found = trained(asked, 2, lambda progress: said.append(progress.message))
    assert any("its layers are divided over 2 processes" in message for message in said)
    assert (found.complete, found.processes) == (True, [2])
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(with_starter(tmp_path / "whole")))
    wanted = trained(asked, 2)
    for result in (found, wanted):
        assert [step.step for step in result.steps] == list(range(1, STEPS + 1))
    assert [step.loss for step in found.steps] == [step.loss for step in wanted.steps]
    assert found.validations == wanted.validations
    assert found.healed == wanted.healed


@pytest.mark.long
def test_larger_group_resumes_divided_heal_after_a_loss(spec, cache, with_starter, monkeypatch, tmp_path, nobody_has_room):
    wanted = alone(spec, cache, with_starter, monkeypatch, tmp_path)
    killed = []

    def told(progress, kill) -> None:
        for place, step in ((1, 1), (0, 3)):
            if progress.phase == "healing" and progress.done >= step and place not in killed:
                killed.append(place)
                kill(place)
                return
        if killed == [1, 0] and progress.phase == "healing" and progress.done >= 5:
            raise Cancelled

    with nobody_has_room(), pytest.raises(Cancelled):
        trained_despite_kills(spec, 2, told)
    assert killed == [1, 0]
    assert not HealResult.load(healing.resolve(spec)).complete
    found = trained(spec, 3)
    assert found.processes == [2, 3]
    same(found, wanted)


class Threads(Executor):
    """Ranks in threads of this process, which nobody starts again."""

    def open(self, index):
        raise AssertionError("these requests are trained")

    def train(self, folder):
        ranks = [threading.Thread(target=one_rank.take_part, args=(folder, rank, self.n)) for rank in range(self.n)]
        for thread in ranks:
            thread.start()
        for thread in ranks:
            thread.join()


@pytest.fixture
def stands_for_a_heal(cache, monkeypatch):
    """Lets a function stand for the training of a heal."""
    monkeypatch.setattr(one_rank, "LOADER", "builtins:object")
    monkeypatch.setattr(one_rank, "_LAST_WORD_S", 0.3)

    def stand(run):
        monkeypatch.setattr(healing, "share", run)
        return HealSpec(block=Block(2, 2))

    return stand


def test_message_of_any_rank_is_the_reason_of_failure(stands_for_a_heal):
    def share(spec, on_progress, *, rank, **options):
        on_progress(Progress("healing", 1, 2))
        raise RecipeError("Rank 1 has no memory left; lower batch_size.") if rank else PeerLost("closed by peer")

    with pytest.raises(JobError, match="Rank 1 has no memory left; lower batch_size"):
        training.train(stands_for_a_heal(share), Threads(2), lambda progress: None)


@pytest.mark.long
def test_processes_that_are_lost_again_and_again_are_given_up(cache, tmp_path):
    lost = (
        "import os, pathlib, sys; from analysis.jobs.runner.training import SharedTraining; "
        "SharedTraining(pathlib.Path(sys.argv[1])).report(0).say('interrupted', 'closed by peer'); "
        f"open({str(tmp_path / 'turns')!r}, 'a').write(os.environ['RANK']); sys.exit(1)"
    )
    workers = LocalWorkers(HealSpec(block=Block(2, 2), model=ModelSpec(device="cpu")), 1)
    workers.rank = ("--no-python", sys.executable, "-c", lost)
    with pytest.raises(JobError, match=r"was lost 4 times. The saved parts are kept\. closed by peer"):
        training.train(HealSpec(block=Block(2, 2)), workers, lambda progress: None)
    assert (tmp_path / "turns").read_text() == "0000"
    assert list(cache.glob("shared-*")) == []


def test_rank_with_different_program_is_refused_before_it_runs(stands_for_a_heal, monkeypatch, tmp_path):
    spec = stands_for_a_heal(lambda *asked, **options: pytest.fail("it ran"))
    other = {"versions": versions.versions() | {"torch": "1.0.0"}, "file": str(tmp_path)}
    monkeypatch.setattr(training, "in_common", lambda: contextlib.nullcontext(other))
    with pytest.raises(JobError, match=r"This machine has torch 1\.0\.0, but a worker has"):
        training.train(spec, Threads(2), lambda progress: None)


def test_a_heal_can_be_shared_where_it_trains(cache):
    spec = HealSpec(block=Block(2, 2), batch_size=4)
    assert can_share(spec)
    assert jobs.submit(spec, shards=4).shards == 4
    with pytest.raises(SpecError, match="5 processes cannot share a training step of 4 sequences"):
        jobs.submit(spec, shards=5)
    instant = replace(spec, steps=0, instant=True, recipe="instant")
    assert not can_share(instant)
    with pytest.raises(SpecError, match="The recipe instant trains nothing, so one process runs it"):
        check_workers(instant, 2)


def test_each_process_needs_memory_for_its_own_sequences(spec, monkeypatch):
    asked = []

    def check(spec, *others, **options):
        asked.append(spec.batch_size)
        raise Cancelled

    monkeypatch.setattr(healing.memory, "check", check)
    for size in (1, 2, 3):
        group = Group()
        group.size = size
        with pytest.raises(Cancelled):
            healing.run(spec, group=group)
    assert asked == [3, 2, 1]
