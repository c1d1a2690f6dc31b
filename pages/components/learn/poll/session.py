"""The poll that is open, if one is: one for the whole dashboard, so that it survives a reload of the teacher's page."""

import ipaddress
import socket

import psutil
from streamlit import config

from analysis.core import serving
from pages.components.learn.poll.ballot import Ballot
from pages.web.address import base_path, is_local, server_address, server_url

_open: Ballot | None = None


def current() -> Ballot | None:
    """The poll that is open; None without one."""
    return _open if _open is not None and not _open.is_over else None


def begin() -> None:
    """Open a poll unless one is open."""
    global _open
    _open = current() or Ballot()


def end() -> None:
    """Close the poll; phones show that it is over."""
    global _open
    _open = None


def addresses() -> list[str]:
    """The addresses of the poll's page for phones, best first; none where they cannot reach this server."""
    if config.is_manually_set("browser.serverAddress"):
        host = str(config.get_option("browser.serverAddress"))
        behind_proxy = bool(serving.read(shared=True).proxies)
        return [f"https://{host}{base_path()}poll" if behind_proxy else f"{server_url(host)}poll"]
    server = server_address()
    hosts = _hosts() if server in ("0.0.0.0", "::") else [] if is_local(server) else [server]
    return [f"{server_url(host)}poll" for host in hosts]


def _hosts() -> list[str]:
    """This computer's addresses in networks."""
    up = {name for name, status in psutil.net_if_stats().items() if status.isup}
    entries = [entry for name, own in psutil.net_if_addrs().items() if name in up for entry in own]
    known = [ipaddress.ip_address(entry.address) for entry in entries if entry.family == socket.AF_INET]
    return [str(address) for address in known if not (address.is_loopback or address.is_link_local)]
