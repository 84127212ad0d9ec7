"""Peer records between linked nodes: our own told, validators' passed on, others' asked for and served."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cherrydag.credit import Credit
from cherrydag.errors import PeerFault
from cherrydag.net.address_book import AddressBook, Chance
from cherrydag.net.addresses import Address
from cherrydag.net.control import (
    RECORDS_MAX,
    ControlKind,
    check_get_records,
    decode_announcement,
    decode_records,
    encode_get_records,
    encode_records,
)
from cherrydag.net.faults import NetFault
from cherrydag.net.peer_record import (
    ADDRESSES_MAX,
    PeerRecord,
    encode_record,
    record_domain,
    signing_digest,
    verify_records,
)
from cherrydag.primitives import PublicKey


class ExchangeLimits(NamedTuple):
    """How often.

    ask_ms: between our requests. ask_poor_ms: while something is missing. serve_ms: how often a peer may ask.
    sample_ms: for how long all who ask are told the same. announce_burst: records that a peer may tell
    unasked, one more each second. relay_ms: between two of one validator's records passed on. renew_ms:
    between our own.
    """

    ask_ms: int = 600_000
    ask_poor_ms: int = 15_000
    serve_ms: int = 10_000
    sample_ms: int = 60_000
    announce_burst: int = 256
    relay_ms: int = 10_000
    renew_ms: int = 24 * 3600 * 1000


class Own(NamedTuple):
    """What this node is. sign: of 32 bytes, with its key. flags: of its record."""

    key: PublicKey
    genesis_digest: bytes
    sign: Callable[[bytes], bytes]
    flags: int = 0


class Say(NamedTuple):
    """Send a frame of records to a linked node."""

    key: PublicKey
    kind: ControlKind
    body: bytes


@dataclass(slots=True)
class RecordLink:
    """A linked node. source: where it is. waits: our request has not been answered."""

    key: PublicKey
    source: Address
    is_ours: bool
    credit: Credit
    waits: bool = False
    ask_at_ms: int = 0
    serve_at_ms: int = 0


class RecordExchange:
    """The records' part of discovery. says: where what is to be sent is put. sequence: of our last record."""

    def __init__(
        self,
        own: Own,
        book: AddressBook,
        committee: frozenset[PublicKey],
        chance: Chance,
        says: Callable[[Say], None],
        sequence: int,
        limits: ExchangeLimits,
    ) -> None:
        self.links: dict[PublicKey, RecordLink] = {}
        self.record: PeerRecord | None = None
        """Our own, once we know where we are."""
        self.sequence = sequence
        self._own = own
        self._book = book
        self._committee = committee
        self._chance = chance
        self._says = says
        self._limits = limits
        self._domain = record_domain(own.genesis_digest)
        self._ask_at_ms = 0
        self._sampled: tuple[int, list[PeerRecord]] | None = None
        self._to_relay: dict[PublicKey, PublicKey] = {}
        self._relayed_ms: dict[PublicKey, int] = {}

    # Our own record

    def set_addresses(self, addresses: Iterable[Address], wall_ms: int) -> None:
        """Where others may dial us from now on; no address at all changes nothing."""
        wanted = tuple(dict.fromkeys(addresses))[:ADDRESSES_MAX]
        if wanted and (self.record is None or self.record.addresses != wanted):
            self._sign(wanted, wall_ms)

    def renew(self, wall_ms: int) -> None:
        """Make it anew before it is too old to be believed."""
        if self.record is not None and wall_ms - self.sequence >= self._limits.renew_ms:
            self._sign(self.record.addresses, wall_ms)

    def _sign(self, addresses: tuple[Address, ...], wall_ms: int) -> None:
        """Make a new record and tell everybody. Its sequence rises even if the clock was set back."""
        self.sequence = max(wall_ms, self.sequence + 1)
        record = PeerRecord(self._own.key, addresses, self.sequence, self._own.flags)
        signature = self._own.sign(signing_digest(record, self._domain))
        self.record = record._replace(signature=signature)
        for key in self.links:
            self._tell(key, self.record)

    # Links

    def opened(self, key: PublicKey, source: Address, now_ms: int, *, is_ours: bool) -> RecordLink:
        """A link is open: say where we are."""
        link = RecordLink(key, source, is_ours, Credit.full(self._limits.announce_burst, now_ms))
        self.links[key] = link
        if self.record is not None:
            self._tell(key, self.record)
        return link

    def received(
        self, key: PublicKey, kind: int, body: bytes | memoryview, now_ms: int, wall_ms: int
    ) -> list[PublicKey]:
        """A linked node has sent a frame of records: validators of whom there is news. Raises PeerFault."""
        link = self.links[key]
        if kind == ControlKind.GET_RECORDS:
            check_get_records(body)
            self._serve(link, now_ms, wall_ms)
            return []
        if kind == ControlKind.RECORDS:
            if not link.waits:
                raise PeerFault(NetFault.RECORDS, "records: none were asked for")
            link.waits = False
            return self._learn(link, decode_records(body), wall_ms)
        self._take_credit(link, now_ms)
        record = decode_announcement(body)
        if record.public_key != key and record.public_key not in self._committee:
            raise PeerFault(NetFault.RECORDS, "record: neither the peer's own nor a validator's")
        return self._learn(link, [record], wall_ms)

    def _take_credit(self, link: RecordLink, now_ms: int) -> None:
        is_enough, link.credit = link.credit.take(1, self._limits.announce_burst, now_ms)
        if not is_enough:
            raise PeerFault(NetFault.RECORDS, "record: more are told than one each second")

    # Records of others

    def _learn(self, link: RecordLink, records: Sequence[PeerRecord], wall_ms: int) -> list[PublicKey]:
        """Keep what is news, if all of that is signed. Signatures are looked at last: they cost the most."""
        news = [record for record in records if self._is_news(record, wall_ms)]
        if not all(verify_records(news, self._domain)):
            raise PeerFault(NetFault.RECORD_SIGNATURE, "record: its key has not signed it")
        changed = []
        for record in news:
            key = record.public_key
            if key == self._own.key:
                self._outdo(record, wall_ms)
            elif self._keep(record, link) and key in self._committee:
                self._to_relay[key] = link.key
                changed.append(key)
        return changed

    def _keep(self, record: PeerRecord, link: RecordLink) -> bool:
        return self._book.add(record, link.source, is_vouched=link.key in self._committee)

    def _is_news(self, record: PeerRecord, wall_ms: int) -> bool:
        if not record.is_current(wall_ms):
            return False
        if record.public_key == self._own.key:
            return record.sequence > self.sequence
        known = self._book.find(record.public_key)
        return known is None or known.record.sequence < record.sequence

    def _outdo(self, record: PeerRecord, wall_ms: int) -> None:
        """An earlier run of ours had a clock that was ahead: what is true now must count."""
        self.sequence = record.sequence
        if self.record is not None:
            self._sign(self.record.addresses, wall_ms)

    def relay(self, now_ms: int) -> None:
        """Pass on validators' records that were news to us, to all but whence they came."""
        for key, source in list(self._to_relay.items()):
            relayed_ms = self._relayed_ms.get(key)
            if relayed_ms is not None and now_ms < relayed_ms + self._limits.relay_ms:
                continue
            del self._to_relay[key]
            self._relayed_ms[key] = now_ms
            for peer in self.links:
                if peer not in (source, key):
                    self._tell(peer, self._book.committee[key].record)

    def _tell(self, key: PublicKey, record: PeerRecord) -> None:
        self._says(Say(key, ControlKind.RECORD, encode_record(record)))

    # Asking and serving

    def ask(self, link: RecordLink, now_ms: int) -> None:
        """Ask a node for records; once it has answered it may be asked again."""
        link.waits = True
        link.ask_at_ms = now_ms + self._limits.ask_poor_ms
        self._says(Say(link.key, ControlKind.GET_RECORDS, encode_get_records()))

    def ask_somebody(self, now_ms: int, *, is_poor: bool) -> None:
        """Ask one node now and then: one that we dialled, or anyone while we know too little."""
        self._ask_at_ms = min(self._ask_at_ms, now_ms + self._limits.ask_poor_ms if is_poor else 1 << 63)
        if now_ms < self._ask_at_ms:
            return
        due = [
            link
            for link in self.links.values()
            if not link.waits and now_ms >= link.ask_at_ms and (link.is_ours or is_poor)
        ]
        if due:
            self._ask_at_ms = now_ms + (self._limits.ask_poor_ms if is_poor else self._limits.ask_ms)
            self.ask(due[self._chance.randrange(len(due))], now_ms)

    def _serve(self, link: RecordLink, now_ms: int, wall_ms: int) -> None:
        if now_ms < link.serve_at_ms:
            raise PeerFault(NetFault.RECORDS, f"request: one each {self._limits.serve_ms} ms is allowed")
        link.serve_at_ms = now_ms + self._limits.serve_ms
        told = self._book.draw(self._book.committee.values(), RECORDS_MAX // 2, wall_ms)
        if self._sampled is None or now_ms >= self._sampled[0]:
            # All who ask meanwhile are told the same: many keys do not read the book any faster.
            self._sampled = now_ms + self._limits.sample_ms, self._sample(wall_ms)
        told += self._sampled[1][: RECORDS_MAX - len(told)]
        self._says(Say(link.key, ControlKind.RECORDS, encode_records(told)))

    def _sample(self, wall_ms: int) -> list[PeerRecord]:
        """Nodes that have answered us, and those that are linked with us: no hearsay is passed on."""
        linked = [self._book.find(key) for key in self.links if key not in self._committee]
        entries = [*self._book.tried, *[entry for entry in linked if entry is not None]]
        found = {entry.record.public_key: entry for entry in entries}
        return self._book.draw(found.values(), RECORDS_MAX, wall_ms)
