"""A reverse proxy of thirty lines: the work of nginx or Caddy before the dashboard, without TLS."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

ADDED = "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\n"


@contextlib.contextmanager
def before(address: str) -> Iterator[str]:
    """Stand before the server at this address; the proxy's own address."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    serving = asyncio.run_coroutine_threadsafe(_listen(urlsplit(address).port), loop).result(10)
    try:
        yield f"http://127.0.0.1:{serving.sockets[0].getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


async def _listen(port: int) -> asyncio.Server:
    async def pass_on(client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await client.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, _, rest = head.partition("\r\n")
            if "upgrade: websocket" not in head.lower():  # one request for each connection is enough here
                lines = [line for line in rest.split("\r\n") if not line.lower().startswith("connection:")]
                rest = "\r\n".join(["Connection: close", *lines])
            server, request = await asyncio.open_connection("127.0.0.1", port)
            request.write(f"{first}\r\n{ADDED}{rest}".encode("latin-1"))
            await asyncio.gather(_copy(client, request), _copy(server, answer))

    return await asyncio.start_server(pass_on, "127.0.0.1", 0)


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await source.read(65536):
            target.write(chunk)
            await target.drain()
    with contextlib.suppress(OSError):
        target.close()
