"""`make audit`: what is installed here, held against the published advisories of OSV (https://osv.dev).

Names and versions of the packages are all that is sent. `OSV_URL` names another copy of the database. Exit code 0: no advisory;
1: there are some, one a line; 2: the database cannot be asked from here, and nothing is known.
"""

import json
import os
import sys
import urllib.request
from http.client import HTTPException

from supply.installed import Installed, installed

DATABASE = "https://api.osv.dev"
_PATIENCE_S = 20


class Unreachable(Exception):
    """The database did not answer, or not in its own form."""


def advisories(packages: list[Installed], database: str) -> dict[str, list[str]]:
    """The advisories for each package that has some, by "name version".

    Raises:
        Unreachable: nothing can be said; never an empty answer instead.
    """
    asked = [{"package": {"name": one.name, "ecosystem": "PyPI"}, "version": one.release} for one in packages]
    body = json.dumps({"queries": asked}).encode()
    request = urllib.request.Request(f"{database}/v1/querybatch", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=_PATIENCE_S) as answer:
            results = json.load(answer)["results"]
        if len(results) != len(packages):
            raise Unreachable(f"it answered {len(results)} of {len(packages)} questions")
        listed = [sorted(vulnerability["id"] for vulnerability in one.get("vulns", ())) for one in results]
    except (OSError, HTTPException, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unreachable(str(error) or type(error).__name__) from error
    return {f"{one.name} {one.version}": ids for one, ids in zip(packages, listed, strict=True) if ids}


def main() -> int:
    packages, database = installed(), os.environ.get("OSV_URL", DATABASE).rstrip("/")
    try:
        found = advisories(packages, database)
    except Unreachable as error:
        print(
            f"The advisory database {database} cannot be asked from here ({error}), so nothing is known about the "
            f"{len(packages)} packages; run `make audit` where it is reachable, or name a copy of it in OSV_URL.",
            file=sys.stderr,
        )
        return 2
    for package, ids in found.items():
        print(f"{package}: {', '.join(ids)}")
    print(f"{len(packages)} packages, {len(found)} with advisories")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
