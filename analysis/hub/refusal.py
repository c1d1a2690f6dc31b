"""Error messages for failed requests to the Hub."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from huggingface_hub import constants

from analysis.core.errors import HubError

if TYPE_CHECKING:
    import httpx


def token() -> str:
    """Return HF_TOKEN from the environment, or "". No other token is used."""
    return os.environ.get("HF_TOKEN", "").strip()


@contextmanager
def explained(
    subject: str, action: Literal["request for", "download of", "upload of"] = "request for"
) -> Iterator[None]:
    """Convert the errors of a request to `HubError`s that name the fix.

    Args:
        subject: subject of the request: "the model org/name".
        action: kind of request.
    """
    import httpx
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    host = urlsplit(constants.ENDPOINT).hostname or constants.ENDPOINT
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise HubError(
            f"HF_HUB_OFFLINE blocks the {action} {subject}. Unset HF_HUB_OFFLINE to allow it."
        ) from error
    except HfHubHTTPError as error:
        raise _of_response(error.response, subject, action == "upload of") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = str(error).strip() or type(error).__name__
        raise HubError(
            f"The {action} {subject} failed: {host} does not answer ({reason}). Check the"
            " connection, the proxy and HF_ENDPOINT, and run it again: complete files are kept,"
            " and downloads resume where they stopped."
        ) from error
    except HFValidationError as error:
        raise HubError(
            f"The Hub cannot have {subject[:200]}. Check the spelling: an id looks like OWNER/NAME."
        ) from error
    except RuntimeError as error:
        if error.__cause__ is None:
            raise
        with explained(subject, action):
            raise error.__cause__ from error  # raised by the upload of a large file
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if action == "upload of":  # invalid file or model card
            raise HubError(
                f"The Hub rejects {subject}: {' '.join(str(error).split())[:200]}."
            ) from error
        raise HubError(
            f"{host} answered the request for {subject} in a form that the Hub does not use. Your"
            " network may require a login (open any page in a browser), or HF_ENDPOINT does not"
            " point to a Hub."
        ) from error


def _of_response(response: "httpx.Response", subject: str, is_upload: bool) -> HubError:
    status = response.status_code
    code = response.headers.get("x-error-code", "")
    failed = f"did not accept {subject}" if is_upload else f"did not send {subject}"
    if code == "GatedRepo":
        return HubError(
            f"The Hub {failed}, which is"
            f" gated{', for the account of the token in HF_TOKEN' if token() else ''}. Accept the"
            " licence on its Hub page, wait if the authors must approve, and set HF_TOKEN to a"
            " token of that account with read access to gated repositories. Then try again."
        )
    if not is_upload and (
        status == 404 or code in ("RepoNotFound", "RevisionNotFound", "EntryNotFound")
    ):
        return _absent(code, status, subject)
    if status == 401 and not token():
        return _absent(code, status, subject)
    if status in (401, 403):
        access = "write" if is_upload else "read"
        return HubError(
            f"The Hub denies {access} access to {subject}"
            f" {'with the token in HF_TOKEN' if token() else 'without a token'} ({status}). The"
            " token may be misspelled, expired, or of an account without this right. Set HF_TOKEN"
            f" to a token with {access} access there."
        )
    if status == 429 or status >= 500:
        problem = "received too many requests from here" if status == 429 else "has a server error"
        return HubError(f"The Hub {problem} ({status}) and {failed}. Try again in some minutes.")
    return HubError(
        f"{response.url.host} answered the request for {subject} with status {status}, which the"
        " Hub does not use. Check HF_ENDPOINT."
    )


def _absent(code: str, status: int, subject: str) -> HubError:
    if code == "RevisionNotFound":
        return HubError(
            f"The Hub has {subject.partition(' at ')[0]}, but not this revision. Check the spelling"
            " of the revision."
        )
    if code == "EntryNotFound":
        return HubError(f"The Hub no longer has {subject}. Choose another revision.")
    return HubError(
        f"The Hub shows no {subject.removeprefix('the ')} ({status}). Check the spelling. "
        "If it is private, set HF_TOKEN to a token of an account that may see it."
    )
