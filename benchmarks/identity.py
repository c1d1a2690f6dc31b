"""Time of the identity of weights, which covers every byte of their file:

    python benchmarks/identity.py --gigabytes 1.5

The file has just been written, so that the disk takes no part. The baseline is BLAKE3 with a thread
for each core, if the package is installed (`pip install blake3`).
"""

import argparse
import importlib.util
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

_PART = 1 << 26
"""Bytes that are written at a time."""


def main() -> None:
    """Write a file, and time its identity when it is seen first, and again."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--gigabytes", type=float, default=1.5)
    n_bytes = int(parser.parse_args().gigabytes * 1e9)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LAYERSCOPE_CACHE"] = str(Path(folder) / "cache")
        from analysis.models.source import identity

        file = Path(folder) / "model.gguf"
        with file.open("wb") as out:
            for begin in range(0, n_bytes, _PART):
                out.write(os.urandom(min(_PART, n_bytes - begin)))
        time.sleep(3)  # a file that has just changed is not remembered
        first = seconds(lambda: identity.of_file(file))
        again = seconds(lambda: identity.of_file(file))
        print(f"first {first:.2f} s ({n_bytes / first / 1e9:.2f} GB/s), again {again:.4f} s")
        if importlib.util.find_spec("blake3") is not None:
            import blake3

            hasher = blake3.blake3(max_threads=blake3.blake3.AUTO)
            print(f"BLAKE3 {seconds(lambda: hasher.update_mmap(file)):.2f} s")


def seconds(run: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
