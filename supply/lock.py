"""`make lock`: the newest versions within the ranges that fit together, with the hashes of their files, for every platform.

requirements.lock holds what `make run` needs, requirements-dev.lock what `make test` needs besides; the starter pack has its
versions and hashes in requirements-starter.txt. uv resolves, for all platforms and for every Python from 3.11 at once; pip
installs (`supply/install.py`). `make lock` installs what it found; run `make test` before you commit it.
"""

import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = "3.11"
OUTSIDE = "torch"
"""Left out with what only it brings: indexes serve several builds of one version of it, each with hashes of its own."""
HEAD = """\
# {what}. `make lock` writes this file from {ranges}. Do not edit it by hand.
# It lists every file of each version, for every platform and every Python from {oldest}. pip installs it with --no-deps.
# torch and packages that only torch needs are left out: an index may serve several builds of one version (CPU only, for
# example) with other hashes, and each machine needs its own build. pip installs torch by its range.
--only-binary :all:
"""


def resolved(*arguments: str) -> list[dict]:
    """The packages that satisfy some requirements: name, version, marker, wheels and sdist, as in a pylock.toml."""
    with tempfile.TemporaryDirectory() as scratch:
        outside, found = Path(scratch, "outside.txt"), Path(scratch, "pylock.toml")
        outside.write_text(OUTSIDE)
        uv = str(Path(sys.executable).with_name("uv"))
        how = ("--quiet", "--universal", "--python-version", OLDEST, "--format", "pylock.toml")
        files = ("--excludes", str(outside), "--output-file", str(found))
        subprocess.run([uv, "pip", "compile", *how, *files, *arguments], cwd=ROOT, check=True)
        return tomllib.loads(found.read_text())["packages"]


def pinned(package: dict) -> str:
    """One package as pip reads it: its version, where it is needed, and the hash of every file of that version."""
    needed = package.get("marker", "").removeprefix(f"python_full_version >= '{OLDEST}'").removeprefix(" and ")
    files = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
    hashes = sorted(file["hashes"]["sha256"] for file in files)
    line = f"{package['name']}=={package['version']}" + (f" ; {needed}" if needed else "")
    return " \\\n".join([line, *(f"    --hash=sha256:{one}" for one in hashes)]) + "\n"


def lock(what: str, ranges: str, packages: list[dict]) -> str:
    """A lock file; a package that has no wheel is the only kind that is built from its source."""
    built = sorted({package["name"] for package in packages if not package.get("wheels")})
    source = "".join(f"--no-binary {name}\n" for name in built)
    return HEAD.format(what=what, ranges=ranges, oldest=OLDEST) + source + "".join(map(pinned, packages))


def main() -> int:
    everything = resolved("requirements.txt", "requirements-dev.txt")
    needed = {package["name"] for package in resolved("requirements.txt")}
    runtime = [package for package in everything if package["name"] in needed]
    dev = [package for package in everything if package["name"] not in needed]
    (ROOT / "requirements.lock").write_text(lock("Packages for `make run`", "requirements.txt", runtime))
    (ROOT / "requirements-dev.lock").write_text(lock("Additional packages for `make test`", "requirements-dev.txt", dev))
    print(f"requirements.lock: {len(runtime)} packages, requirements-dev.lock: {len(dev)} more")
    return 0


if __name__ == "__main__":
    sys.exit(main())
