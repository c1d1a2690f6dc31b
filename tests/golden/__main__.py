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
    made = {name: make() for name, make in frozen.MADE.items()}
    differing = {
        name: found
        for name, new in made.items()
        if (found := frozen.differences(frozen.stored(name), new))
    }
    for name, found in differing.items():
        if is_written:
            text = json.dumps(made[name], indent=1, sort_keys=True, ensure_ascii=False)
            (frozen.FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        else:
            sys.stdout.writelines(f"{name}: {line}\n" for line in found)
    return 1 if differing and not is_written else 0


if __name__ == "__main__":
    raise SystemExit(main())
