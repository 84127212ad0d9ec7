"""Who may take up a socket, a handshake or a place among the peers.

Before the handshake only an address is known: the pending ones are bounded, a network prefix gets so many a
second, and a part is kept for the addresses of validators. After it the key is known: validators always have
a place, others while there is one.
"""

from collections import OrderedDict
from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

from cherrydag.primitives import PublicKey

_ONE = 1000  # credit of one handshake


class AdmissionLimits(NamedTuple):
    """Bounds on who connects; ours are never counted.

    pending_max: handshakes under way. pending_reserved: of those, for validators' addresses.
    prefix_rate: handshakes a second, and at once, of one /24 of IPv4 or /48 of IPv6. prefixes_max: prefixes
    remembered. others_max: peers that are no validators. bans_max: bans remembered.
    """

    pending_max: int = 64
    pending_reserved: int = 16
    prefix_rate: int = 10
    prefixes_max: int = 4096
    others_max: int = 64
    bans_max: int = 4096


class Admission:
    """The counts and memory behind the bounds. now_ms never sinks."""

    def __init__(self, limits: AdmissionLimits | None = None) -> None:
        self._limits = limits or AdmissionLimits()
        self._reserved: frozenset[str] = frozenset()
        self._credits: OrderedDict[bytes, tuple[int, int]] = OrderedDict()
        self._bans: dict[bytes, int] = {}
        self.refused = 0
        """Sockets closed before a handshake."""

    def set_reserved(self, hosts: Iterable[str]) -> None:
        """Whence validators are expected: addresses, or names, which nobody comes from."""
        self._reserved = frozenset(map(plain, hosts))

    def admits_socket(self, host: str, pending: int, now_ms: int) -> bool:
        """Whether a new socket from this address may start its handshake beside `pending` others."""
        limits = self._limits
        is_expected = host in self._reserved
        room = limits.pending_max - (0 if is_expected else limits.pending_reserved)
        admitted = (
            pending < room
            and not self._is_banned(host.encode(), now_ms)
            and (is_expected or self._has_credit(prefix(host), now_ms))
        )
        self.refused += not admitted
        return admitted

    def admits_peer(self, others: int) -> bool:
        """Whether one more peer that is no validator may stay beside `others`."""
        return others < self._limits.others_max

    # Bans

    def ban(self, key: PublicKey, host: str | None, until_ms: int) -> None:
        """Refuse a key, and an address if one is given. Give none for a validator: it may share its host."""
        for name in (key, host.encode()) if host is not None else (key,):
            self._bans.pop(name, None)
            self._bans[name] = until_ms
        while len(self._bans) > self._limits.bans_max:
            del self._bans[min(self._bans, key=lambda name: (self._bans[name], name))]

    def is_banned(self, key: PublicKey, now_ms: int) -> bool:
        """Whether a key is refused now."""
        return self._is_banned(key, now_ms)

    def _is_banned(self, name: bytes, now_ms: int) -> bool:
        until_ms = self._bans.get(name)
        if until_ms is not None and now_ms >= until_ms:
            del self._bans[name]
            return False
        return until_ms is not None

    # Rates

    def _has_credit(self, name: bytes, now_ms: int) -> bool:
        """Take one handshake from the prefix's credit, which fills up within a second."""
        full = self._limits.prefix_rate * _ONE
        credit, since_ms = self._credits.pop(name, (full, now_ms))
        credit = min(full, credit + (now_ms - since_ms) * self._limits.prefix_rate)
        admitted = credit >= _ONE
        self._credits[name] = credit - _ONE * admitted, now_ms
        # The one that was seen least lately has the fullest credit: to forget it gives away the least.
        while len(self._credits) > self._limits.prefixes_max:
            self._credits.popitem(last=False)
        return admitted


def plain(host: str) -> str:
    """An IP address in its one spelling, IPv4 not mapped into IPv6; anything else as it is."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def prefix(host: str) -> bytes:
    """The network that a plain address is counted with: /24 of IPv4, /48 of IPv6."""
    packed = ip_address(host).packed
    return packed[:3] if len(packed) == 4 else packed[:6]
