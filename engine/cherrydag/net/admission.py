"""Who may take up a socket, a handshake or a place among the peers.

Before the handshake only an address is known: the pending ones are bounded, a network prefix gets so many a
second, and a part is kept for the addresses of validators. After it the key is known: validators always have
a place, others while there is one.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

from cherrydag.credit import Credit
from cherrydag.net.addresses import Address, Scope, group_of, scope_of
from cherrydag.primitives import PublicKey

_GROUPS_CACHED = 1024


class AdmissionLimits(NamedTuple):
    """Bounds on who connects; whom we dialled is never counted.

    pending_max: handshakes under way. pending_reserved: of those, for validators' addresses.
    prefix_rate: handshakes a second, and at once, of one /24 of IPv4 or /48 of IPv6. prefixes_max: prefixes
    remembered. others_max: peers that are no validators. group_max: of those, from one /16 of IPv4 or /32 of
    IPv6. bans_max: bans remembered.
    """

    pending_max: int = 64
    pending_reserved: int = 16
    prefix_rate: int = 10
    prefixes_max: int = 4096
    others_max: int = 64
    group_max: int = 8
    bans_max: int = 4096


class Ban(NamedTuple):
    """A key that is refused until a time, and the address with it, if one is named. text: why."""

    key: PublicKey
    host: str | None
    until_ms: int
    text: str = ""


class Admission:
    """The counts and memory behind the bounds. now_ms never sinks."""

    def __init__(self, limits: AdmissionLimits | None = None) -> None:
        self._limits = limits or AdmissionLimits()
        self._reserved: frozenset[str] = frozenset()
        self._credits: OrderedDict[bytes, Credit] = OrderedDict()
        self._bans: dict[PublicKey, Ban] = {}
        self._hosts: dict[str, PublicKey] = {}
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
        admitted = pending < room and (is_expected or self._admits_stranger(host, now_ms))
        self.refused += not admitted
        return admitted

    def _admits_stranger(self, host: str, now_ms: int) -> bool:
        return not self._is_host_banned(host, now_ms) and self._has_credit(prefix(host), now_ms)

    def admits_peer(self, host: str, others: Sequence[str]) -> bool:
        """Whether one more peer that is no validator may stay beside those of these addresses.

        Networks of the whole world are counted as address books do; a private one has no cheap addresses.
        """
        if len(others) >= self._limits.others_max:
            return False
        group = _world_group(host)
        if group is None:
            return True
        return [_world_group(other) for other in others].count(group) < self._limits.group_max

    # Bans

    def ban(self, ban: Ban) -> None:
        """Refuse a key, and an address if one is given. Give none for a validator: it may share its host."""
        self.unban(ban.key)
        self._bans[ban.key] = ban
        if ban.host is not None:
            self._hosts[ban.host] = ban.key
        while len(self._bans) > self._limits.bans_max:
            self.unban(min(self._bans, key=lambda key: (self._bans[key].until_ms, key)))

    def unban(self, key: PublicKey) -> bool:
        """Take a key up again, and the address that was banned with it; whether it was banned."""
        ban = self._bans.pop(key, None)
        if ban is not None and ban.host is not None and self._hosts.get(ban.host) == key:
            del self._hosts[ban.host]
        return ban is not None

    def bans(self, now_ms: int) -> list[Ban]:
        """Those in force, the first that ends first."""
        for key in [key for key, ban in self._bans.items() if now_ms >= ban.until_ms]:
            self.unban(key)
        return sorted(self._bans.values(), key=lambda ban: (ban.until_ms, ban.key))

    def is_banned(self, key: PublicKey, now_ms: int) -> bool:
        """Whether a key is refused now."""
        ban = self._bans.get(key)
        if ban is not None and now_ms >= ban.until_ms:
            self.unban(key)
            return False
        return ban is not None

    def _is_host_banned(self, host: str, now_ms: int) -> bool:
        key = self._hosts.get(host)
        return key is not None and self.is_banned(key, now_ms)

    # Rates

    def _has_credit(self, name: bytes, now_ms: int) -> bool:
        """Take one handshake from the prefix's credit, which fills up within a second."""
        rate = self._limits.prefix_rate
        credit = self._credits.pop(name, None) or Credit.full(rate, now_ms)
        admitted, self._credits[name] = credit.take(rate, rate, now_ms)
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


@lru_cache(_GROUPS_CACHED)
def _world_group(host: str) -> bytes | None:
    """The group of an address that all the world can reach; None for another one."""
    address = Address.of(host, 0)
    return group_of(address) if scope_of(address) is Scope.WORLD else None
