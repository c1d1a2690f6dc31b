"""Why a job failed, in one sentence that says what to do: libraries' errors are told apart by what stands in their chain."""

import errno
from collections.abc import Callable, Iterator

from analysis.core.errors import LayerscopeError

_SPACE = (
    "There is no space left on the disk; what was saved before is intact. Free some space, or point LAYERSCOPE_CACHE at "
    "another disk, then resume the job."
)
_DEVICE_MEMORY = (
    "The accelerator's memory was not enough: lower the batch size (and raise gradient accumulation), the sequence length or "
    "the number of texts, load the model in 4 bits, or end other programs on it, then resume the job."
)
_MEMORY = (
    "The memory was not enough: lower the number of texts, the sequence length or the batch size, load the model in "
    "4 bits, or close other programs, then resume the job."
)
_GATED = (
    "This model is gated: accept its licence on the hub and set HF_TOKEN in the environment of the dashboard, then resume the "
    "job."
)
_MISSING = "The hub has no such model, revision or file: check the spelling, and that HF_TOKEN may read it if it is private."
_OFFLINE = (
    "The hub cannot be reached and the model is not in the local hub cache: connect and resume the job, or use `starter` or a "
    "local folder."
)
_NO_BITSANDBYTES = (
    "Weights in 4 or 8 bits need the package bitsandbytes, which is not installed or cannot be loaded: run `pip install -r "
    "requirements.txt`, or choose quantization none."
)
_BITSANDBYTES_DEVICE = (
    "bitsandbytes cannot compute with 4- or 8-bit weights on this device: choose quantization none, or a machine with a GPU "
    "that it supports."
)


def explain(error: BaseException) -> str:
    """One sentence about what went wrong with a job: our own errors say it themselves."""
    chain = list(_chain(error))
    # A full disk comes first: it also shows as a file that cannot be read or a model that cannot be fetched.
    if any(map(_is_space, chain)) and "no space left" not in str(error):
        return _SPACE
    if isinstance(error, LayerscopeError):
        return str(error)
    for is_cause, sentence in _CAUSES:
        if any(map(is_cause, chain)):
            return sentence
    first_line = (str(error).strip().splitlines() or ["no message"])[0][:300]
    bug = f"This is a bug in Layerscope: {type(error).__name__}: {first_line}"
    return f"{bug} (worker.log in the cache folder has the details)."


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, what it was raised from or while handling, and what a group holds."""
    pending, seen = [error], set[int]()
    while pending:
        current = pending.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        before = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
        pending += [*([before] if before else []), *getattr(current, "exceptions", ())]


def _names(error: BaseException) -> set[str]:
    """The names of its classes: with them no library need be imported."""
    return {cls.__name__ for cls in type(error).__mro__}


def _is_space(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    # Libraries in Rust and C++ pass only the text on.
    text = str(error).lower()
    return any(part in text for part in ("no space left on device", "(os error 28)", "disk quota exceeded", "disk is full"))


def _is_device_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return "OutOfMemoryError" in _names(error) or any(
        part in text
        for part in ("cuda out of memory", "hip out of memory", "mps backend out of memory", "cublas_status_alloc_failed")
    )


def _is_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    text = str(error).lower()  # torch's CPU allocator raises a plain RuntimeError
    return any(part in text for part in ("can't allocate memory", "cannot allocate memory", "not enough memory: you tried"))


def _is_gated(error: BaseException) -> bool:
    return "GatedRepoError" in _names(error) or "gated repo" in str(error).lower()


def _is_missing(error: BaseException) -> bool:
    names = {"RepositoryNotFoundError", "RevisionNotFoundError", "RemoteEntryNotFoundError", "HFValidationError"}
    return bool(names & _names(error))


def _is_offline(error: BaseException) -> bool:
    return bool({"LocalEntryNotFoundError", "OfflineModeIsEnabled"} & _names(error))


def _is_no_bitsandbytes(error: BaseException) -> bool:
    is_import = isinstance(error, ImportError) or "PackageNotFoundError" in _names(error)
    return is_import and "bitsandbytes" in str(error)


def _is_bitsandbytes_device(error: BaseException) -> bool:
    text = str(error).lower()
    about = "bitsandbytes" in text or _ends_in_bitsandbytes(error)
    return about and any(word in text for word in ("gpu", "cuda", "backend", "device", "not compiled", "not implemented"))


def _ends_in_bitsandbytes(error: BaseException) -> bool:
    """Whether it was raised by code of that package."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0] == "bitsandbytes"


_CAUSES: tuple[tuple[Callable[[BaseException], bool], str], ...] = (
    (_is_device_memory, _DEVICE_MEMORY),
    (_is_memory, _MEMORY),
    (_is_gated, _GATED),
    (_is_missing, _MISSING),
    (_is_offline, _OFFLINE),
    (_is_no_bitsandbytes, _NO_BITSANDBYTES),
    (_is_bitsandbytes_device, _BITSANDBYTES_DEVICE),
)
"""In this order: a memory error may speak of a device, a gated model is also one that is not found."""
