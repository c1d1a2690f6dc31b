"""`make audit`: what is installed here, held against the published advisories of OSV (https://osv.dev).

Names and versions of the packages are all that is sent. `OSV_URL` names another copy of the database. Exit code 0: no advisory;
1: there are some, one a line; 2: the database cannot be asked from here, and nothing is known.
"""

import json
import os
import sys
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

from supply.installed import Installed, installed

DATABASE = "https://api.osv.dev"
_PATIENCE_S = 20
_MOST_PAGES = 20


class Unreachable(Exception):
    """The database did not answer, or its answer has an error or another form."""


def advisories(packages: list[Installed], database: str) -> dict[str, list[str]]:
    """The advisories for each package that has some, by "name version".

    Raises:
        Unreachable: nothing can be said; never an empty answer instead.
    """
    asked = [{"package": {"name": one.name, "ecosystem": "PyPI"}, "version": one.release} for one in packages]
    found: dict[str, set[str]] = {f"{one.name} {one.version}": set() for one in packages}
    left = list(zip(found, asked, strict=True))
    for _ in range(_MOST_PAGES):
        answers = _answered([query for _, query in left], database)
        for (name, _), answer in zip(left, answers, strict=True):
            found[name].update(answer.ids)
        left = [
            (name, {**query, "page_token": answer.next_page})
            for (name, query), answer in zip(left, answers, strict=True)
            if answer.next_page
        ]
        if not left:
            return {name: sorted(ids) for name, ids in found.items() if ids}
    raise Unreachable(f"its answer for {left[0][0]} has more than {_MOST_PAGES} pages")


@dataclass(frozen=True)
class _Answer:
    """The advisories on one page of the answer for one package."""

    ids: list[str]
    next_page: str
    """The token of the next page; "" on the last one."""


def _answered(queries: list[dict[str, Any]], database: str) -> list[_Answer]:
    body = json.dumps({"queries": queries}).encode()
    request = urllib.request.Request(f"{database}/v1/querybatch", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=_PATIENCE_S) as answer:
            whole = json.load(answer)
        results = whole["results"]
        if extra := sorted(set(whole) - {"results"}):
            raise Unreachable(f"it answered with {', '.join(extra)}")
        if len(results) != len(queries):
            raise Unreachable(f"it answered {len(results)} of {len(queries)} queries")
        return [_read(one) for one in results]
    except (OSError, HTTPException, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unreachable(str(error) or type(error).__name__) from error


def _read(result: dict[str, Any]) -> _Answer:
    """Read the answer for one package, which holds advisories and a token, and nothing else."""
    if extra := sorted(set(result) - {"vulns", "next_page_token"}):
        raise Unreachable(f"it answered a query with {', '.join(extra)}")
    page = result.get("next_page_token") or ""
    if not isinstance(page, str):
        raise TypeError("the token of the next page is not text")
    return _Answer([str(vulnerability["id"]) for vulnerability in result.get("vulns") or ()], page)


def main() -> int:
    packages, database = installed(), os.environ.get("OSV_URL", DATABASE).rstrip("/")
    try:
        found = advisories(packages, database)
    except Unreachable as error:
        print(
            f"The advisory database {database} cannot be reached ({error}), so {len(packages)} packages were not checked. "
            f"Run `make audit` where it is reachable, or name a copy of it in OSV_URL.",
            file=sys.stderr,
        )
        return 2
    for package, ids in found.items():
        print(f"{package}: {', '.join(ids)}")
    print(f"{len(packages)} packages, {len(found)} with advisories")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
