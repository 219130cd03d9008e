"""Which addresses are public: the ranges are written out, since `ipaddress.is_global` errs."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

Address = IPv4Address | IPv6Address

_DENIED_V4 = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_GLOBAL_UNICAST_V6 = ip_network("2000::/3")
_DENIED_V6 = tuple(
    ip_network(text)
    for text in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
)
_NAT64 = ip_network("64:ff9b::/96")
_LOW_32 = 0xFFFFFFFF


def plain(address: Address) -> Address:
    """An IPv4-mapped IPv6 address as the IPv4 address that the kernel connects to."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def is_public(address: Address) -> bool:
    """Whether anybody on the internet may be reached there.

    Of IPv6 only global unicast is, so every older way to embed IPv4 (compatible, translated, local
    NAT64) is out; 6to4 and Teredo are denied by range, and NAT64 is judged by what it leads to.
    """
    address = plain(address)
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _DENIED_V4)
    if address.scope_id is not None:
        return False
    if address in _NAT64:
        return is_public(IPv4Address(int(address) & _LOW_32))
    return address in _GLOBAL_UNICAST_V6 and not any(address in net for net in _DENIED_V6)
