"""Compare the program with the golden files, or write them anew."""

import argparse
import json
import sys

from tests.golden import frozen


def main() -> int:
    """Print the differences; the exit code is 1 where there is one."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden")
    parser.add_argument("--write", action="store_true", help="write the files anew")
    is_written = parser.parse_args().write
    differing = [name for name, made in frozen.MADE.items() if frozen.differences(frozen.stored(name), made())]
    for name in differing:
        if is_written:
            text = json.dumps(frozen.MADE[name](), indent=1, sort_keys=True, ensure_ascii=False)
            (frozen.FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        for line in [] if is_written else frozen.differences(frozen.stored(name), frozen.MADE[name]()):
            sys.stdout.write(f"{name}: {line}\n")
    return 1 if differing and not is_written else 0


if __name__ == "__main__":
    raise SystemExit(main())
