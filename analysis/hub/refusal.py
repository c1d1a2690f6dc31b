"""Error messages of the Hub: what is wrong, and the fix."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from huggingface_hub import constants

from analysis.core.errors import HubError

if TYPE_CHECKING:
    import httpx


class Refused(HubError):
    """The Hub's error in place of an answer, or that of a server that answered for it."""

    def __init__(self, message: str, *, is_absent: bool = False) -> None:
        """Create the error.

        Args:
            message: for people.
            is_absent: whether the Hub has no such repository that this token may see.
        """
        super().__init__(message)
        self.is_absent = is_absent


def token() -> str:
    """Return HF_TOKEN of the environment, or "". No other token is used."""
    return os.environ.get("HF_TOKEN", "").strip()


@contextmanager
def explained(subject: str, action: Literal["request for", "download of", "upload of"] = "request for") -> Iterator[None]:
    """Turn the errors of a request in the body into `Refused`: those of huggingface_hub name the request and no fix.

    Args:
        subject: of the request: "the model org/name".
        action: the kind of request.
    """
    import httpx
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    host = urlsplit(constants.ENDPOINT).hostname or constants.ENDPOINT
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise Refused(f"HF_HUB_OFFLINE blocks the {action} {subject}. Unset HF_HUB_OFFLINE to allow it.") from error
    except HfHubHTTPError as error:
        raise _of_response(error.response, subject, action == "upload of") from error
    except httpx.TimeoutException as error:
        raise Refused(
            f"{host} did not answer the {action} {subject} within {constants.HF_HUB_ETAG_TIMEOUT} s. Check the "
            "connection, or try again later."
        ) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = str(error).strip() or type(error).__name__
        if action == "request for" or isinstance(error, httpx.ConnectError):
            raise Refused(
                f"The Hub cannot be reached for {subject}: {host} does not answer ({reason}). Check the connection, the proxy "
                "and HF_ENDPOINT, or use `starter` or a local folder."
            ) from error
        kept = "It resumes where it stopped" if action == "download of" else "Files that arrived completely are not sent twice"
        raise Refused(
            f"The connection to {host} ended during the {action} {subject} ({reason}). Check the connection and run it again. "
            f"{kept}."
        ) from error
    except HFValidationError as error:
        raise Refused(f"The Hub cannot have {subject[:200]}. Check the spelling: an id looks like OWNER/NAME.") from error
    except RuntimeError as error:
        if error.__cause__ is None:
            raise
        with explained(subject, action):
            raise error.__cause__ from error  # of the upload of a large file
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if action == "upload of":  # objections to a file or the card
            raise Refused(f"The Hub rejects {subject}: {' '.join(str(error).split())[:200]}.") from error
        raise Refused(
            f"{host} answered the request for {subject} in a form that the Hub does not use. Your network may require a login "
            "(open any page in a browser), or HF_ENDPOINT does not point to a Hub."
        ) from error


def _of_response(response: "httpx.Response", subject: str, is_upload: bool) -> Refused:
    status, code = response.status_code, response.headers.get("x-error-code", "")
    failed = f"did not accept {subject}" if is_upload else f"did not send {subject}"
    if code == "GatedRepo":
        return Refused(
            f"The Hub {failed}, which is gated{', for the account of the token in HF_TOKEN' if token() else ''}. Accept the "
            "licence on its Hub page, wait if the authors must approve, and set HF_TOKEN to a token of that account with read "
            "access to gated repositories. Then try again."
        )
    if not is_upload and (status == 404 or code in ("RepoNotFound", "RevisionNotFound", "EntryNotFound")):
        return _absent(code, status, subject)
    if status == 401:
        if not token():
            return _absent(code, status, subject)
        fix = (
            "write access into HF_TOKEN" if is_upload else "read access into HF_TOKEN, or unset it to read public repositories"
        )
        return Refused(
            f"The Hub rejected the token in HF_TOKEN (401) and {failed}. The token is misspelled, expired or revoked. Put a "
            f"new token with {fix}."
        )
    if status == 403 and is_upload:
        return Refused(
            f"The token in HF_TOKEN may not write {subject} (403). It is read-only, or its account does not belong "
            "to the owner named before the slash. Set HF_TOKEN to a token with write access there."
        )
    if status == 403:
        return Refused(
            f"The Hub denies access to {subject} {'with the token in HF_TOKEN' if token() else 'without a token'} (403). It is "
            "private, or the token lacks the right. Set HF_TOKEN to a token with read access from an account that may see it."
        )
    if status == 429:
        return Refused(
            f"The Hub received too many requests from here (429) and {failed}. Try again in some minutes"
            f"{'' if token() else ', or set HF_TOKEN for a higher limit'}."
        )
    if status >= 500:
        return Refused(
            f"The Hub has a server error ({status}) and {failed}. Nothing is wrong on your side. Try again in some minutes."
        )
    return Refused(
        f"{response.url.host} answered the request for {subject} with status {status}, which the Hub does not use. "
        "Check HF_ENDPOINT."
    )


def _absent(code: str, status: int, subject: str) -> Refused:
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
    return Refused(message, is_absent=status == 404 and bool(token()))
