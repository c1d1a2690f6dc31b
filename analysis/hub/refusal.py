"""Reasons why the Hub refused a request: each a sentence of its own that names the fix.

Source of the statuses and headers: the ones that huggingface_hub 1.33 reads in answers (`utils/_http.py`).
"""

import re
from collections.abc import Mapping

from analysis.core.errors import HubError

_RESETS = re.compile(r";\s*t\s*=\s*(\d+)")
_MOST_WAIT_S = 3600


class Refused(HubError):
    """The Hub's error in place of an answer, or that of a server that answered for it."""

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


def of_status(status: int, headers: Mapping[str, str], subject: str, host: str, *, with_token: bool) -> Refused:
    """The sentence of an answer that is none.

    Args:
        status: of HTTP.
        headers: of the answer.
        subject: of the request: "the model org/name".
        host: that was asked.
        with_token: whether HF_TOKEN was sent.
    """
    code = headers.get("x-error-code", "")
    if code == "GatedRepo":
        return _gated(subject, with_token)
    if status == 404 or code in ("RepoNotFound", "RevisionNotFound", "EntryNotFound"):
        return _absent(code, status, subject, with_token)
    if status == 401:
        if with_token:
            return Refused(
                f"The Hub rejected the token in HF_TOKEN (401) and did not send {subject}. The token is misspelled, "
                "expired or revoked. Put a new token with read access into HF_TOKEN, or unset HF_TOKEN to read "
                "public repositories."
            )
        return _absent(code, status, subject, with_token)
    if status == 403:
        token_use = "with the token in HF_TOKEN" if with_token else "without a token"
        return Refused(
            f"The Hub denies access to {subject} {token_use} (403). It is private, or the token lacks the right. Set "
            "HF_TOKEN to a token with read access from an account that may see it."
        )
    if status == 429:
        wait_s = _asked_to_wait(headers)
        retry_at = f"in {wait_s:.0f} s" if wait_s else "in some minutes"
        return Refused(
            f"The Hub received too many requests from here (429) and did not send {subject}. Try again "
            f"{retry_at}{'' if with_token else ', or set HF_TOKEN for a higher limit'}.",
            passing=True,
            wait_s=wait_s,
        )
    if status >= 500:
        return Refused(
            f"The Hub has a server error ({status}) and did not send {subject}. Nothing is wrong on your side. Try "
            "again in some minutes.",
            passing=True,
            wait_s=_asked_to_wait(headers),
        )
    return Refused(
        f"{host} answered the request for {subject} with status {status}, which the Hub does not use. Check HF_ENDPOINT."
    )


def _gated(subject: str, with_token: bool) -> Refused:
    if with_token:
        return Refused(
            f"{_upper(subject)} is gated, and the account of the token in HF_TOKEN has no access. Accept the licence "
            "on its Hub page with that account, and wait if the authors must approve. Check that the token may "
            "read gated repositories, then try again."
        )
    return Refused(
        f"{_upper(subject)} is gated. Log in on its Hub page, accept the licence, and create a token with read "
        "access. Set HF_TOKEN to that token in the environment of this program, then try again."
    )


def _absent(code: str, status: int, subject: str, with_token: bool) -> Refused:
    if code == "RevisionNotFound":
        return Refused(
            f"The Hub has {subject.partition(' at ')[0]}, but not this revision. Check the spelling of the revision."
        )
    if code == "EntryNotFound":
        return Refused(f"The Hub no longer has {subject}. Choose another revision.")
    message = (
        f"The Hub shows no {subject.removeprefix('the ')} ({status}). Check the spelling. "
        "If it is private, set HF_TOKEN to a token of an account that may see it."
    )
    return Refused(message, is_absent=status == 404 and with_token)


def _asked_to_wait(headers: Mapping[str, str]) -> float:
    """Seconds after which to ask again, or 0 where it does not say."""
    header = headers.get("retry-after", "").strip()
    if header.isdigit():
        return float(min(int(header[:6]), _MOST_WAIT_S))
    resets = _RESETS.search(headers.get("ratelimit", ""))
    return float(min(int(resets[1][:6]), _MOST_WAIT_S)) if resets else 0.0


def of_upload(status: int, subject: str, host: str) -> Refused:
    """The sentence of an upload that the hub did not take.

    Args:
        status: of HTTP; 0 where there was none.
        subject: of the upload: "the model org/name".
        host: that was asked.
    """
    if status == 401:
        return Refused(
            f"The Hub rejected the token in HF_TOKEN (401), so {subject} was not uploaded. The token is misspelled, "
            "expired or revoked. Put a new token with write access into HF_TOKEN."
        )
    if status == 403:
        return Refused(
            f"The token in HF_TOKEN may not write {subject} (403). It is read-only, or its account does not belong "
            "to the owner named before the slash. Set HF_TOKEN to a token with write access there."
        )
    if status == 409:
        return Refused(f"The Hub already has {subject} (409), so nothing was uploaded. Preview the upload again.")
    if status == 429:
        return Refused(
            f"The Hub received too many requests from here (429). Push {subject} again in some minutes.", passing=True
        )
    if status >= 500:
        return Refused(
            f"The Hub has a server error ({status}) and did not accept {subject}. Push it again in some minutes. "
            "Files that arrived completely are not sent twice.",
            passing=True,
        )
    return Refused(
        f"{host} answered the upload of {subject} with status {status}, which the Hub does not use. Check HF_ENDPOINT."
    )


def upload_cut(subject: str, host: str) -> Refused:
    """The connection ended while something was sent."""
    return Refused(
        f"The connection to {host} ended during the upload of {subject}. Check the connection and push again. "
        "Files that arrived completely are not sent twice.",
        passing=True,
    )


def silent(subject: str, host: str, waited_s: float) -> Refused:
    """Nobody answered in time."""
    return Refused(
        f"{host} did not answer the request for {subject} within {waited_s:.0f} s. Check the connection, or try again later.",
        passing=True,
    )


def out_of_reach(subject: str, host: str, reason: str) -> Refused:
    """Nobody is there."""
    return Refused(
        f"The Hub cannot be reached for {subject}: {host} does not answer ({reason}). Check the connection, the "
        "proxy and HF_ENDPOINT, or use `starter` or a local folder.",
        passing=True,
    )


def is_web_page(subject: str, host: str) -> Refused:
    """A page for people came instead: of a network that wants a login, or of a server that is no hub."""
    return Refused(
        f"{host} sent a web page in place of {subject}. Your network may require a login (open any page in a "
        "browser), or HF_ENDPOINT does not point to a Hub."
    )


def cut(subject: str, done: str, size: str) -> Refused:
    """The connection ended before the file did, again and again."""
    return Refused(
        f"The download of {subject} stopped at {done} of {size}. Check the connection and run it again. It resumes from there.",
        passing=True,
    )


def other_content(subject: str, host: str) -> Refused:
    """Return the error for content that differs from the Hub's list."""
    return Refused(
        f"{host} sent {subject} with a checksum that differs from the Hub's list, so the file was deleted. A "
        "proxy or a mirror may have changed it. Check HF_ENDPOINT and try again."
    )


def _upper(subject: str) -> str:
    return f"The {subject.removeprefix('the ')}" if subject.startswith("the ") else subject
