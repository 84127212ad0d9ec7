"""Whom to dial and whom to ask for peer records: decided from events, given back as effects.

A validator keeps a link to every other one; other nodes to some validators. Beside that a node keeps a few
links to others, each in another network, so that whoever has few networks cannot have all of them. Records of
validators are passed on by everyone as they change; others are asked for.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from cherrydag.net.address_book import AddressBook, Chance, Entry
from cherrydag.net.addresses import Address, Place, group_of
from cherrydag.net.faults import EndCode
from cherrydag.net.peer_record import PeerRecord
from cherrydag.net.record_exchange import ExchangeLimits, Own, RecordExchange, Say
from cherrydag.primitives import PublicKey


class DiscoveryLimits(NamedTuple):
    """How many links and how often.

    outbound: links to nodes that are no validators, which we choose and dial. outbound_validator: of a
    validator. validators: links to validators that another node wants. anchors: outbound links remembered for
    the next start. steady_ms: after so long a link is worth that. feeler_ms: between dials that only see
    whether somebody is there. expire_ms: between looks for old records. rest_ms: a validator without room for
    us is left alone. poor_entries: with fewer in the book, seeds are dialled too.
    """

    outbound: int = 8
    outbound_validator: int = 2
    validators: int = 16
    anchors: int = 4
    steady_ms: int = 60_000
    feeler_ms: int = 120_000
    expire_ms: int = 600_000
    rest_ms: int = 600_000
    poor_entries: int = 16
    exchange: ExchangeLimits = ExchangeLimits()


class Seed(NamedTuple):
    """A node that is known from elsewhere: its key, and where it may be dialled."""

    key: PublicKey
    place: Place


class Dial(NamedTuple):
    """Keep dialling this node, at these places in turn."""

    key: PublicKey
    places: tuple[Place, ...]


class Forget(NamedTuple):
    """Dial this node no more."""

    key: PublicKey


class Drop(NamedTuple):
    """End the link with this node."""

    key: PublicKey
    code: EndCode
    text: str


Effect: TypeAlias = Dial | Forget | Say | Drop


@dataclass(slots=True)
class _Target:
    """A node, no validator, that we chose. address: None for a seed, which counts for no network. since_ms:
    of the link, None while there is none. is_vouched: told of by a validator, or given to us."""

    place: Place
    address: Address | None
    is_vouched: bool
    since_ms: int | None = None


class Discovery:
    """The decisions of one node.

    validators: keys of the committee. places: where some of them may be, from the genesis or configuration.
    anchors: outbound links of the run before. sequence: of our last record. All now_ms are of a clock that
    never steps, all wall_ms Unix time. Every call returns effects, to be performed in order.
    """

    def __init__(
        self,
        own: Own,
        book: AddressBook,
        validators: Sequence[PublicKey],
        places: Mapping[PublicKey, Sequence[Place]],
        chance: Chance,
        *,
        seeds: Sequence[Seed] = (),
        anchors: Sequence[Seed] = (),
        sequence: int = 0,
        limits: DiscoveryLimits | None = None,
    ) -> None:
        self.limits = limits or DiscoveryLimits()
        self.book = book
        self._key = own.key
        self._chance = chance
        self._validators = [key for key in validators if key != own.key]
        self._committee = frozenset(validators)
        self._known = {key: tuple(places.get(key, ())) for key in self._validators}
        for key, place in seeds:
            if key in self._known:
                self._known[key] += (place,)
        others = [seed for seed in seeds if seed.key not in self._committee and seed.key != own.key]
        self._seeds = {seed.key: seed.place for seed in others}
        self._anchors = [seed for seed in anchors if seed.key not in self._committee]
        self._dialled: dict[PublicKey, tuple[Place, ...]] = {}
        self._resting: dict[PublicKey, int] = {}
        self._outbound: dict[PublicKey, _Target] = {}
        self._feeler: PublicKey | None = None
        self._feel_at_ms: int | None = None
        self._expire_at_ms = 0
        self._effects: list[Effect] = []
        self._exchange = RecordExchange(
            own, book, self._committee, chance, self._effects.append, sequence, self.limits.exchange
        )
        self._links = self._exchange.links

    @property
    def record(self) -> PeerRecord | None:
        """Our own, once we know where we are."""
        return self._exchange.record

    @property
    def sequence(self) -> int:
        """Of our newest record, this run's or one before."""
        return self._exchange.sequence

    def set_addresses(self, addresses: Iterable[Address], wall_ms: int) -> list[Effect]:
        """Where others may dial us from now on; no address at all changes nothing."""
        self._exchange.set_addresses(addresses, wall_ms)
        return self._flush()

    # What is wanted

    @property
    def is_validator(self) -> bool:
        """Whether this node is of the committee."""
        return self._key in self._committee

    @property
    def outbound(self) -> dict[PublicKey, int]:
        """Linked nodes that we chose, and since when."""
        return {key: t.since_ms for key, t in self._outbound.items() if t.since_ms is not None}

    @property
    def outbound_wanted(self) -> int:
        """How many of them there shall be."""
        return self.limits.outbound_validator if self.is_validator else self.limits.outbound

    def is_poor(self) -> bool:
        """Whether we know too little: some validator's place, or enough nodes that have answered us."""
        lacks_place = any(not self._places(key) for key in self._validators if key not in self._links)
        return lacks_place or self._lacks_outbound()

    def _lacks_outbound(self) -> bool:
        # Only nodes that have answered count: what we were merely told of, an attacker may have made up.
        lacks_links = len(self.outbound) < self.outbound_wanted
        return lacks_links and len(self.book.tried) < self.limits.poor_entries

    def _needs_seeds(self) -> bool:
        """Whether to go back to the seeds: linked with no validator, we cannot know who the others are."""
        return (bool(self._validators) and not self._has_voucher()) or self._lacks_outbound()

    def anchors(self, now_ms: int) -> list[Seed]:
        """The outbound links that have lasted, the oldest first."""
        lasted = [
            (target.since_ms, key, target.place)
            for key, target in self._outbound.items()
            if target.since_ms is not None and now_ms - target.since_ms >= self.limits.steady_ms
        ]
        return [Seed(key, place) for _, key, place in sorted(lasted)[: self.limits.anchors]]

    # Links

    def opened(
        self, key: PublicKey, source: Address, now_ms: int, wall_ms: int, *, is_ours: bool
    ) -> list[Effect]:
        """A link is open. is_ours: we dialled it, at `source`."""
        link = self._exchange.opened(key, source, now_ms, is_ours=is_ours)
        if is_ours:
            self.book.answered(key, source, wall_ms)
        if self._feeler == key:
            self._feeler = None
            self._effects.append(Forget(key))
            if is_ours:
                self._effects.append(Drop(key, EndCode.FEELER, "only to see whether you are there"))
        elif key in self._outbound:
            self._outbound[key].since_ms = now_ms
        if is_ours and self.is_poor():
            self._exchange.ask(link, now_ms)
        return self._flush()

    def closed(self, key: PublicKey, code: str, now_ms: int, wall_ms: int) -> list[Effect]:
        """A link has ended."""
        self._links.pop(key, None)
        if code != EndCode.DUPLICATE:
            return self.dial_failed(key, code, now_ms, wall_ms)
        if key in self._outbound:  # another link takes its place
            self._outbound[key].since_ms = None
        return self._flush()

    def dial_failed(self, key: PublicKey, code: str, now_ms: int, wall_ms: int) -> list[Effect]:
        """A dial came to nothing, or what came of it is over."""
        if self._feeler == key:
            self._feeler = None
            self.book.failed(key, wall_ms)
            self._effects.append(Forget(key))
        elif key in self._outbound:
            self._lost_outbound(key, wall_ms)
        elif key in self._dialled and self._lets_rest(code):
            del self._dialled[key]
            self._resting[key] = now_ms + self.limits.rest_ms
            self._effects.append(Forget(key))
        return self._flush()

    def _lets_rest(self, code: str) -> bool:
        """Whether a validator is left alone for a while: it wants us to, or others are there to be tried."""
        if self.is_validator:
            return False
        return code in (EndCode.FULL, EndCode.BANNED) or len(self._validators) > self.limits.validators

    def _lost_outbound(self, key: PublicKey, wall_ms: int) -> None:
        target = self._outbound[key]
        if key in self._seeds and self._needs_seeds():
            target.since_ms = None  # it is dialled on, in growing pauses
            return
        del self._outbound[key]
        self.book.failed(key, wall_ms)
        self._effects.append(Forget(key))

    # Frames

    def received(
        self, key: PublicKey, kind: int, body: bytes | memoryview, now_ms: int, wall_ms: int
    ) -> list[Effect]:
        """A linked node has sent a frame of records. Raises PeerFault."""
        for changed in self._exchange.received(key, kind, body, now_ms, wall_ms):
            if changed in self._dialled:
                self._want(changed)
        self._exchange.relay(now_ms)
        return self._flush()

    # Time

    def tick(self, now_ms: int, wall_ms: int) -> list[Effect]:
        """Time has passed: dial who is missing, ask who may know, renew what grows old."""
        if now_ms >= self._expire_at_ms:
            self._expire_at_ms = now_ms + self.limits.expire_ms
            self.book.expire(wall_ms)
        self._exchange.renew(wall_ms)
        self._dial_validators(now_ms)
        self._dial_known()
        self._dial_others(wall_ms)
        self._feel(now_ms, wall_ms)
        self._exchange.ask_somebody(now_ms, is_poor=self.is_poor())
        self._exchange.relay(now_ms)
        return self._flush()

    def _dial_validators(self, now_ms: int) -> None:
        """All of them if we are one, else some."""
        room = len(self._validators)
        if not self.is_validator:
            room = min(room, self.limits.validators)
        for key in [key for key, until_ms in self._resting.items() if now_ms >= until_ms]:
            del self._resting[key]
        room -= len(self._dialled)
        idle = [k for k in self._validators if k not in self._dialled and k not in self._resting]
        while room > 0 and idle:
            # By chance: else all nodes would crowd round the first.
            key = idle.pop(self._chance.randrange(len(idle)))
            room -= self._want(key)

    def _want(self, key: PublicKey) -> bool:
        """Dial a validator wherever it may be now; False if nobody knows."""
        places = self._places(key)
        if places and self._dialled.get(key) != places:
            self._dialled[key] = places
            self._effects.append(Dial(key, places))
        return bool(places)

    def _places(self, key: PublicKey) -> tuple[Place, ...]:
        """Where a validator may be, what it says itself first."""
        entry = self.book.committee.get(key)
        said = [] if entry is None else [Place(a.text, a.port) for a in entry.addresses]
        return tuple(dict.fromkeys([*said, *self._known[key]]))

    def _dial_known(self) -> None:
        """Anchors first, and seeds while there is nobody to be told by."""
        while self._anchors and len(self._outbound) < self.outbound_wanted:
            key, place = self._anchors.pop(0)
            known = self.book.find(key)
            self._begin(key, place, _address(place), known is not None and known.is_vouched)
        if self._needs_seeds():
            for key, place in self._seeds.items():
                self._begin(key, place, None, is_vouched=True)

    def _dial_others(self, wall_ms: int) -> None:
        """One more node from the book, if another is wanted."""
        targets = [t for key, t in self._outbound.items() if key not in self._seeds or t.since_ms is not None]
        if len(targets) >= self.outbound_wanted:
            return
        hearsay = sum(not target.is_vouched for target in targets)
        # Half of the links are kept for nodes that validators told of: most of those are honest.
        is_full = self._has_voucher() and hearsay >= self.outbound_wanted - self.outbound_wanted // 2
        entry = self._choose(wall_ms, vouched=is_full)
        if entry is not None:
            address = entry.address
            place = Place(address.text, address.port)
            self._begin(entry.record.public_key, place, address, entry.is_vouched)

    def _has_voucher(self) -> bool:
        """Whether a validator, other than ourselves, is there to tell of nodes."""
        return any(key in self._links for key in self._validators)

    def _begin(self, key: PublicKey, place: Place, address: Address | None, is_vouched: bool) -> None:
        if key in self._outbound or key in self._links or key == self._key:
            return
        self._outbound[key] = _Target(place, address, is_vouched)
        self._effects.append(Dial(key, (place,)))

    def _choose(self, wall_ms: int, *, tried: bool | None = None, vouched: bool = False) -> Entry | None:
        groups = {group_of(target.address) for target in self._outbound.values() if target.address}

        def is_wanted(entry: Entry) -> bool:
            key = entry.record.public_key
            is_free = key not in self._links and key not in self._outbound and key != self._key
            return is_free and entry.group not in groups and entry.is_vouched >= vouched

        return self.book.choose(wall_ms, is_wanted, tried=tried)

    def _feel(self, now_ms: int, wall_ms: int) -> None:
        """See now and then whether somebody new is there, so that the tried ones are not all old."""
        if self._feel_at_ms is None:
            self._feel_at_ms = now_ms + self.limits.feeler_ms
        if now_ms < self._feel_at_ms or self._feeler is not None:
            return
        self._feel_at_ms = now_ms + self.limits.feeler_ms
        entry = self._choose(wall_ms, tried=False)
        if entry is not None:
            key, address = entry.record.public_key, entry.address
            self._feeler = key
            self._effects.append(Dial(key, (Place(address.text, address.port),)))

    def _flush(self) -> list[Effect]:
        effects = list(self._effects)
        self._effects.clear()
        return effects


def _address(place: Place) -> Address | None:
    """The address that a place is; None if it is a name."""
    try:
        return Address.of(*place)
    except ValueError:
        return None
