"""Answers and refusals that need no model library."""

import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

from analysis import service
from analysis.cli.main import main
from analysis.core import host
from analysis.core.blocks import Block
from analysis.core.errors import RecipeError
from analysis.data import starter
from analysis.models.source import resolving
from analysis.models.source.location import depth
from analysis.models.source.model_spec import ModelSpec
from tests.support import fakes

_RUN = """
import sys
from analysis.cli.main import main
try:
    code = main(sys.argv[1:])
except SystemExit as end:
    code = end.code
print([name for name in ("torch", "transformers", "peft", "datasets") if name in sys.modules], file=sys.stderr)
sys.exit(code)
"""


def _fresh(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _RUN, *arguments], capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["sweep", "MODEL", "--limit", "4", "--max-n", "1", "--texts", "none", "--samples", "2"],
        ["compare", "MODEL", "--prompt", "a b", "--tokens", "2", "--block", "1:1"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_stored_answer_needs_no_model_library(
    arguments, tiny_folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path))
    arguments = [str(tiny_folder("llama")) if word == "MODEL" else word for word in arguments]
    assert main(arguments) == 0
    measured = capsys.readouterr().out
    again = _fresh(arguments)
    assert (again.returncode, again.stdout) == (0, measured)
    assert again.stderr.splitlines()[-1] == "[]"


def test_a_stored_answer_of_a_healed_model_needs_no_model_library(
    tiny_folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path))
    block = [str(tiny_folder("llama")), "--block", "1:1"]
    short = [
        "--set",
        "corpus.n_texts=16",
        "--set",
        "validation.n_texts=2",
        "--set",
        "benchmark=null",
        "--seq-len",
        "32",
    ]
    assert main(["heal", *block, "--recipe", "instant", *short]) == 0
    capsys.readouterr()
    [adapter] = (tmp_path / "adapters").iterdir()
    arguments = ["evaluate", *block, "--adapter", str(adapter), "--limit", "4", "--texts", "none"]
    assert main(arguments) == 0
    measured = capsys.readouterr().out
    again = _fresh(arguments)
    assert (again.returncode, again.stdout) == (0, measured)
    assert again.stderr.splitlines()[-1] == "[]"


def test_a_committed_result_answers_in_its_precision(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path))
    answered = _fresh(["search", "starter", "--strategy", "greedy", "--max-n", "15"])
    assert answered.returncode == 0
    *_, note, loaded = answered.stderr.splitlines()
    assert (note, loaded) == (
        "A committed result answers, measured in bfloat16 from Q4_1 weights on cpu.",
        "[]",
    )


def test_a_healing_run_answers_only_if_its_adapter_is_there(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path))
    result = replace(fakes.heal(), adapter="adapters/abc")
    result.save()
    monkeypatch.setattr(resolving, "resolve", lambda spec: result.spec)
    assert service.stored(result.spec) is None
    adapter = tmp_path / "adapters" / "abc" / "adapter_config.json"
    adapter.parent.mkdir(parents=True)
    adapter.write_text("{}")
    assert service.stored(result.spec) == result
    monkeypatch.setattr(
        resolving,
        "resolve",
        lambda spec: replace(spec, model=replace(spec.model, identity="other")),
    )
    assert service.stored(result.spec) is None


@pytest.mark.parametrize(
    ("command", "options", "sentence"),
    [
        ("heal", ["--block", "40:2"], "Layers 40-41 cannot be removed"),
        ("compare", ["--block", "40:2", "--prompt", "a"], "Layers 40-41 cannot be removed"),
        ("sweep", ["--max-n", "6"], "Choose max-n 0..5."),
        ("damage", ["--max-size", "6"], "Choose max-size 1..5."),
        ("search", ["--max-n", "6"], "Choose max-n 1..5"),
        ("speed", ["--ns", "1,6"], "Choose numbers in 0..5."),
        ("methods", ["--n", "6"], "Choose numbers in 1..5."),
        ("grid", ["--max-n", "6"], "Choose max-n 0..5."),
    ],
)
def test_a_request_beyond_the_models_depth_is_refused(
    command, options, sentence, tiny_folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path))
    assert (
        main(
            [
                command,
                *(["--models"] if command == "grid" else []),
                str(tiny_folder("llama")),
                *options,
            ]
        )
        == 2
    )
    assert sentence in capsys.readouterr().err.splitlines()[-1]


def test_refusing_a_request_needs_no_model_library(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path))
    refused = _fresh(["sweep", str(tiny_folder("llama")), "--max-n", "6"])
    assert (refused.returncode, refused.stderr.splitlines()[-1]) == (2, "[]")


def test_the_depth_of_a_gguf_file_is_that_of_its_header():
    assert depth(ModelSpec(str(starter.gguf_file()))) == 30


@pytest.mark.parametrize(
    "config",
    [
        "[" * 100_000,
        '{"text_config": null, "num_hidden_layers": "8"}',
        '{"num_hidden_layers": -1}',
        "[]",
    ],
)
def test_a_configuration_that_names_no_depth_is_left_to_the_loader(config, tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder("llama"), tmp_path / "model")
    (folder / "config.json").write_text(config)
    assert depth(ModelSpec(str(folder))) is None


def test_too_short_a_time_is_refused_by_earlier_runs_or_the_processor(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path))
    monkeypatch.setattr(host, "processor", lambda: "a test")
    fakes.sweep().save()
    timed = replace(fakes.heal(), versions={"processor": "a test, 4 cores"}, wall_s=600.0)
    timed.save()
    request = replace(timed.spec.request, steps=0, minutes=0.01, block=Block(3, 5))
    for answer in (service.run, service.submit):
        with pytest.raises(
            RecipeError, match=r"0\.01 minutes are too short: .* Allow \d+\.\d minutes or more"
        ):
            answer(request)
    monkeypatch.setattr(host, "processor", lambda: "another")
    monkeypatch.setattr(host, "flop_per_s", lambda: 1e9)
    request = replace(request, model=ModelSpec("starter", dtype="float32", device="cpu"))
    with pytest.raises(RecipeError, match="are too short"):
        service.submit(request)
    monkeypatch.setattr(host, "flop_per_s", lambda: 1e18)
    assert service.submit(request).spec == request, "a quick processor may have the time"


_BROKEN = {
    "near name": (["distances", "startr"], "Did you mean starter?"),
    "long name": (["distances", "a" * 5_000], "There is no model at"),
    "missing path": (["distances", "./none"], "There is no model at"),
    "folder without config": (["distances", "FOLDER"], "has no config.json"),
    "truncated file": (["distances", "FILE.gguf"], "ends within its header"),
    "questions": (["evaluate", "starter", "--task", "FILE.jsonl"], "No question can be read"),
    "texts": (["distances", "starter", "--texts", "none.txt"], "none.txt"),
}


@pytest.mark.parametrize("name", _BROKEN)
def test_an_unusable_input_is_refused_without_network_and_model_library(
    name, tmp_path, monkeypatch
):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # the discard port: nobody answers
    folder = tmp_path / "folder"
    folder.mkdir()
    paths = {"FOLDER": folder}
    for ending, content in ((".gguf", b"GGUF\3\0"), (".jsonl", b'{"question": 1\n')):
        paths[f"FILE{ending}"] = tmp_path / f"file{ending}"
        paths[f"FILE{ending}"].write_bytes(content)
    arguments, sentence = _BROKEN[name]
    refused = _fresh([str(paths.get(word, word)) for word in arguments])
    *_, message, loaded = refused.stderr.splitlines()
    assert (refused.returncode, loaded) == (2, "[]")
    assert sentence in message
    assert "asking the hub" not in refused.stderr.lower()
