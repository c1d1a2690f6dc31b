"""Start nginx and Caddy with the files of docs/deploy in front of a dashboard, with a certificate
for one day.
"""

import contextlib
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.browser import REPOSITORY, free_port

HOST = "layers.example.org"
"""The files' name of the machine; browsers resolve it to this one."""
MINE = f"MAP {HOST} 127.0.0.1"
_LOG = re.compile(r"/var/log/nginx/(\w+\.log)")
_START_S = 20


def text(name: str) -> str:
    """A file of docs/deploy."""
    return (REPOSITORY / "docs" / "deploy" / name).read_text()


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate that it signs itself, and its key."""
    signed, key = folder / "cert.pem", folder / "key.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "1",
        "-subj",
        f"/CN={HOST}",
    ]
    names = ["-addext", f"subjectAltName=DNS:{HOST}", "-keyout", str(key), "-out", str(signed)]
    subprocess.run([*command, *names], check=True, capture_output=True)
    return signed, key


def put(written: str, *changes: tuple[str, str]) -> str:
    """A text with each of these, which it must have, replaced."""
    for old, new in changes:
        assert old in written, f"{old!r} is not in the file of docs/deploy"
        written = written.replace(old, new)
    return written


@contextlib.contextmanager
def before(name: str, dashboard: str, folder: Path) -> Iterator[str]:
    """Stand `nginx` or `caddy` before a dashboard, both on the loopback; its address by the name of
    the page.

    Args:
        name: which.
        dashboard: the dashboard's address.
        folder: of the proxy's own files.
    """
    program = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if program is None or shutil.which("openssl") is None:
        pytest.skip(
            f"{name} and openssl are not both installed; `apt-get install {name} openssl` to try"
            " the files of docs/deploy."
        )
    port = free_port()
    command = [
        program,
        *{"nginx": _nginx, "caddy": _caddy}[name](folder, port, dashboard.removeprefix("http://")),
    ]
    log = folder / "proxy.log"
    environment = {
        "HOME": str(folder),
        "XDG_DATA_HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
        "PATH": "/usr/bin:/bin",
    }
    with log.open("wb") as output:
        proxy = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
        )
    try:
        _wait(port, proxy, log)
        yield f"https://{HOST}:{port}"
    finally:
        proxy.terminate()
        proxy.wait(20)


def _nginx(folder: Path, port: int, dashboard: str) -> list[str]:
    signed, key = certificate(folder)
    site = put(
        text("nginx.conf"),
        ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
        (f"/etc/ssl/{HOST}.pem", str(signed)),
        (f"/etc/ssl/{HOST}.key", str(key)),
        ("127.0.0.1:8501", dashboard),
    )
    site = _LOG.sub(lambda found: str(folder / found[1]), site)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    own = "\n".join(f"{kind}_temp_path {folder / kind};" for kind in kinds)
    settings = folder / "nginx.conf"
    # One process, of the user who runs the tests.
    settings.write_text(
        f"daemon off;\nmaster_process off;\npid {folder / 'nginx.pid'};\nerror_log stderr;\nevents"
        f" {{}}\nhttp {{\naccess_log {folder / 'all.log'};\n{own}\n{site}\n}}\n"
    )
    return ["-p", str(folder), "-c", str(settings), "-e", "stderr"]


def _caddy(folder: Path, port: int, dashboard: str) -> list[str]:
    signed, key = certificate(folder)
    here = f"{HOST}:{port} {{\n    bind 127.0.0.1\n    tls {signed} {key}"
    site = put(text("Caddyfile"), (f"{HOST} {{", here), ("127.0.0.1:8501", dashboard))
    settings = folder / "Caddyfile"
    settings.write_text(f"{{\n    admin off\n    auto_https disable_redirects\n}}\n{site}")
    return ["run", "--config", str(settings), "--adapter", "caddyfile"]


def _wait(port: int, proxy: subprocess.Popen, log: Path) -> None:
    began = time.monotonic()
    while time.monotonic() - began < _START_S and proxy.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2):
            return
        time.sleep(0.1)
    pytest.fail(f"The proxy did not start:\n{log.read_text()}")
