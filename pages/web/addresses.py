"""Networks of visitors' addresses, by which connections, runs of pages and answers are limited."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Network, ip_address

_IPV6_PREFIX = 64
"""Prefix length of the smallest IPv6 network that one customer gets, who can use all of its
addresses."""


def network_of(address: str) -> str:
    """Return the network of an address, which counts as one visitor.

    An IPv6 address belongs to its /64 network, and an IPv4-mapped one is the IPv4 address. An IPv4
    address or a text of another form is returned unchanged.
    """
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, IPv4Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(IPv6Network((ip, _IPV6_PREFIX), strict=False))


def network_of_client(client: Sequence[str | int] | None) -> str:
    """Return the network of a client as ASGI names it: address and port, or None if unknown."""
    return network_of(str(client[0])) if client else ""
