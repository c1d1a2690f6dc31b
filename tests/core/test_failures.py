"""Reason of a failure, in one sentence: for errors of any library, however deep they lie."""

import errno
import types

import pytest
import torch
from safetensors import SafetensorError

from analysis.core.errors import CorpusError, ModelNotFoundError, StorageError
from analysis.core.failures import cause, clause, in_a_sentence, redact


def explain(error: BaseException) -> str:
    return in_a_sentence(
        error,
        doing="running this job",
        consequence="resume the job",
        log="worker.log in the cache folder",
    )


def chained(*errors: BaseException) -> BaseException:
    """The last error, each raised from the one before."""
    found = None
    for error in errors:
        try:
            raise error from found
        except BaseException as caught:
            found = caught
    return found


def named(name: str, text: str = "", base: type = RuntimeError) -> BaseException:
    return type(name, (base,), {})(text)


NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    "error",
    [
        NO_SPACE,
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        ),
        chained(
            NO_SPACE,
            RuntimeError("PytorchStreamWriter failed writing file data/7: file write failed"),
        ),
        chained(
            NO_SPACE, ValueError("x"), ModelNotFoundError("the hub cannot be reached; connect.")
        ),
        ExceptionGroup("several", [ValueError("one"), NO_SPACE]),
    ],
)
def test_a_full_disk_wherever_it_shows(error):
    assert explain(error).startswith("There is no space left on the disk")
    assert "LAYERSCOPE_CACHE" in explain(error)


def test_an_error_during_handling_counts_unless_it_was_shut_out():
    def tidy() -> None:
        try:
            raise NO_SPACE
        except OSError:
            raise ValueError("while tidying up")  # noqa: B904

    with pytest.raises(ValueError, match="tidying") as raised:
        tidy()
    assert "no space left" in explain(raised.value)
    raised.value.__suppress_context__ = True
    assert "unexpected error while running this job (ValueError: while tidying up)" in explain(
        raised.value
    )


def test_our_own_errors_say_it_themselves():
    full = StorageError("There is no space left on the disk for state.safetensors; free some.")
    assert explain(chained(NO_SPACE, full)) == str(full)
    assert (
        explain(chained(MemoryError(), CorpusError("This text is empty."))) == "This text is empty."
    )


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate"
            " memory: you tried to"
        ),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: you"
            " tried to"
        ),
        chained(MemoryError(), ValueError("while building")),
    ],
)
def test_not_enough_memory(error):
    assert explain(error).startswith("The memory was not enough. Lower")


def test_not_enough_memory_on_the_accelerator():
    error = RuntimeError(
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
    )
    for each in (error, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")):
        assert explain(each).startswith("The GPU ran out of memory. Lower the batch size")


def test_bitsandbytes_not_there_or_without_a_device():
    absent = explain(ModuleNotFoundError("No module named 'bitsandbytes'", name="bitsandbytes"))
    assert "not installed" in absent
    assert "pip install -r requirements.txt" in absent
    no_kernel = "Could not run 'bitsandbytes::quantize_4bit' with arguments from the 'MPS' backend."
    assert "Choose quantization none" in explain(RuntimeError(no_kernel))
    inside = types.ModuleType("bitsandbytes.fake")
    exec("def fails():\n    raise RuntimeError('no GPU found')", inside.__dict__)
    with pytest.raises(RuntimeError) as raised:
        inside.fails()
    assert explain(raised.value).startswith("bitsandbytes cannot compute")


def test_anything_else_is_a_bug_with_its_first_line():
    assert (
        explain(ValueError("seven is not\na number"))
        == "Layerscope has a bug: an unexpected error while running this job (ValueError: seven is"
        " not). The details are in worker.log in the cache folder."
    )
    assert "no message" in explain(named("Odd"))
    for harmless in ("device 3 is not a GPU", "index 28 is out of range", "the gate of layer 3"):
        assert "Layerscope has a bug" in explain(RuntimeError(harmless))
        assert cause(RuntimeError(harmless)) is None


def test_errors_of_a_models_own_code_name_type_and_step():
    own = {"__name__": "transformers.models.jamba.modeling_jamba"}
    exec("def forward():\n    raise ValueError('no such cache')", own)
    with pytest.raises(ValueError, match="no such cache") as caught:
        own["forward"]()
    assert (
        explain(caught.value)
        == "The code of jamba models in transformers failed while running this job (ValueError: no"
        " such cache). Choose another model or block. The details are in worker.log in the cache"
        " folder."
    )
    own["__name__"] = "transformers.models.auto.auto_factory"
    with pytest.raises(ValueError, match="no such cache") as caught:
        own["forward"]()
    assert "Layerscope has a bug" in explain(caught.value)


def test_a_disk_that_does_not_answer_is_no_bug():
    assert explain(chained(OSError(errno.EIO, "Input/output error"), ValueError("x"))).startswith(
        "The disk failed with an input/output error"
    )


def test_details_of_bugs_are_private_without_tokens_and_only_newest(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path))
    for number in range(25):
        said = in_a_sentence(
            chained(ValueError(f"number {number} of hf_abcdefgh1234")), doing="counting"
        )
    kept = sorted((tmp_path / "faults").iterdir())
    assert len(kept) == 20
    assert str(kept[-1]) in said
    assert "\n" not in said
    assert kept[-1].stat().st_mode & 0o777 == 0o600
    details = kept[-1].read_text()
    assert details.startswith("counting\n\nTraceback")
    assert "number 24 of hf_[redacted]" in details
    assert "hf_abcd" not in said
    monkeypatch.setenv("LAYERSCOPE_CACHE", "/dev/null/nowhere")
    assert "The details are lost" in in_a_sentence(ValueError("x"), doing="counting")


def test_the_token_of_the_environment_is_redacted_in_any_form(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "key-of-a-mirror ")
    assert redact("sent key-of-a-mirror to it") == "sent [redacted] to it"
    monkeypatch.setenv("HF_TOKEN", "short")
    assert redact("a short word") == "a short word"


def test_the_message_of_a_library_becomes_a_clause():
    assert (
        clause(ValueError("Too many requests for hf_abcdefgh123.\nSee the pages."))
        == "Too many requests for hf_[redacted]"
    )
    assert clause(ValueError()) == "ValueError"
    assert len(clause(ValueError("a " * 500))) <= 200
