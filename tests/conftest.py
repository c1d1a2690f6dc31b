"""Fixtures of all tests: a cache folder per test, the real starter model once per process, tiny
models of every family.
"""

import importlib.util
import json
import os
import runpy
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

if TYPE_CHECKING:
    from tests.support import hub as hubs

os.environ.setdefault(
    "LAYERSCOPE_NICENESS", "0"
)  # workers would wait for all the tests that run beside theirs
os.environ.setdefault(
    "HF_HUB_OFFLINE", "1"
)  # no test may reach for a hub, also where the machine can
if (
    "PYTEST_XDIST_WORKER_COUNT" in os.environ
):  # processes share the cores: before torch is imported, and for children too
    n_threads = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, n_threads)))

REPOSITORY = Path(__file__).resolve().parent.parent
MEANWHILE = {
    REPOSITORY / "tests" / "jobs" / "test_worker.py",
    REPOSITORY / "tests" / "data" / "test_hub_rows.py",
}
"""Slow files of tests that need no model."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that need a model, and begin with the files that take longest, so that the end is
    short.

    The first process converts the starter model, for which all other tests of it wait. So slow
    files without it come next.
    """
    for item in items:
        if "starter_folder" in item.fixturenames:
            item.add_marker("starter")
        if "torch" in vars(item.module):
            item.add_marker("tiny")
    marks = {
        mark: {item.path for item in items if item.get_closest_marker(mark)}
        for mark in ("browser", "starter")
    }
    n_tests = Counter(
        item.path for item in items if item.path not in marks["browser"] | marks["starter"]
    )
    kept = (item.path for item in items if not item.get_closest_marker("long"))
    first = next((path for path in kept if path in marks["browser"] & marks["starter"]), None)

    def order(item: pytest.Item) -> list[bool | int]:
        group = 0 if item.path == first else 1 if item.path in MEANWHILE else 2
        return [
            group,
            item.path not in marks["browser"],
            item.path not in marks["starter"],
            -n_tests[item.path],
        ]

    items.sort(key=order)


@pytest.fixture(scope="session")
def _tokenizers_are_read_once() -> Iterator[None]:
    """A model is loaded within a moment but for its tokenizer of 49,152 tokens, which is the same
    in nearly all tests.
    """
    from analysis.models.loading import pretrained

    read: dict[object, object] = {}
    own = pretrained.AutoTokenizer

    class Known:
        @staticmethod
        def from_pretrained(folder: Path, **options: object) -> object:
            looks = [
                (file.name, file.stat())
                for file in sorted(folder.iterdir())
                if file.suffix != ".safetensors"
            ]
            key = (
                folder,
                str(options),
                *((name, look.st_ino, look.st_size, look.st_mtime_ns) for name, look in looks),
            )
            if key not in read:
                read[key] = own.from_pretrained(folder, **options)
            return read[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrained, "AutoTokenizer", Known)
        yield


@pytest.fixture(autouse=True)
def the_main_module_stays() -> Iterator[None]:
    """A page that Streamlit draws takes its place, and a process that is spawned later would begin
    with running that page.
    """
    own = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = own


@pytest.fixture(autouse=True)
def the_default_dtype_stays() -> Iterator[None]:
    """A library changes it for the whole process while it builds a model. Left behind, it would be
    that of all later tests.
    """
    yield
    torch, end = sys.modules.get("torch"), time.monotonic() + 10
    # A thread of the test may still be building a model after a cancel.
    while (
        torch is not None and torch.get_default_dtype() != torch.float32 and time.monotonic() < end
    ):
        time.sleep(0.05)
    if torch is not None and (left := torch.get_default_dtype()) != torch.float32:
        torch.set_default_dtype(torch.float32)
        pytest.fail(f"This test left {left} behind as torch's default dtype.")


@pytest.fixture(scope="session")
def starter_folder(_tokenizers_are_read_once: None) -> Path:
    """The converted starter model in the repository's own cache, converted on the first run
    only.
    """
    from analysis.core import store
    from analysis.models.loading import load
    from analysis.models.source.location import locate
    from analysis.models.source.model_spec import ModelSpec

    with FileLock(store.cache_dir() / "tests.lock"):  # another process of the same run waits for it
        if locate(ModelSpec()).gguf_file is not None:
            load.load(ModelSpec())
        return locate(ModelSpec()).folder


@pytest.fixture(scope="session")
def _committed_index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of the committed results, which each new cache would make again."""
    from analysis.core import index_table
    from analysis.core.experiment import EXPERIMENTS

    folder = tmp_path_factory.mktemp("committed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAYERSCOPE_CACHE", str(folder))
        index_table.rows(list(EXPERIMENTS), "SELECT 1", {})
    return folder / f"index-{index_table.LAYOUT}.sqlite"


@pytest.fixture(scope="session")
def with_starter(starter_folder: Path, _committed_index: Path) -> Callable[[Path], Path]:
    """A function that lets a new cache folder share the converted starter model and know the
    committed results.
    """

    def share(folder: Path) -> Path:
        (folder / "models").mkdir(parents=True)
        (folder / "models" / starter_folder.name).symlink_to(starter_folder)
        shutil.copy(_committed_index, folder)
        return folder

    return share


@pytest.fixture
def cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_starter: Callable[[Path], Path]
) -> Path:
    """An empty cache folder that shares the converted starter model."""
    folder = with_starter(tmp_path / "cache")
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(folder))
    return folder


@pytest.fixture
def letters() -> Iterator[ModuleType]:
    """A kind of experiment of one file outside of the program, registered as long as the test
    lasts.
    """
    from analysis.core.experiment import EXPERIMENTS, register
    from tests.support import letters

    register(letters.EXPERIMENT)
    yield letters
    EXPERIMENTS.remove(letters.EXPERIMENT.kind)


@pytest.fixture(scope="session")
def starter(starter_folder: Path):
    """The real starter model in float32, shared by all tests: measure it, never change it."""
    from analysis.models.loading import load
    from analysis.models.source.model_spec import ModelSpec

    return load.load(ModelSpec(dtype="float32"))


@pytest.fixture(scope="session")
def tokenizer(starter_folder: Path):
    """The starter model's tokenizer."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(starter_folder)


@pytest.fixture(scope="session")
def small_tokenizer(starter_folder: Path, tmp_path_factory: pytest.TempPathFactory):
    """The starter model's tokenizer with its first 2,048 tokens: most of the time of a tiny model
    is that of its head.
    """
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    for name in ("tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(starter_folder / name, folder)
    content = json.loads((starter_folder / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = {
        token: number for token, number in content["model"]["vocab"].items() if number < 2048
    }
    merges = [pair for pair in content["model"]["merges"] if "".join(pair) in vocabulary]
    content["model"] |= {"vocab": vocabulary, "merges": merges}
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture
def no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokenizers are not tried out before they are used, which takes a process of seconds for
    each.
    """
    from analysis.models.loading import tokenizer

    monkeypatch.setattr(tokenizer, "check", lambda source: None)


@pytest.fixture(scope="session")
def tiny_folder(
    tmp_path_factory: pytest.TempPathFactory, small_tokenizer
) -> Iterator[Callable[[str], Path]]:
    """A function that saves a tiny random model of a family, with a small tokenizer, and returns
    its folder.
    """
    from analysis.models.loading import tokenizer as loading
    from tests.support.families import build

    made: dict[str, Path] = {}

    def make(family: str = "llama") -> Path:
        if family not in made:
            folder = tmp_path_factory.mktemp(f"tiny-{family}")
            build(family, vocab_size=len(small_tokenizer)).save_pretrained(folder)
            small_tokenizer.save_pretrained(folder)
            loading._passed.add(loading._key(folder, None))  # no trial, as for the starter
            made[family] = folder
        return made[family]

    return make


@pytest.fixture
def short_texts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Losses on few and short texts where a request leaves the text open, here and in processes
    that this test starts.
    """
    from analysis.cli.options import flags_of
    from analysis.core import extensions
    from analysis.data.spec import default_loss_corpus

    file = REPOSITORY / "tests" / "support" / "short_texts.py"
    monkeypatch.setattr(
        default_loss_corpus, "__code__", default_loss_corpus.__code__
    )  # restored afterwards
    monkeypatch.setenv(extensions.VARIABLE, str(file))
    runpy.run_path(str(file))
    yield
    flags_of.cache_clear()  # it has the defaults of options


CAPITALS = '''
"""Three capitals: a question set of one file, outside the package."""

from analysis.data.tasks import Question, Row, continuations, task

COUNTRIES = [
    {"country": "France", "cities": ["Paris", "Lyon"], "right": 0},
    {"country": "Kenya", "cities": ["Mombasa", "Nairobi"], "right": 1},
    {"country": "Japan", "cities": ["Kyoto", "Tokyo", "Osaka"], "right": 1},
]
WORKED = [{"country": "Peru", "cities": ["Lima", "Cusco"], "right": 0}]


def rows(split: str, group: str) -> list[Row]:
    return WORKED if split == "dev" else [row for row in COUNTRIES if group in ("", row["country"].lower())]


def as_in_the_paper(row: Row, id: str) -> Question:
    return Question(id, f"Capital of {row['country']}?", continuations(row["cities"]), row["right"])


@task(
    "capitals",
    "Capitals",
    rows=rows,
    split="test",
    id_field="country",
    chance=0.5,
    max_shots=1,
    groups={"europe": ("france",), "elsewhere": ("kenya", "japan")},
    header=lambda group, protocol: "Exam.\\n" if protocol == "paper" else "",
    read_as={"paper": as_in_the_paper},
)
def capital(row: Row, id: str) -> Question:
    """Which city is the capital."""
    return Question(id, f"The capital of {row['country']} is", continuations(row["cities"]), row["right"])
'''


@pytest.fixture
def capitals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a question set that a file outside the package has registered, until the test
    ends.
    """
    from analysis.data.tasks import TASKS

    file = tmp_path / "capitals.py"
    file.write_text(CAPITALS, encoding="utf-8")
    monkeypatch.setattr(TASKS, "_entries", dict(TASKS._entries))
    found = importlib.util.spec_from_file_location("capitals", file)
    assert found is not None
    assert found.loader is not None
    found.loader.exec_module(importlib.util.module_from_spec(found))
    return "capitals"


@pytest.fixture
def loopback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator["hubs.Hub"]:
    """A hub of this test's own, which this process and its children take for the hub; its cache
    folder is empty.
    """
    from huggingface_hub import constants

    from tests.support import hub as hubs

    with hubs.running() as hub:
        said = {
            "ENDPOINT": hub.endpoint,
            "HF_HUB_CACHE": str(tmp_path / "hub"),
            "HF_HUB_OFFLINE": False,
        }
        said |= {"HF_HUB_ETAG_TIMEOUT": 2, "HF_HUB_DOWNLOAD_TIMEOUT": 2}
        template = f"{hub.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 16)
        for name, value in said.items():
            monkeypatch.setattr(constants, name, value)
            monkeypatch.setenv(
                "HF_ENDPOINT" if name == "ENDPOINT" else name,
                str(int(value)) if value is False else str(value),
            )
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield hub
