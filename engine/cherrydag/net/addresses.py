"""Where a node listens, how far that can be reached from, and with whom it is counted."""

from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, NamedTuple

_IPV4_PREFIX: Final = bytes(10) + b"\xff\xff"
_GROUP_BYTES_4, _GROUP_BYTES_6 = 2, 4  # /16 and /32


class Address(NamedTuple):
    """Where a node listens. host: 16 bytes, IPv6 or IPv4 mapped into it. All zero: it does not listen."""

    host: bytes
    port: int

    @classmethod
    def of(cls, host: str, port: int) -> "Address":
        """From an IP address as text. ValueError if it is none."""
        packed = ip_address(host).packed
        return cls(packed if len(packed) == 16 else _IPV4_PREFIX + packed, port)

    @property
    def ip(self) -> IPv4Address | IPv6Address:
        """The address without its port, not mapped."""
        mapped = self.host.startswith(_IPV4_PREFIX)
        return ip_address(self.host[12:] if mapped else self.host)

    @property
    def text(self) -> str:
        """The IP address as text."""
        return str(self.ip)


NOWHERE: Final = Address(bytes(16), 0)
"""The address of a node that does not listen."""


class Place(NamedTuple):
    """Where a node may be dialled. host: an IP address or a name."""

    host: str
    port: int


class Scope(IntEnum):
    """From where an address can be reached."""

    HOST = 0
    """From the same machine."""
    NEAR = 1
    """From the same private network."""
    WORLD = 2
    """From everywhere."""


def scope_of(address: Address) -> Scope:
    """From where this address can be reached."""
    ip = address.ip
    if ip.is_loopback:
        return Scope.HOST
    return Scope.WORLD if ip.is_global else Scope.NEAR


def group_of(address: Address) -> bytes:
    """Whose addresses are counted together, since one owner gets many of them cheaply: a /16 of IPv4, a /32
    of IPv6. Within a machine or a private network each host and port counts for itself."""
    if scope_of(address) is not Scope.WORLD:
        return address.host + address.port.to_bytes(2, "big")
    packed = address.ip.packed
    return packed[: _GROUP_BYTES_4 if len(packed) == 4 else _GROUP_BYTES_6]
