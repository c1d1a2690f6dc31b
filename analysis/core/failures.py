"""Reason of a failure, in one sentence with the action to take; details of unforeseen errors are kept in the cache folder.

Libraries' errors are recognized by the errors in their chain, by names and words: none of the libraries is imported.
"""

import errno
import os
import re
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from analysis.core import disk, host, store
from analysis.core.errors import LayerscopeError, StorageError, one_line

BAD_INPUT = 2
"""Exit code when the request cannot be answered as it stands; one sentence on standard error says why."""
UNFORESEEN = 70
"""Exit code of an unforeseen error: a bug, whose details are kept in the cache folder."""
FOLDER = "faults"
"""Folder for details of unforeseen errors, in the cache folder."""
_MOST_KEPT = 20
"""Faults that are kept, the newest ones."""
_MOST_BYTES = 64 * 1024
"""Of one fault: the end of its details, which says most."""
_MODEL_LIBRARIES = "torch|transformers|peft|accelerate|datasets|gguf|datasketch"
_MODEL_CODE = re.compile(r"transformers\.models\.(?!auto\.)(\w+)\.")
_MOST_SAID = 200
"""Characters that are kept of a library's message."""
_SHORTEST = 8
"""Of a token: a word that is shorter may stand anywhere."""
_TOKEN = re.compile(r"\b(hf|api_org)_[A-Za-z0-9]{8,}")


def redact(text: str) -> str:
    """Return the text without anything that looks like a hub token, and without the token of the environment in any form."""
    token = os.environ.get("HF_TOKEN", "").strip()
    if len(token) >= _SHORTEST:
        text = text.replace(token, "[redacted]")
    return _TOKEN.sub(r"\1_[redacted]", text)


def clause(error: BaseException) -> str:
    """Return a library's reason as a clause, short and without a token: its first line, and the next one after a colon."""
    first, *rest = str(error).strip().splitlines() or [type(error).__name__]
    message = f"{first} {rest[0].strip()}" if first.endswith(":") and rest else first
    message = redact(one_line(message))[:_MOST_SAID].rstrip(".:; ")
    if isinstance(error, KeyError):
        return f"{message} is missing or unknown"
    return f"its structure is wrong ({message})" if isinstance(error, AttributeError | TypeError | RecursionError) else message


def in_a_sentence(
    error: BaseException, *, doing: str, consequence: str = "run it again", log: str = "", has_log: bool = True
) -> str:
    """Return one sentence about a failure: our own errors say it themselves, others by their cause.

    Args:
        error: of any type.
        doing: the work at the time, for an unforeseen error: "drawing this part of the page".
        consequence: action after the cause is fixed: "resume the job".
        log: place of the details of an unforeseen error; empty to keep them in a file of the cache folder.
        has_log: whether to include the first line of an unforeseen error, which no visitor of a page may see.
    """
    if (sentence := cause(error, consequence=consequence)) is not None:
        return sentence
    problem = type(error).__name__
    if has_log:
        problem = one_line(f"{problem}: {(str(error).strip().splitlines() or ['no message'])[0]}")
    log_file = log or _keep(error, doing)
    details = f"The details are in {log_file}" if log_file else "The details are lost, because the cache folder is not writable"
    if family := model_type(error):
        return redact(
            f"The code of {family} models in transformers failed while {doing} ({problem}). Choose another model or block. "
            f"{details}."
        )
    return redact(f"Layerscope has a bug: an unexpected error while {doing} ({problem}). {details}.")


def cause(error: BaseException, *, consequence: str = "run it again") -> str | None:
    """Return the sentence of an error whose cause is known, as `in_a_sentence` has it; None for an unforeseen one."""
    chain = list(_chain(error))
    # A full disk comes first: it also shows as a file that cannot be read or a model that cannot be fetched.
    if _has_mark(chain, _FULL_DISK) and "no space left" not in str(error):
        return store.NO_SPACE.format(then=consequence)
    if isinstance(error, LayerscopeError):
        return one_line(str(error))
    sentences = (sentence for pattern, sentence in (_OF_MACHINE | _OF_MODEL).items() if _has_mark(chain, pattern))
    sentence = next(sentences, None)
    return None if sentence is None else sentence.format(then=consequence)


def is_of_machine(error: BaseException) -> bool:
    """Return whether memory or a disk was to blame, and not the input."""
    chain = list(_chain(error))
    return any(_has_mark(chain, pattern) for pattern in (_FULL_DISK, *_OF_MACHINE))


def model_type(error: BaseException) -> str | None:
    """The kind of model in whose own code, as transformers has it, something was raised; None where it was elsewhere."""
    modules = (module for raised in _chain(error) for module in _modules(raised))
    families = [match[1] for module in modules if (match := _MODEL_CODE.match(module))]
    return families[-1] if families else None


def _modules(error: BaseException) -> list[str]:
    """Return the modules that an error passed through, the one that raised it last."""
    return [str(frame.f_globals.get("__name__", "")) for frame, _ in traceback.walk_tb(error.__traceback__)]


def _keep(error: BaseException, doing: str) -> Path | None:
    """Write the details down for the developer, for the owner's eyes only; None where that cannot be done."""
    details = redact(f"{doing}\n\n{''.join(traceback.format_exception(error))}").encode(errors="backslashreplace")
    folder = store.cache_dir() / FOLDER
    seconds, rest = divmod(time.time_ns(), 1_000_000_000)
    file = folder / f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(seconds))}-{rest:09d}-{os.getpid()}.txt"
    try:
        store.write_atomic(file, details[-_MOST_BYTES:])
    except StorageError:
        return None
    for old in sorted(folder.glob("*.txt"))[:-_MOST_KEPT]:
        disk.remove(old)
    return file


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error, its causes, the errors that it was raised while handling, and members of groups."""
    pending, seen = [error], set[int]()
    while pending:
        current = pending.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        before = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
        pending += [*([before] if before else []), *getattr(current, "exceptions", ())]


def _marks(error: BaseException) -> str:
    """Return the names of an error's classes, its errno, the package that raised it, and its message, in small letters."""
    classes = " ".join(cls.__name__ for cls in type(error).__mro__)
    code = errno.errorcode.get(error.errno or 0, "") if isinstance(error, OSError) else ""
    package = next((module.partition(".")[0] for module in _modules(error)[-1:]), "")
    return f"{classes}|{code}|{package}|{error}".lower()


def _has_mark(errors: Sequence[BaseException], pattern: str) -> bool:
    return any(re.search(pattern, _marks(error), re.DOTALL) for error in errors)


_FULL_DISK = r"\|enospc\||\|edquot\||no space left on device|\(os error 28\)|disk quota exceeded|disk is full"
# Libraries in Rust and C++ pass only the text on.
_OF_MACHINE = {
    r"\|eio\|": "The disk failed with an input/output error. Saved results are intact. Check the disk or the network folder, "
    "or point LAYERSCOPE_CACHE at another disk, then {then}.",
    r"outofmemoryerror|(cuda|hip|mps backend) out of memory|cublas_status_alloc_failed": "The GPU ran out of memory. Lower the "
    "batch size (and raise gradient accumulation), sequence length or number of texts, load in 4 bits, or end other programs, "
    "then {then}.",
    r"\|enomem\||memoryerror|(can't|cannot) allocate memory|not enough memory: you|unable to mmap|std::bad_alloc": "The memory "
    "was not enough. Lower the number of texts, sequence length or batch size, load the model in 4 bits, or close other "
    "programs, then {then}.",
}
_OF_MODEL = {
    r"(importerror|packagenotfounderror).*bitsandbytes": "Weights in 4 or 8 bits need the package bitsandbytes, which is not "
    "installed or cannot be loaded. Run `pip install -r requirements.txt`, or choose quantization none.",
    rf"modulenotfounderror.*no module named '({_MODEL_LIBRARIES})\b": host.VIEWER,
    r"^(?=.*bitsandbytes).*(gpu|cuda|backend|device|not compiled|not implemented)": "bitsandbytes cannot compute with 4- or "
    "8-bit weights on this device. Choose quantization none, or a machine with a GPU that it supports.",
    r"panicexception": "A library failed to read the model's files, most likely the rules of its tokenizer. Download the "
    "tokenizer's files again or use another text, then {then}.",
}
"""Sentences by patterns of `_marks`, in this order, since a memory error may name a device; for the Hub see `hub.refusal`."""
