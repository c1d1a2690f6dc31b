"""Which cases of a test belong to `make test`."""

from collections.abc import Iterable
from typing import Any

import pytest


def few(cases: Iterable[Any], *kept: Any) -> list[Any]:
    """Return the cases of a test, with the mark `long` on all but the kept ones: `make test-all`
    alone runs them.

    Raises:
        LookupError: a kept case is not among the cases.
    """
    found = list(cases)
    if missing := [case for case in kept if case not in found]:
        raise LookupError(f"{missing} are not among the cases {found}")
    return [
        (
            case
            if case in kept
            else pytest.param(
                *(case if isinstance(case, tuple) else [case]), marks=pytest.mark.long
            )
        )
        for case in found
    ]
