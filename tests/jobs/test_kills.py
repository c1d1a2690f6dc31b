"""A worker killed in the middle of each kind of job: the job resumes, and its figures equal those
of an undisturbed run.
"""

import hashlib
import json
import multiprocessing
import random
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from analysis import jobs
from analysis.core import disk, store
from analysis.core.blocks import Block
from analysis.core.experiment import EXPERIMENTS
from analysis.core.record import Spec
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec, SweepSpec
from analysis.experiments.batch.grid_spec import GridSpec
from analysis.experiments.batch.methods_spec import MethodsSpec
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.experiments.maps.damage_spec import DamageSpec
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.experiments.prompt.comparison_spec import CompareSpec, Variant
from analysis.experiments.prompt.microscope_spec import MicroscopeSpec
from analysis.experiments.speed.speed_spec import SpeedSpec
from analysis.exports.spec import ExportSpec
from analysis.models.source.model_spec import InspectSpec, ModelSpec
from tests.support import documents, gguf_files
from tests.support.heal_child import work
from tests.support.worker import wait_for, wait_state

pytestmark = [pytest.mark.timeout(800), pytest.mark.long]
KINDS = (
    *(
        "inspect",
        "distances",
        "damage",
        "sweep",
        "evaluate",
        "heal",
        "speed",
        "compare",
        "microscope",
        "grid",
        "methods",
    ),
    *("export", "gguf"),
)
_OF_THE_MOMENT = re.compile(r".*(_s|_bytes)$|versions|fits|notes")
_TIMINGS = ("points", "prefill", "decode")
"""Fields of a speed measurement that hold durations alone."""


@pytest.fixture(scope="module")
def requests(starter_folder, tmp_path_factory) -> dict[str, Spec]:
    """Return a small request of every kind on a tiny random model with the starter's tokenizer."""
    from transformers import AutoTokenizer

    from tests.support.families import build

    folder = tmp_path_factory.mktemp("kills")
    tokenizer = AutoTokenizer.from_pretrained(starter_folder)
    build("llama", vocab_size=len(tokenizer)).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    texts, others = documents.two_kinds(folder)
    model = ModelSpec(str(folder / "model"), dtype="float32", device="cpu")
    text, other = (
        CorpusSpec(texts, n_texts=6, seq_len=64),
        CorpusSpec(others, n_texts=6, seq_len=64),
    )
    distances, questions, block = DistanceSpec(model, text), BenchmarkSpec(limit=12), Block(2, 2)
    heal = HealSpec(
        block,
        model,
        corpus=CorpusSpec(texts, n_texts=60, seq_len=32, split="train"),
        validation=CorpusSpec(others, n_texts=3, seq_len=32),
        benchmark=BenchmarkSpec(limit=4),
        steps=8,
        batch_size=2,
        warmup_steps=2,
        learning_rate=1e-2,
        r=4,
        eval_every=2,
    )
    specs: tuple[Spec, ...] = (
        InspectSpec(model, load=True),
        distances,
        DamageSpec(model, other, distances, max_size=2),
        SweepSpec(model, questions, other, distances, max_n=3),
        EvaluateSpec(model, block, benchmark=questions, loss_corpus=other),
        heal,
        SpeedSpec(model, (0, 2), prompt_tokens=16, new_tokens=4, repeats=2),
        CompareSpec(model, "The river", (Variant(), Variant("pruned", block)), max_new_tokens=24),
        MicroscopeSpec(model, "The river runs to the harbour."),
        GridSpec((model,), (questions,), (other,), (text,), max_n=2),
        MethodsSpec(
            model, ("similarity", "deepest"), ("instant",), (2,), BenchmarkSpec(limit=4), other
        ),
        ExportSpec(block, "without-2-3", model),
    )
    file = ModelSpec(
        str(gguf_files.write(folder / "m.gguf", "llama")), dtype="float32", device="cpu"
    )
    return {spec.kind: spec for spec in specs} | {
        "gguf": ExportSpec(Block(1, 2), "without-1-2.gguf", file, format="gguf")
    }


@pytest.fixture
def start(monkeypatch):
    """Start workers as copies of a process that has imported everything, and end those that are
    left.
    """
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.heal_child"])
    workers = []

    def worker(cache: Path):
        monkeypatch.setenv("LAYERSCOPE_CACHE", str(cache))
        workers.append(context.Process(target=work, args=(str(cache),)))
        workers[-1].start()
        return workers[-1]

    yield worker
    for process in workers:
        process.kill()
        process.join(20)


def steady(value: Any) -> Any:
    """Return the part of a stored value that is the same in every run."""
    if isinstance(value, Mapping):
        return {
            name: steady(entry)
            for name, entry in value.items()
            if not _OF_THE_MOMENT.fullmatch(name)
        }
    return [steady(entry) for entry in value] if isinstance(value, list) else value


def figures(job: jobs.Job, cache: Path) -> Any:
    """Return the figures of a finished job, with the checksums of its arrays and of the weights
    that it wrote.
    """
    envelope = json.loads(
        (cache / "results" / job.kind / str(job.result_key) / "result.json").read_bytes()
    )
    data = {
        name: value
        for name, value in envelope["data"].items()
        if job.kind != "speed" or name not in _TIMINGS
    }
    weights = {
        str(file.relative_to(cache)): hashlib.sha256(file.read_bytes()).hexdigest()
        for top in ("adapters", "exports")
        for file in (cache / top).rglob("*")
        if file.suffix in (".safetensors", ".gguf") and file.is_file()
    }
    return steady(data), sorted(envelope["files"].values()), weights


@pytest.mark.parametrize("kind", KINDS)
def test_killed_job_resumes_to_the_undisturbed_figures_and_leaves_nothing(
    requests, start, tmp_path, monkeypatch, kind
):
    assert set(KINDS) == {*requests}
    assert {spec.kind for spec in requests.values()} <= set(EXPERIMENTS)
    quiet, cache = tmp_path / "quiet", tmp_path / "cache"
    first = start(quiet)
    job = jobs.submit(requests[kind])
    wait_for(lambda: jobs.get(job.id).state == "running", 60)
    began = time.monotonic()
    expected = figures(wait_state(job, "done", 300), quiet)
    duration_s = time.monotonic() - began
    first.kill()

    victim = start(cache)
    job = jobs.submit(requests[kind])
    wait_for(lambda: jobs.get(job.id).state == "running", 60)
    time.sleep(random.Random(kind).uniform(0.2, 0.7) * duration_s)
    victim.kill()
    victim.join(20)
    if jobs.get(job.id).state == "running":
        wait_for(lambda: (jobs.reap(), jobs.get(job.id).state == "interrupted")[1], 20)
        jobs.resume(job.id)
        start(cache)
    assert figures(wait_state(job, "done", 300), cache) == expected
    monkeypatch.setattr(disk, "DRAFT_S", -1.0)
    store.remove_leftovers()
    tops = ("results", "adapters", "exports", "checkpoints", "models")
    assert [path for top in tops for path in (cache / top).rglob(".*")] == []
