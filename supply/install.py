"""Bring packages into this Python: `python -m supply.install [--lock LOCK] RANGES`.

The lock comes first, each file checked against its hashes. The ranges come second and add the
packages that the lock leaves out by design. A lock without files for this platform or this Python
is skipped with a message. A file with another hash is never installed. The module needs only the
standard library and pip, because it runs before any package is installed.
"""

import argparse
import subprocess
import sys
from pathlib import Path

PIP = (
    sys.executable,
    "-m",
    "pip",
    "install",
    "--quiet",
    "--disable-pip-version-check",
    "--no-compile",
)
_OTHER_CONTENT = "DO NOT MATCH THE HASHES"
"""Message of pip for a file with the right name and another content."""


def locked(lock: Path, ranges: Path) -> None:
    """Install the packages of a lock, or print a message if it does not fit this platform.

    Raises:
        SystemExit: a file has another content than the lock says.
    """
    done = subprocess.run(
        [*PIP, "--no-deps", "--require-hashes", "-r", str(lock)], stderr=subprocess.PIPE, text=True
    )
    if done.returncode == 0:
        return
    if _OTHER_CONTENT in done.stderr:
        raise SystemExit(
            f"{done.stderr.strip()}\nThe package index has a file with another hash than"
            f" {lock.name} lists, so nothing was installed. If you trust that index, run make with"
            f" LOCK=no, which installs from {ranges.name} without the lock."
        )
    reason = next(
        (line for line in done.stderr.splitlines() if line.startswith("ERROR:")),
        "pip gave no reason",
    )
    print(
        f"{lock.name} does not match this platform, so pip chooses versions from {ranges.name}. pip"
        f" reported: {reason}"
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=(
            "Install the packages of Layerscope, from a lock file if it matches this platform."
        )
    )
    parser.add_argument(
        "--lock",
        type=Path,
        help="lock file with pinned versions and hashes, tried first (default: none)",
    )
    parser.add_argument("ranges", type=Path, help="requirements file with ranges of versions")
    asked = parser.parse_args(arguments)
    if asked.lock is not None:
        locked(asked.lock, asked.ranges)
    return subprocess.run([*PIP, "-r", str(asked.ranges)]).returncode


if __name__ == "__main__":
    sys.exit(main())
