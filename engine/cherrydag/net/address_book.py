"""Whom else there is: signed peer records in buckets, so that cheap addresses fill few of them.

A record that was only told of waits in a "new" bucket, chosen by a secret from the network of its address
and of who told it; one whose node has answered us is in a "tried" bucket, chosen from its network and key.
Whoever has few networks has few buckets, and a record gives way only within its own. Validators' records are
apart: there are few of them, and they never give way.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol, TypeVar

from cherrydag import crypto
from cherrydag.net.addresses import Address, Scope, group_of, scope_of
from cherrydag.net.peer_record import PeerRecord
from cherrydag.primitives import PublicKey

SECRET_BYTES: Final = 32
"""Size of the secret that chooses the buckets."""

_Item = TypeVar("_Item")
_PICKS = 32  # draws before a choice is given up: what is wanted is rare then
_SHIFT_MAX = 12


class Chance(Protocol):
    """A source of random choices, seeded by whoever makes it."""

    def randrange(self, stop: int, /) -> int:
        """An integer of 0 to stop - 1."""


class BookLimits(NamedTuple):
    """Bounds of a book.

    new_buckets, tried_buckets: of each kind. bucket_entries: in one. source_buckets: new buckets that one
    network's word can reach. group_buckets: tried buckets that one network's nodes can reach. pause_ms:
    before a node is tried again, doubling with each failure up to pause_max_ms. failures_new: after so many
    a node that has never answered is forgotten. steady_ms: a tried one that answered so lately does not give
    way.
    """

    new_buckets: int = 256
    tried_buckets: int = 64
    bucket_entries: int = 16
    source_buckets: int = 16
    group_buckets: int = 4
    pause_ms: int = 15_000
    pause_max_ms: int = 6 * 3600 * 1000
    failures_new: int = 3
    steady_ms: int = 24 * 3600 * 1000


@dataclass(slots=True)
class Entry:
    """A record and what we know of its node.

    floor: no address of a narrower scope is dialled, since nobody out there shall send us into our own
    network. source: the network of who told of it. is_vouched: a validator did. Times are Unix milliseconds,
    0 for never. addresses: where its node may be dialled, and groups: their networks.
    """

    record: PeerRecord
    floor: Scope
    source: bytes
    is_vouched: bool = False
    is_tried: bool = False
    bucket: int = 0
    answered_ms: int = 0
    asked_ms: int = 0
    failures: int = 0
    addresses: tuple[Address, ...] = field(init=False)
    groups: tuple[bytes, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.addresses = tuple(a for a in self.record.addresses if scope_of(a) >= self.floor)
        self.groups = tuple(map(group_of, self.addresses))

    @property
    def address(self) -> Address:
        """Where to dial next: another one after each failure."""
        return self.addresses[self.failures % len(self.addresses)]

    @property
    def group(self) -> bytes:
        """The network of `address`."""
        return self.groups[self.failures % len(self.groups)]


_Bucket = dict[PublicKey, Entry]


class AddressBook:
    """Records by key. secret: SECRET_BYTES, kept with the book. validators: whose records never give way.

    Records have been verified before they come here.
    """

    def __init__(
        self,
        secret: bytes,
        validators: Collection[PublicKey],
        chance: Chance,
        limits: BookLimits | None = None,
    ) -> None:
        self.limits = limits or BookLimits()
        self.secret = secret
        self._validators = frozenset(validators)
        self._chance = chance
        self._new: list[_Bucket] = [{} for _ in range(self.limits.new_buckets)]
        self._tried: list[_Bucket] = [{} for _ in range(self.limits.tried_buckets)]
        self.committee: _Bucket = {}
        """Validators' entries."""
        self._entries: _Bucket = {}

    def __len__(self) -> int:
        """Entries that are no validators'."""
        return len(self._entries)

    @property
    def tried(self) -> list[Entry]:
        """Those whose nodes have answered, validators apart."""
        return [entry for bucket in self._tried for entry in bucket.values()]

    @property
    def new(self) -> list[Entry]:
        """Those that we were only told of."""
        return [entry for bucket in self._new for entry in bucket.values()]

    def find(self, key: PublicKey) -> Entry | None:
        """The entry of a key."""
        return self.committee.get(key) or self._entries.get(key)

    # What we hear

    def add(self, record: PeerRecord, source: Address, *, is_vouched: bool = False) -> bool:
        """Take a record that somebody at `source` told of; whether it is news that was kept."""
        return self.put(Entry(record, scope_of(source), group_of(source), is_vouched))

    def put(self, entry: Entry) -> bool:
        """As add, with what is known of the node."""
        record = entry.record
        key, known = record.public_key, self.find(record.public_key)
        if not entry.addresses or (known is not None and known.record.sequence >= record.sequence):
            return False
        if key in self._validators:
            self.committee[key] = entry
            return True
        if known is not None and known.addresses == entry.addresses:
            known.record, known.is_vouched = record, known.is_vouched or entry.is_vouched
            return True
        if known is not None:
            self._remove(known)  # at other addresses it has not answered yet
        if entry.is_tried and self._enter_tried(entry):
            return True
        return self._enter_new(entry)

    def answered(self, key: PublicKey, address: Address, wall_ms: int) -> None:
        """The node of this key answered at this address."""
        entry = self.find(key)
        if entry is None:
            return
        entry.answered_ms = entry.asked_ms = wall_ms
        entry.failures = 0
        if key in self.committee or entry.is_tried or address not in entry.addresses:
            return
        bucket = self._new[entry.bucket]
        del bucket[key]
        # Where it answered comes first: its network decides the bucket.
        if not self._enter_tried(entry, address):
            bucket[key] = entry

    def failed(self, key: PublicKey, wall_ms: int) -> None:
        """It could not be reached, or had no place for us."""
        entry = self._entries.get(key)
        if entry is None:
            return
        entry.asked_ms, entry.failures = wall_ms, entry.failures + 1
        if entry.answered_ms == 0 and entry.failures >= self.limits.failures_new:
            self._remove(entry)

    def expire(self, wall_ms: int) -> None:
        """Forget records that are too old. Validators' stay: an old one is better than none."""
        for entry in list(self._entries.values()):
            if not entry.record.is_current(wall_ms):
                self._remove(entry)

    # Whom to try

    def choose(
        self, wall_ms: int, is_wanted: Callable[[Entry], bool], *, tried: bool | None = None
    ) -> Entry | None:
        """A node to dial that is wanted and not to be left alone for now; None if no pick finds one.

        A pick is by chance: of a bucket, of a network in it, of an entry in that, so that many nodes of one
        network are no likelier than one. tried: True for the buckets of nodes that have answered, False for
        those of the others; None for either kind, both as likely unless one is empty.
        """
        kinds = [self._tried, self._new] if tried is None else [self._tried if tried else self._new]
        filled = [found for found in ([bucket for bucket in kind if bucket] for kind in kinds) if found]
        if not filled:
            return None
        for _ in range(_PICKS):
            entries = self._pick(self._pick(filled)).values()
            group = self._pick(dict.fromkeys([entry.group for entry in entries]))
            entry = self._pick([entry for entry in entries if entry.group == group])
            if not self._rests(entry, wall_ms) and entry.record.is_current(wall_ms) and is_wanted(entry):
                return entry
        return None

    def draw(self, entries: Iterable[Entry], count: int, wall_ms: int) -> list[PeerRecord]:
        """Up to so many current records of these by chance, of as many networks as there are."""
        seen: Counter[bytes] = Counter()
        ranked: list[tuple[int, PeerRecord]] = []
        for entry in self._shuffled([entry for entry in entries if entry.record.is_current(wall_ms)]):
            ranked.append((seen[entry.groups[0]], entry.record))
            seen[entry.groups[0]] += 1
        # Shuffled again: a large network's first comes early in the first order.
        drawn = sorted(self._shuffled(ranked), key=lambda line: line[0])
        return [record for _, record in drawn[:count]]

    def _shuffled(self, items: Iterable[_Item]) -> list[_Item]:
        left, drawn = list(items), []
        while left:
            at = self._chance.randrange(len(left))
            left[at], left[-1] = left[-1], left[at]
            drawn.append(left.pop())
        return drawn

    def _pick(self, items: Iterable[_Item]) -> _Item:
        found = list(items)
        return found[self._chance.randrange(len(found))]

    def _rests(self, entry: Entry, wall_ms: int) -> bool:
        limits = self.limits
        pause_ms = min(limits.pause_max_ms, limits.pause_ms << min(entry.failures, _SHIFT_MAX))
        return 0 <= wall_ms - entry.asked_ms < pause_ms

    # Buckets

    def _enter_new(self, entry: Entry) -> bool:
        """Put an entry into its new bucket; False if that is full of no worse ones."""
        limits, group = self.limits, entry.groups[0]
        reach = self._number(b"new-reach", entry.source, group) % limits.source_buckets
        entry.bucket = self._number(b"new", entry.source, bytes([reach])) % limits.new_buckets
        bucket = self._new[entry.bucket]
        if len(bucket) >= limits.bucket_entries:
            worst = self._worst(bucket, entry)
            if worst is None:
                return False
            self._remove(worst)
        entry.is_tried = False
        bucket[entry.record.public_key] = self._entries[entry.record.public_key] = entry
        return True

    def _worst(self, bucket: _Bucket, newcomer: Entry) -> Entry | None:
        """Who gives way: who failed most, else hearsay to a validator's word, else one of a network with
        many here; None if nobody does."""

        def place(entry: Entry) -> tuple[int, PublicKey]:
            return entry.failures, entry.record.public_key

        worst = max(bucket.values(), key=place)
        if worst.failures:
            return worst
        hearsay = [entry for entry in bucket.values() if not entry.is_vouched]
        if newcomer.is_vouched and hearsay:
            return max(hearsay, key=place)
        counts = Counter(entry.groups[0] for entry in bucket.values())
        most = max(counts, key=lambda group: (counts[group], group))
        if counts[most] <= counts[newcomer.groups[0]] + 1:
            return None
        return max([entry for entry in bucket.values() if entry.groups[0] == most], key=place)

    def _enter_tried(self, entry: Entry, address: Address | None = None) -> bool:
        """Put an entry into its tried bucket; False if all there have answered lately."""
        limits, key = self.limits, entry.record.public_key
        group = entry.groups[0] if address is None else group_of(address)
        reach = self._number(b"tried-reach", group, key) % limits.group_buckets
        number = self._number(b"tried", group, bytes([reach])) % limits.tried_buckets
        bucket = self._tried[number]
        if len(bucket) >= limits.bucket_entries:
            oldest = min(bucket.values(), key=lambda e: (e.answered_ms, e.record.public_key))
            if entry.answered_ms - oldest.answered_ms < limits.steady_ms:
                return False
            self._remove(oldest)
            self._enter_new(oldest)
        entry.is_tried, entry.bucket = True, number
        bucket[key] = self._entries[key] = entry
        return True

    def _remove(self, entry: Entry) -> None:
        key = entry.record.public_key
        del self._entries[key]
        del (self._tried if entry.is_tried else self._new)[entry.bucket][key]

    def _number(self, what: bytes, *parts: bytes) -> int:
        octets = b"".join([bytes([len(part)]) + part for part in (what, *parts)])
        return int.from_bytes(crypto.hash_bytes(octets, self.secret)[:8], "big")
