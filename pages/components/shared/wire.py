"""How answers leave the server: at once."""

import contextlib
import os
import socket
from collections.abc import AsyncIterator

import psutil
import streamlit as st

from pages.components.shared import limits


def send_at_once() -> None:
    """Let the listening sockets of this process send every part of an answer at once.

    The server writes the head of an answer and its body one after the other. By default the second waits for the other end to
    acknowledge the first. That takes up to 0.04 s, for each of the hundred files of a page. asyncio sets this for sockets
    that it makes itself. Streamlit makes its own.
    """
    for place in psutil.Process().net_connections("tcp"):
        if place.status == psutil.CONN_LISTEN and place.fd >= 0:
            with socket.socket(fileno=os.dup(place.fd)) as listening:
                listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


@contextlib.asynccontextmanager
async def lifespan(_app: st.App) -> AsyncIterator[None]:
    """Set up the server of the dashboard before its first answer."""
    send_at_once()
    limits.check()
    yield
