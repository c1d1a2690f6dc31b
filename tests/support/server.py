"""Dashboards as processes of their own, on the loopback, and a visitor who reads their messages."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import websockets
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

_REPOSITORY = Path(__file__).resolve().parents[2]
APP = (sys.executable, "-m", "analysis", "dashboard", "--port")
"""The dashboard as people start it; the port comes last."""


@contextlib.contextmanager
def running(command: Sequence[str], cache: Path) -> Iterator[tuple[subprocess.Popen, int]]:
    """A server on a cache folder, which is killed at the end; its process and its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (cache / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, str(port)],
            cwd=_REPOSITORY,
            env={**os.environ, "LAYERSCOPE_CACHE": str(cache)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield process, port
    finally:
        process.kill()
        process.wait(10)


def visit(port: int, until: Callable[[str], bool]) -> str:
    """Open a page as a browser does, and read the server's messages until `until(text)`; returns
    the text so far.
    """

    async def read() -> str:
        text = ""
        while True:
            with contextlib.suppress(OSError):
                async with websockets.connect(
                    f"ws://127.0.0.1:{port}/_stcore/stream", subprotocols=["streamlit"]
                ) as socket:
                    ask = BackMsg()
                    ask.rerun_script.query_string = ""
                    await socket.send(ask.SerializeToString())
                    while not until(text):
                        message = ForwardMsg()
                        message.ParseFromString(await socket.recv())
                        text += str(message)
                    return text
            await asyncio.sleep(0.2)

    return asyncio.run(asyncio.wait_for(read(), 80))
