"""Error messages for exceptions of any library; details of unexpected ones are stored in the cache
folder.

Errors are recognized by the class names and messages of their exception chain, without importing
the libraries.
"""

import errno
import itertools
import os
import re
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from analysis.core import disk, host, store
from analysis.core.errors import LayerscopeError, StorageError, one_line

BAD_INPUT = 2
"""Exit code for an invalid request, with one sentence on standard error."""
UNFORESEEN = 70
"""Exit code for an unexpected error, whose details are stored in the cache folder."""
FOLDER = "faults"
"""Folder of the details of unexpected errors in the cache."""
_MAX_FILES = 20
"""Maximum number of stored errors."""
_MAX_BYTES = 64 * 1024
"""Maximum size of the stored details, of which the end is kept."""
_MODEL_LIBRARIES = "torch|transformers|peft|accelerate|datasets|gguf|datasketch"
_MODEL_CODE = re.compile(r"transformers\.models\.(?!auto\.)(\w+)\.")
_MAX_MESSAGE = 200
"""Maximum length of a library's message."""
_MIN_TOKEN = 8
"""Minimum length of a token to redact; shorter texts may occur as words."""
_TOKEN = re.compile(r"\b(hf|api_org)_[A-Za-z0-9]{8,}")


def redact(text: str) -> str:
    """Replace Hub tokens, and the token in HF_TOKEN, in a text."""
    token = os.environ.get("HF_TOKEN", "").strip()
    if len(token) >= _MIN_TOKEN:
        text = text.replace(token, "[redacted]")
    return _TOKEN.sub(r"\1_[redacted]", text)


def clause(error: BaseException) -> str:
    """Return the first line of a library's message as a short clause without tokens, with the next
    line after a colon.
    """
    first, *rest = str(error).strip().splitlines() or [type(error).__name__]
    message = f"{first} {rest[0].strip()}" if first.endswith(":") and rest else first
    message = redact(one_line(message))[:_MAX_MESSAGE].rstrip(".:; ")
    if isinstance(error, KeyError):
        return f"{message} is missing or unknown"
    return (
        f"its structure is wrong ({message})"
        if isinstance(error, AttributeError | TypeError | RecursionError)
        else message
    )


def in_a_sentence(
    error: BaseException,
    *,
    doing: str,
    consequence: str = "run it again",
    log: str = "",
    has_log: bool = True,
) -> str:
    """Return an error message for any exception; that of a `LayerscopeError` is its own.

    Args:
        error: exception.
        doing: current work, for unexpected errors: "drawing this part of the page".
        consequence: action after the fix: "resume the job".
        log: location of the details of an unexpected error (default: a new file in the cache
            folder).
        has_log: whether to include the first line of an unexpected error, which visitors of a page
            must not see.
    """
    if (sentence := cause(error, consequence=consequence)) is not None:
        return sentence
    problem = type(error).__name__
    if has_log:
        problem = one_line(f"{problem}: {(str(error).strip().splitlines() or ['no message'])[0]}")
    log_file = log or _keep(error, doing)
    details = (
        f"The details are in {log_file}"
        if log_file
        else "The details are lost, because the cache folder is not writable"
    )
    if family := model_type(error):
        return redact(
            f"The code of {family} models in transformers failed while {doing} ({problem}). Choose"
            f" another model or block. {details}."
        )
    return redact(
        f"Layerscope has a bug: an unexpected error while {doing} ({problem}). {details}."
    )


def cause(error: BaseException, *, consequence: str = "run it again") -> str | None:
    """Return the error message of an exception with a known cause; None for an unexpected one."""
    chain = list(_chain(error))
    # A full disk may also cause errors while reading or downloading, so it is checked first.
    if _has_mark(chain, _FULL_DISK) and "no space left" not in str(error):
        return store.NO_SPACE.format(then=consequence)
    if isinstance(error, LayerscopeError):
        return one_line(str(error))
    sentences = (
        sentence
        for pattern, sentence in (_OF_MACHINE | _OF_MODEL).items()
        if _has_mark(chain, pattern)
    )
    sentence = next(sentences, None)
    return None if sentence is None else sentence.format(then=consequence)


def is_of_machine(error: BaseException) -> bool:
    """Return whether memory or disk caused the error, and not the input."""
    chain = list(_chain(error))
    return any(_has_mark(chain, pattern) for pattern in (_FULL_DISK, *_OF_MACHINE))


def model_type(error: BaseException) -> str | None:
    """Return the model type in whose code of transformers the error was raised; None if it was
    raised elsewhere.
    """
    modules = itertools.chain.from_iterable(map(_modules, _chain(error)))
    families = [match[1] for module in modules if (match := _MODEL_CODE.match(module))]
    return families[-1] if families else None


def _modules(error: BaseException) -> list[str]:
    """Return the modules in the traceback of an error; the last one raised it."""
    return [
        str(frame.f_globals.get("__name__", ""))
        for frame, _ in traceback.walk_tb(error.__traceback__)
    ]


def _keep(error: BaseException, doing: str) -> Path | None:
    """Store the details of an error in a private file and return its path; None if that fails."""
    details = redact(f"{doing}\n\n{''.join(traceback.format_exception(error))}").encode(
        errors="backslashreplace"
    )
    folder = store.cache_dir() / FOLDER
    seconds, rest = divmod(time.time_ns(), 1_000_000_000)
    file = (
        folder
        / f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(seconds))}-{rest:09d}-{os.getpid()}.txt"
    )
    try:
        store.write_atomic(file, details[-_MAX_BYTES:])
    except StorageError:
        return None
    for old in sorted(folder.glob("*.txt"))[:-_MAX_FILES]:
        disk.remove(old)
    return file


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, its causes and contexts, and the members of exception groups."""
    pending = [error]
    seen = set[int]()
    while pending:
        current = pending.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        cause = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
        pending += [*([cause] if cause else []), *getattr(current, "exceptions", ())]


def _marks(error: BaseException) -> str:
    """Return class names, errno, raising package and message of an error in lower case."""
    classes = " ".join(cls.__name__ for cls in type(error).__mro__)
    code = errno.errorcode.get(error.errno or 0, "") if isinstance(error, OSError) else ""
    package = next((module.partition(".")[0] for module in _modules(error)[-1:]), "")
    return f"{classes}|{code}|{package}|{error}".lower()


def _has_mark(errors: Sequence[BaseException], pattern: str) -> bool:
    return any(re.search(pattern, _marks(error), re.DOTALL) for error in errors)


_FULL_DISK = (
    r"\|enospc\||\|edquot\||no space left on device|\(os error 28\)|disk quota exceeded|disk is"
    r" full"
)
# Libraries in Rust and C++ provide only the message.
_OF_MACHINE = {
    r"\|eio\|": (
        "The disk failed with an input/output error. Saved results are intact. Check the disk or"
        " the network folder, or point LAYERSCOPE_CACHE at another disk, then {then}."
    ),
    r"outofmemoryerror|(cuda|hip|mps backend) out of memory|cublas_status_alloc_failed": (
        "The GPU ran out of memory. Lower the batch size (and raise gradient accumulation),"
        " sequence length or number of texts, load in 4 bits, or end other programs, then {then}."
    ),
    r"\|enomem\||memoryerror|(can't|cannot) allocate memory|not enough memory: you|unable to mmap"
    r"|std::bad_alloc": (
        "The memory was not enough. Lower the number of texts, sequence length or batch size, load"
        " the model in 4 bits, or close other programs, then {then}."
    ),
}
_OF_MODEL = {
    r"(importerror|packagenotfounderror).*bitsandbytes": (
        "Weights in 4 or 8 bits need the package bitsandbytes, which is not installed or cannot be"
        " loaded. Run `pip install -r requirements.txt`, or choose quantization none."
    ),
    rf"modulenotfounderror.*no module named '({_MODEL_LIBRARIES})\b": host.VIEWER,
    r"^(?=.*bitsandbytes).*(gpu|cuda|backend|device|not compiled|not implemented)": (
        "bitsandbytes cannot compute with 4- or 8-bit weights on this device. Choose quantization"
        " none, or a machine with a GPU that it supports."
    ),
    r"panicexception": (
        "A library failed to read the model's files, most likely the rules of its tokenizer."
        " Download the tokenizer's files again or use another text, then {then}."
    ),
}
"""Sentences by patterns of `_marks`, in this order, since a memory error may name a device; for the
Hub see `hub.refusal`."""
