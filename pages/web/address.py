"""The address of this server."""

from ipaddress import ip_address

from streamlit import config


def base_path() -> str:
    """Return the path that all addresses of this server begin with, with a slash at both ends."""
    base = (config.get_option("server.baseUrlPath") or "").strip("/")
    return f"/{base}/" if base else "/"


def server_url(host: str) -> str:
    """Return the address of this server under a host name, with the slash at its end."""
    scheme = "https" if config.get_option("server.sslCertFile") else "http"
    return f"{scheme}://{host}:{config.get_option('server.port')}{base_path()}"


def server_address() -> str:
    """Return the address that the server listens on."""
    return config.get_option("server.address") or "0.0.0.0"  # Streamlit's default


def is_local(host: str) -> bool:
    """Return whether a name or an address is that of the machine itself, without asking a name server."""
    try:
        ip = ip_address(host.partition("%")[0])
    except ValueError:
        return host.lower() == "localhost"
    return (getattr(ip, "ipv4_mapped", None) or ip).is_loopback
