"""A provider of identities as OpenID Connect has it: discovery, a page to say who one is, codes,
signed tokens, an end.
"""

import base64
import contextlib
import hashlib
import secrets
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlencode

import uvicorn
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.support import browser

CLIENT, SECRET = "layerscope", "a-secret-between-both"
PEOPLE = {"Ada": "ada@example.org", "Bob": "Bob@Example.org", "Eve": "eve@elsewhere.org"}


class Provider:
    """Knows some people, who need no password."""

    def __init__(self, address: str) -> None:
        self.address, self.key = (
            address,
            RSAKey.generate_key(2048, {"kid": "1", "use": "sig", "alg": "RS256"}),
        )
        self.asked: dict[str, dict[str, str]] = {}
        """The parameters of the request for each code that was given out."""
        self.ended: list[dict[str, str]] = []
        """The parameters of each end of a session."""

    def discovery(self, _: Request) -> Response:
        paths = {"authorization": "authorize", "token": "token", "end_session": "end"}
        return JSONResponse(
            {
                "issuer": self.address,
                "jwks_uri": f"{self.address}/jwks",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                **{f"{name}_endpoint": f"{self.address}/{path}" for name, path in paths.items()},
            }
        )

    def jwks(self, _: Request) -> Response:
        return JSONResponse({"keys": [self.key.as_dict(private=False)]})

    def authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        assert (asked["client_id"], asked["response_type"]) == (CLIENT, "code")
        who = asked.pop("who", None)
        if who is None:
            links = [
                f'<p><a href="?{urlencode({**asked, "who": name})}">I am {name}</a></p>'
                for name in PEOPLE
            ]
            return HTMLResponse(
                f"<!doctype html><title>Who are you?</title>{''.join(links)}".replace("&", "&amp;")
            )
        code = secrets.token_urlsafe()
        self.asked[code] = {**asked, "who": who}
        return RedirectResponse(
            f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"
        )

    async def token(self, request: Request) -> Response:
        form = await request.form()
        kind, _, said = request.headers["authorization"].partition(" ")
        asked = self.asked.pop(str(form["code"]))  # a code is good once
        assert (kind, base64.b64decode(said).decode()) == ("Basic", f"{CLIENT}:{SECRET}")
        assert (form["grant_type"], form["redirect_uri"]) == (
            "authorization_code",
            asked["redirect_uri"],
        )
        if "code_challenge" in asked:
            known = hashlib.sha256(str(form["code_verifier"]).encode()).digest()
            assert base64.urlsafe_b64encode(known).rstrip(b"=").decode() == asked["code_challenge"]
        now, who = int(time.time()), asked["who"]
        claims = {
            "iss": self.address,
            "sub": who,
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            "nonce": asked.get("nonce"),
            "name": who,
            "email": PEOPLE[who],
            "email_verified": True,
        }
        signed = jwt.encode({"alg": "RS256", "kid": "1"}, claims, self.key)
        return JSONResponse(
            {"access_token": secrets.token_urlsafe(), "token_type": "Bearer", "id_token": signed}
        )

    def end(self, request: Request) -> Response:
        self.ended.append(dict(request.query_params))
        return RedirectResponse(self.ended[-1]["post_logout_redirect_uri"])


@contextlib.contextmanager
def running() -> Iterator[Provider]:
    """One that answers on a free port of this machine."""
    port = browser.free_port()
    provider = Provider(f"http://127.0.0.1:{port}")
    names = {
        "/.well-known/openid-configuration": provider.discovery,
        "/jwks": provider.jwks,
        "/end": provider.end,
    }
    routes = [
        Route(path, answer) for path, answer in {**names, "/authorize": provider.authorize}.items()
    ]
    app = Starlette(routes=[*routes, Route("/token", provider.token, methods=["POST"])])
    server = uvicorn.Server(
        uvicorn.Config(app, "127.0.0.1", port, log_level="warning", lifespan="off")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.05)
        yield provider
    finally:
        server.should_exit = True
        thread.join(10)
