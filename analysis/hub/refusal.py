"""Why the hub did not give what it was asked for: each reason a sentence of its own that says what to do.

Source of the statuses and headers: what huggingface_hub 1.33 reads of the hub's answers (`utils/_http.py`).
"""

import re
from collections.abc import Mapping

from analysis.core.errors import HubError

_RESETS = re.compile(r";\s*t\s*=\s*(\d+)")
_MOST_WAIT_S = 3600


class Refused(HubError):
    """What the hub, or whoever answered in its place, said instead of an answer."""

    def __init__(self, sentence: str, *, passing: bool = False, wait_s: float = 0.0, is_absent: bool = False) -> None:
        """Say it.

        Args:
            sentence: for people.
            passing: whether it may be otherwise a moment later.
            wait_s: how long it asks to be left alone.
            is_absent: whether there is no such repository for all that the hub shows.
        """
        super().__init__(sentence)
        self.passing, self.wait_s, self.is_absent = passing, wait_s, is_absent


def of_status(status: int, headers: Mapping[str, str], what: str, host: str, *, with_token: bool) -> Refused:
    """The sentence of an answer that is none.

    Args:
        status: of HTTP.
        headers: of the answer.
        what: was asked for: "the model org/name".
        host: that was asked.
        with_token: whether HF_TOKEN was sent.
    """
    code = headers.get("x-error-code", "")
    if code == "GatedRepo":
        return _gated(what, with_token)
    if status == 404 or code in ("RepoNotFound", "RevisionNotFound", "EntryNotFound"):
        return _absent(code, status, what, with_token)
    if status == 401:
        if with_token:
            return Refused(
                f"The hub does not accept the token in HF_TOKEN (401), so it does not give {what}: the token is misspelt, "
                f"has expired or was revoked; put a new one with read access into HF_TOKEN, or take it out for what is public."
            )
        return _absent(code, status, what, with_token)
    if status == 403:
        whose = "the token in HF_TOKEN" if with_token else "somebody without a token"
        return Refused(
            f"The hub forbids {whose} to read {what} (403): it is private, or the token lacks the right to it; set HF_TOKEN "
            f"to a token with read access to it, from an account that may see it."
        )
    if status == 429:
        wait_s = _asked_to_wait(headers)
        when = f"in {wait_s:.0f} s" if wait_s else "in some minutes"
        return Refused(
            f"The hub says that too many requests came from here (429), so it does not give {what} now; try again {when}"
            f"{'' if with_token else ', or set HF_TOKEN, which is allowed more'}.",
            passing=True,
            wait_s=wait_s,
        )
    if status >= 500:
        return Refused(
            f"The hub has trouble of its own ({status}) and does not give {what}; try again in some minutes: nothing is wrong "
            f"here.",
            passing=True,
            wait_s=_asked_to_wait(headers),
        )
    return Refused(f"{host} answers a request for {what} with status {status}, which a hub does not; check HF_ENDPOINT.")


def _gated(what: str, with_token: bool) -> Refused:
    if with_token:
        return Refused(
            f"{_upper(what)} is gated, and the account of the token in HF_TOKEN is not let in: open its page on the hub with "
            f"that account, accept the licence, wait where the authors have to agree, and see that the token may read gated "
            f"repositories; then try again."
        )
    return Refused(
        f"{_upper(what)} is gated: open its page on the hub, log in, accept the licence, make a token with read access, and "
        f"set HF_TOKEN to it in the environment of this program; then try again."
    )


def _absent(code: str, status: int, what: str, with_token: bool) -> Refused:
    if code == "RevisionNotFound":
        return Refused(f"The hub has {what.partition(' at ')[0]}, but no such revision; check its spelling.")
    if code == "EntryNotFound":
        return Refused(f"The hub no longer has {what}; ask for another revision.")
    if with_token:
        may = "or it is private and the account of the token in HF_TOKEN may not see it"
    else:
        may = "or it is private, and then HF_TOKEN has to be set to a token of an account that may see it"
    said = f"The hub shows no {what.removeprefix('the ')} ({status}): check the spelling, {may}."
    return Refused(said, is_absent=status == 404 and with_token)


def _asked_to_wait(headers: Mapping[str, str]) -> float:
    """Seconds after which to ask again, or 0 where it does not say."""
    said = headers.get("retry-after", "").strip()
    if said.isdigit():
        return float(min(int(said[:6]), _MOST_WAIT_S))
    resets = _RESETS.search(headers.get("ratelimit", ""))
    return float(min(int(resets[1][:6]), _MOST_WAIT_S)) if resets else 0.0


def of_upload(status: int, what: str, host: str) -> Refused:
    """The sentence of an upload that the hub did not take.

    Args:
        status: of HTTP; 0 where there was none.
        what: should go there: "the model org/name".
        host: that was asked.
    """
    if status == 401:
        return Refused(
            f"The hub does not accept the token in HF_TOKEN (401), so {what} is not uploaded: it is misspelt, has expired or "
            f"was revoked; put a new one with the right to write into HF_TOKEN."
        )
    if status == 403:
        return Refused(
            f"The hub forbids the token in HF_TOKEN to write {what} (403): it may only read, or its account does not belong to "
            f"the owner named before the slash; set HF_TOKEN to a token with the right to write there."
        )
    if status == 409:
        return Refused(f"The hub has {what} meanwhile (409), so nothing was uploaded; look again what would go there.")
    if status == 429:
        return Refused(
            f"The hub says that too many requests came from here (429); push {what} again in some minutes.", passing=True
        )
    if status >= 500:
        return Refused(
            f"The hub has trouble of its own ({status}) and did not take {what}; push it again in some minutes: what came "
            f"whole is not sent twice.",
            passing=True,
        )
    return Refused(f"{host} answers the upload of {what} with status {status}, which a hub does not; check HF_ENDPOINT.")


def upload_cut(what: str, host: str) -> Refused:
    """The connection ended while something was sent."""
    return Refused(
        f"The connection to {host} ended while {what} was sent; check it and push again: what came whole is not sent twice.",
        passing=True,
    )


def silent(what: str, host: str, waited_s: float) -> Refused:
    """Nobody answered in time."""
    return Refused(
        f"{host} was asked for {what} and said nothing for {waited_s:.0f} s; check the connection, or try again later.",
        passing=True,
    )


def out_of_reach(what: str, host: str, why: str) -> Refused:
    """Nobody is there."""
    return Refused(
        f"The hub cannot be reached to get {what}: {host} does not answer ({why}); check the connection, the proxy and "
        f"HF_ENDPOINT, or use `starter` or a local folder.",
        passing=True,
    )


def is_web_page(what: str, host: str) -> Refused:
    """A page for people came instead: of a network that wants a login, or of a server that is no hub."""
    return Refused(
        f"{host} was asked for {what} and sent a web page instead: this network may want you to log in first (open any page "
        f"in a browser), or HF_ENDPOINT names no hub."
    )


def cut(what: str, done: str, size: str) -> Refused:
    """The connection ended before the file did, again and again."""
    return Refused(
        f"The transfer of {what} was cut at {done} of {size}, and did not go on; check the connection and run it again: it "
        f"goes on from there.",
        passing=True,
    )


def other_content(what: str, host: str) -> Refused:
    """What came is not what the hub lists."""
    return Refused(
        f"{host} sent something else as {what} than the hub lists (its checksum is another one), and it was thrown away; a "
        f"proxy or a mirror on the way changes or mixes up files: check HF_ENDPOINT and try again."
    )


def _upper(what: str) -> str:
    return f"The {what.removeprefix('the ')}" if what.startswith("the ") else what
