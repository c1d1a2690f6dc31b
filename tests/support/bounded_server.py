"""A server with the bounds of the dashboard in front of a small app and an open poll.

`python -m tests.support.bounded_server GIVEN PORT`, where GIVEN is JSON: `settings` of `Serving`,
`options` of uvicorn, and `times` of `pages.web.connections` and of the poll.
"""

import json
import sys

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from analysis.core.serving import Serving
from pages.components.learn import phone
from pages.web import connections, start


async def seen(request: Request) -> Response:
    """Read the body, and say who sent it."""
    n_bytes = len(await request.body())
    return JSONResponse(
        {"client": request.client.host, "scheme": request.url.scheme, "bytes": n_bytes}
    )


async def echo(websocket: WebSocket) -> None:
    """Send every message back."""
    await websocket.accept()
    async for message in websocket.iter_text():
        await websocket.send_text(message)


if __name__ == "__main__":
    given, port = json.loads(sys.argv[1]), int(sys.argv[2])
    for name, value in given["times"].items():
        setattr(phone if hasattr(phone, name) else connections, name, value)
    phone.begin()
    app = Starlette(
        routes=[
            *phone.routes(),
            Route("/", seen, methods=["GET", "PUT"]),
            WebSocketRoute("/", echo),
        ]
    )
    start.serve(app, Serving(**given["settings"]), host="127.0.0.1", port=port, **given["options"])
