"""Start the dashboard with uvicorn: `python -m pages.web.start [ENTRY] [options of Streamlit]`.

`streamlit run` passes no options on to uvicorn, so it can only serve this machine, or stand behind
a host's own proxy. This start takes Streamlit's options as flags or as environment variables, as
`streamlit run` does.
"""

import asyncio
import contextlib
import logging
import runpy
import sys
from typing import Any

import click
import uvicorn
from starlette.types import ASGIApp
from streamlit import config
from streamlit.web import bootstrap, cli
from streamlit.web.server import server_util

from analysis.core import serving
from analysis.core.serving import Serving
from pages.web import connections
from pages.web.connections import AddressLimit, Bounds
from pages.web.visitors import server_address, server_url

SHARE_OF_ONE = 5
"""One address can have one in so many connections in use."""
WINDOW_FILES = 4
"""Open files of a window: its web socket, and the event loop of the thread that draws it."""
SPARE_FILES = 200
"""Open files left for everything else."""
MESSAGE_BYTES = 4 << 20
"""Maximum size of a message over a web socket: the states of all fields of a page."""
_WANTED_FILES = 8192
_CACHE_LOG = "streamlit.runtime.caching.cache_data_api"
_EARLY = "No runtime found"
"""Logger and message on cached functions that are imported before the server runs, as those of
pages are."""


@click.command()
@click.argument("entry", default="app.py")
@cli.configurator_options
def start(entry: str, **options: Any) -> None:
    """Start the dashboard of ENTRY, a file whose `app` is a `st.App`."""
    bootstrap.load_config_options(options)
    logging.getLogger(_CACHE_LOG).addFilter(lambda record: _EARLY not in record.getMessage())
    connections.is_bounded = True
    app = runpy.run_path(entry)["app"]
    sys.stdout.write(
        f"Layerscope: {server_url(server_util.get_display_address(server_address()))}\n"
    )
    sys.stdout.flush()
    serve(
        app,
        serving.read(shared=True),
        host=server_address(),
        port=config.get_option("server.port"),
        ssl_certfile=config.get_option("server.sslCertFile"),
        ssl_keyfile=config.get_option("server.sslKeyFile"),
    )


def serve(app: ASGIApp, settings: Serving, **options: Any) -> None:
    """Run the server until it is stopped.

    Args:
        app: the dashboard.
        settings: with the maximum number of connections and the proxies.
        options: of `uvicorn.Config`, such as the address.

    Raises:
        SystemExit: when it cannot start.
    """
    most = max_connections(settings)
    bounds = Bounds(most)
    server = uvicorn.Server(
        uvicorn.Config(
            AddressLimit(app, max(1, most // SHARE_OF_ONE)),
            http=bounds.protocol(),
            ws="websockets-sansio",
            ws_max_size=MESSAGE_BYTES,
            ws_per_message_deflate=False,
            forwarded_allow_ips=list(settings.proxies),
            backlog=128,
            log_level="error",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=5,
            **options,
        )
    )
    connections.limit_log()

    async def run() -> None:
        watch = asyncio.create_task(bounds.watch(server.server_state.connections))
        await server.serve()
        watch.cancel()

    try:
        asyncio.run(run())
    finally:
        if not server.started:
            sys.stderr.write(
                "The dashboard did not start. If another program uses the port, choose another one"
                " with --port.\n"
            )


def max_connections(settings: Serving) -> int:
    """Return the maximum number of connections, so that the files of as many windows can be
    open.
    """
    return min(
        settings.connections, max(SHARE_OF_ONE, (file_limit() - SPARE_FILES) // WINDOW_FILES)
    )


def file_limit() -> int:
    """Return the number of files that this process can have open, raised as far as it can raise it
    itself.
    """
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # not on Windows

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY and soft < _WANTED_FILES:
            soft = _WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, _WANTED_FILES)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return soft if soft != resource.RLIM_INFINITY else _WANTED_FILES
    return _WANTED_FILES


if __name__ == "__main__":
    start()
