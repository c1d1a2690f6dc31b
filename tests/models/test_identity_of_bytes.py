"""The identity of local weights covers every byte, costs nothing the second time, and results
stored under the former identities, computed from samples, go on answering.
"""

import hashlib
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from analysis import service
from analysis.data import corpora, gallery
from analysis.data.gallery import Exhibit
from analysis.data.spec import CorpusSpec
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.models.source import identity as identities
from analysis.models.source import machine_file
from analysis.models.source.model_spec import ModelSpec
from tests.support import fakes

CHANGED_AT = 3 << 20
"""A byte between two samples of 64 KiB of a file of 8 MiB, as the former identity read them."""
FORMER = "files:668f9fac4fd6197c52050d03"
"""The identity that the folder of `unchanged` had in former versions."""
FIND = """
import sys
from analysis import service
from analysis.data.spec import CorpusSpec
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.models.source.model_spec import ModelSpec
folder, texts = sys.argv[1:]
model = ModelSpec(folder, dtype="float32", device="cpu")
print(service.stored(DistanceSpec(model, CorpusSpec(texts))) is not None)
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """An empty cache folder: these tests need no model."""
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    """A folder with weights of 8 MiB, which no library has to load."""
    return weights_of(tmp_path / "model")


def weights_of(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"num_hidden_layers": fakes.L}))
    values = np.arange(1 << 21, dtype=np.float32)
    save_file({"weight": values}, folder / "model.safetensors")
    return folder


def change(file: Path, at: int = CHANGED_AT) -> None:
    """Change one byte, and keep size and time of modification."""
    status = file.stat()
    with file.open("r+b") as stream:
        stream.seek(at)
        (byte,) = stream.read(1)
        stream.seek(at)
        stream.write(bytes([byte ^ 1]))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def settled(monkeypatch) -> None:
    """Let files count as old enough to be remembered."""
    monkeypatch.setattr(identities, "_UNSETTLED_NS", 0)


def request(folder: Path) -> DistanceSpec:
    texts = folder.parent / "texts.txt"
    texts.write_text("One text.\n\nAnother text.")
    model = ModelSpec(str(folder), dtype="float32", device="cpu")
    return DistanceSpec(model, CorpusSpec(str(texts)))


def save_result(asked: DistanceSpec, identity: str) -> None:
    """Store a result of a request, measured on weights with an identity."""
    spec = replace(
        asked,
        model=replace(asked.model, identity=identity),
        corpus=corpora.resolve(asked.corpus),
    )
    fakes.distances(spec=spec).save()


def is_answered_in_new_process(asked: DistanceSpec) -> bool:
    answer = subprocess.run(
        [sys.executable, "-c", FIND, asked.model.source, asked.corpus.source],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    return answer.stdout.strip() == "True"


@pytest.mark.parametrize("at", [CHANGED_AT, (8 << 20) - 100_000])
def test_one_changed_byte_is_another_model(folder, at):
    before = identities.of_folder(folder)
    change(folder / "model.safetensors", at)
    assert identities.of_folder(folder) != before
    change(folder / "model.safetensors", at)
    assert identities.of_folder(folder) == before


def test_one_changed_byte_of_a_gguf_file_is_another_model(folder):
    file = (folder / "model.safetensors").rename(folder / "model.gguf")
    before = identities.of_file(file)
    change(file)
    assert identities.of_file(file) != before


def test_changed_weights_are_not_answered_by_results_of_the_former_ones(folder):
    asked = request(folder)
    save_result(asked, identities.of_folder(folder))
    assert service.stored(asked) is not None
    assert is_answered_in_new_process(asked)
    change(folder / "model.safetensors")
    assert service.stored(asked) is None
    assert not is_answered_in_new_process(asked)
    change(folder / "model.safetensors")
    assert service.stored(asked) is not None


def test_results_under_the_former_identity_belong_to_the_file_that_is_seen_first(folder, tmp_path):
    asked = request(folder)
    save_result(asked, FORMER)
    assert service.stored(asked) is not None, "unchanged files keep their results"
    change(folder / "model.safetensors")
    assert service.stored(asked) is None
    assert not is_answered_in_new_process(asked)
    copy = weights_of(tmp_path / "copy")
    assert identities.of_folder(copy) == FORMER, "the path does not matter"
    change(folder / "model.safetensors")
    assert is_answered_in_new_process(asked)


def test_a_file_keeps_its_identity_when_former_results_arrive_later(folder):
    first = identities.of_folder(folder)
    save_result(request(folder), FORMER)
    os.utime(folder / "model.safetensors")
    assert identities.of_folder(folder) == first != FORMER


def test_a_lost_race_of_writers_keeps_both_records(folder, tmp_path):
    """Values of other keys stay when two processes store values at the same time."""
    script = (
        "import sys\n"
        "from analysis.models.source import machine_file\n"
        "for number in range(50): machine_file.keep(f'{sys.argv[1]} {number}', number)\n"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", script, name], cwd=Path(__file__).resolve().parents[2]
        )
        for name in ("one", "two")
    ]
    assert [child.wait() for child in children] == [0, 0]
    assert len(machine_file.content()) == 100


def test_a_gallery_model_is_known_by_its_published_hash(folder, monkeypatch):
    file = (folder / "model.safetensors").rename(folder / "model.gguf")
    own = identities.of_file(file)
    former = "gguf:0123456789abcdef01234567"
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    exhibit = Exhibit("org/m/model.gguf", "M", "", "", "org/m", sha256, former)
    monkeypatch.setattr(gallery, "EXHIBITS", (exhibit,))
    os.utime(file)
    assert identities.of_file(file) == former != own
    other_name = file.rename(folder / "other.gguf")
    assert identities.of_file(other_name) == former
    change(other_name)
    assert identities.of_file(other_name) != former


def test_files_with_the_samples_of_a_gallery_model_are_not_that_model(folder, monkeypatch):
    exhibit = Exhibit("org/m", "M", "", "", "org/m", "0" * 64, FORMER)
    monkeypatch.setattr(gallery, "EXHIBITS", (exhibit,))
    save_result(request(folder), FORMER)
    assert identities.of_folder(folder) != FORMER


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="counts bytes as Linux does")
def test_a_second_call_reads_no_weights(folder, monkeypatch):
    def n_read() -> int:
        return int(Path("/proc/self/io").read_text().split("\n")[0].split()[1])

    settled(monkeypatch)
    before = n_read()
    first = identities.of_folder(folder)
    assert n_read() - before > 8 << 20
    before = n_read()
    assert identities.of_folder(folder) == first
    assert n_read() - before < 1 << 18


def test_a_file_that_was_just_written_is_not_remembered(folder):
    """A change within the resolution of time stamps would not be noticed."""
    first = identities.of_folder(folder)
    change(folder / "model.safetensors")
    assert identities.of_folder(folder) != first


def test_stamps_show_a_change_that_keeps_size_and_time(folder):
    stamps = identities.stamps(str(folder))
    time.sleep(0.05)
    change(folder / "model.safetensors")
    assert identities.stamps(str(folder)) != stamps


def test_a_blob_of_the_hub_is_not_read(tmp_path, monkeypatch):
    repository = tmp_path / "hub" / "models--org--m"
    (repository / "blobs").mkdir(parents=True)
    snapshot = repository / "snapshots" / ("c" * 40)
    snapshot.mkdir(parents=True)
    plain = weights_of(tmp_path / "plain") / "model.safetensors"
    file = plain.rename(plain.with_suffix(".gguf"))
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    blob = repository / "blobs" / sha256
    blob.write_bytes(file.read_bytes())
    (snapshot / "model.gguf").symlink_to(blob)
    expected = identities.of_file(file)
    monkeypatch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("read"))
    assert identities.of_file(snapshot / "model.gguf") == expected
