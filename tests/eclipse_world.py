"""A network around one node, in virtual time: honest nodes in many networks, an attacker's in few.

The attacker's nodes answer dials, dial the victim and take what places it has, announce themselves, and tell
of one another and of addresses all over the world where nobody is. Honest nodes tell of both kinds, since the
attacker's are nodes like any other.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

from vertices import CHAIN

from cherrydag.net.address_book import AddressBook, Entry
from cherrydag.net.addresses import Address, Place, Scope
from cherrydag.net.admission import Admission
from cherrydag.net.control import RECORDS_MAX, ControlKind, encode_records
from cherrydag.net.discovery import Dial, Discovery, Drop, Effect, Forget, Seed
from cherrydag.net.faults import EndCode
from cherrydag.net.peer_record import PeerRecord, encode_record, record_domain, signing_digest
from cherrydag.net.record_exchange import Own
from cherrydag.primitives import PublicKey
from cherrydag.runtime.book_file import Saved, decode_saved, encode_saved
from cherrydag.signing import KeyPair, generate_keypair, sign_digest

DOMAIN = record_domain(CHAIN.genesis_digest)
BEGIN_MS = 1_700_000_000_000
TICK_MS = 1000
DIAL_MS = 300
FULL_PERCENT = 30
"""How often an honest node has no place."""


@dataclass(frozen=True)
class Node:
    """A key, and where it says it is. is_there: somebody answers."""

    key: PublicKey
    record: PeerRecord
    is_honest: bool
    is_there: bool = True
    host: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "host", self.address.text)

    @property
    def address(self) -> Address:
        return self.record.addresses[0]


def make_node(number: int, host: str, *, is_honest: bool, is_there: bool = True) -> Node:
    key = generate_keypair(number.to_bytes(32, "little"))
    record = PeerRecord(key.public_key, (Address.of(host, 7000 + number % 50_000),), BEGIN_MS)
    signature = sign_digest(signing_digest(record, DOMAIN), key)
    return Node(key.public_key, record._replace(signature=signature), is_honest, is_there)


@dataclass
class World:
    """All nodes but the victim. groups: networks (/16) of the attacker."""

    chance: Random
    honest: list[Node]
    validators: list[Node]
    sybils: list[Node]
    dead: list[Node]
    by_key: dict[PublicKey, Node] = field(init=False)
    known: list[Entry] = field(init=False)
    honest_book: AddressBook = field(init=False)

    def __post_init__(self) -> None:
        self.by_key = {n.key: n for n in (*self.honest, *self.validators, *self.sybils, *self.dead)}
        self.known = [Entry(n.record, Scope.WORLD, b"") for n in (*self.honest, *self.sybils)]
        self.honest_book = AddressBook(bytes(32), (), self.chance)

    @classmethod
    def of(cls, seed: int, *, honest: int, sybils: int, groups: int, validators: int, dead: int) -> "World":
        chance = Random(seed)
        networks = [(first, second) for first in range(11, 100) for second in range(256)]
        chance.shuffle(networks)
        own = networks[:groups]

        def host(network: tuple[int, int]) -> str:
            return f"{network[0]}.{network[1]}.{chance.randrange(256)}.{chance.randrange(1, 255)}"

        kinds = (
            [networks[groups + chance.randrange(honest)] for _ in range(honest)],
            [networks[groups + number] for number in range(validators)],
            [own[number % groups] for number in range(sybils)],
            [networks[groups + chance.randrange(10_000)] for _ in range(dead)],
        )
        made = [
            [
                make_node(
                    seed << 32 | kind << 24 | number, host(network), is_honest=kind < 2, is_there=kind < 3
                )
                for number, network in enumerate(found)
            ]
            for kind, found in enumerate(kinds)
        ]
        return cls(chance, *made)

    def told_by(self, node: Node, now_ms: int) -> list[PeerRecord]:
        """What this node answers: an honest one knows of the attacker's nodes as of others."""
        if not node.is_honest:
            return [n.record for n in self.chance.sample(self.sybils + self.dead, RECORDS_MAX)]
        told = [n.record for n in self.validators[: RECORDS_MAX // 2]]
        return told + self.honest_book.draw(self.known, RECORDS_MAX - len(told), now_ms)


class Victim:
    """One run of a node in the world, from a file that an earlier one has left."""

    def __init__(self, world: World, key: KeyPair, data: bytes | None, seeds: Sequence[Node] = ()) -> None:
        self.world = world
        self.key = key
        saved = Saved(bytes(world.chance.randbytes(32)), 0, (), (), ())
        if data is not None:
            saved = decode_saved(data, CHAIN.genesis_digest)
        validators = [node.key for node in world.validators]
        self.book = AddressBook(saved.secret, validators, world.chance)
        saved.fill(self.book)
        self.discovery = Discovery(
            Own(key.public_key, CHAIN.genesis_digest, lambda digest: sign_digest(digest, key)),
            self.book,
            validators,
            {},
            world.chance,
            seeds=[Seed(node.key, Place(node.address.text, node.address.port)) for node in seeds],
            anchors=saved.anchors,
        )
        self.admission = Admission()
        self.now_ms = 0
        self.links: dict[PublicKey, bool] = {}
        self.wanted: dict[PublicKey, tuple[Place, ...]] = {}
        self.dials_at: dict[PublicKey, int] = {}
        self.answers: list[tuple[int, PublicKey]] = []

    # What happens

    def run(self, ms: int, start_ms: int) -> None:
        """Time passes; the attacker never rests."""
        self.start_ms = start_ms
        for _ in range(ms // TICK_MS):
            self._attack()
            self.now_ms += TICK_MS
            self._dial()
            self._answer()
            self.perform(self.discovery.tick(self.now_ms, self.wall_ms))

    @property
    def wall_ms(self) -> int:
        return self.start_ms + self.now_ms

    def perform(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Dial):
                self.wanted[effect.key] = effect.places
                self.dials_at[effect.key] = self.now_ms + DIAL_MS
            elif isinstance(effect, Forget):
                self.wanted.pop(effect.key, None)
                self.dials_at.pop(effect.key, None)
            elif isinstance(effect, Drop):
                self._close(effect.key, effect.code)
            elif effect.kind == ControlKind.GET_RECORDS:
                self.answers.append((self.now_ms + DIAL_MS, effect.key))

    def _dial(self) -> None:
        due = [key for key, at_ms in self.dials_at.items() if self.now_ms >= at_ms and key not in self.links]
        for key in due:
            node = self.world.by_key[key]
            self.dials_at[key] = self.now_ms + 30_000
            here = Place(node.address.text, node.address.port)
            is_full = node.is_honest and self.world.chance.randrange(100) < FULL_PERCENT
            if not node.is_there or here not in self.wanted[key]:
                self.perform(self.discovery.dial_failed(key, EndCode.LOST, self.now_ms, self.wall_ms))
                continue
            self._open(node, is_ours=True)
            if is_full and node not in self.world.validators and key in self.links:
                self._close(key, EndCode.FULL)

    def _open(self, node: Node, *, is_ours: bool) -> None:
        self.links[node.key] = is_ours
        source = node.address if is_ours else node.address._replace(port=0)
        opened = self.discovery.opened(node.key, source, self.now_ms, self.wall_ms, is_ours=is_ours)
        self.perform(opened)
        if node.key in self.links:
            body = encode_record(node.record)
            self._receive(node.key, ControlKind.RECORD, body)

    def _close(self, key: PublicKey, code: str) -> None:
        del self.links[key]
        self.answers = [line for line in self.answers if line[1] != key]
        self.dials_at[key] = self.now_ms + 1000
        if key not in self.wanted:
            del self.dials_at[key]
        self.perform(self.discovery.closed(key, code, self.now_ms, self.wall_ms))

    def _answer(self) -> None:
        due = [key for at_ms, key in self.answers if self.now_ms >= at_ms]
        self.answers = [line for line in self.answers if self.now_ms < line[0]]
        for key in due:
            if key in self.links:
                told = self.world.told_by(self.world.by_key[key], self.wall_ms)
                self._receive(key, ControlKind.RECORDS, encode_records(told))

    def _receive(self, key: PublicKey, kind: ControlKind, body: bytes) -> None:
        self.perform(self.discovery.received(key, kind, body, self.now_ms, self.wall_ms))

    def _attack(self) -> None:
        """Come in wherever there is a place; go again, so that another key may announce itself."""
        inbound = [key for key, is_ours in self.links.items() if not is_ours]
        for key in inbound[:8]:
            self._close(key, EndCode.LOST)
        hosts = [self.world.by_key[key].host for key, is_ours in self.links.items() if not is_ours]
        for node in self.world.chance.sample(self.world.sybils, min(16, len(self.world.sybils))):
            if node.key not in self.links and self.admission.admits_peer(node.host, hosts):
                hosts.append(node.host)
                self._open(node, is_ours=False)

    # What came of it

    @property
    def outbound(self) -> list[Node]:
        """Linked nodes that it chose itself."""
        return [self.world.by_key[key] for key in self.discovery.outbound]

    @property
    def honest_outbound(self) -> int:
        return sum(node.is_honest for node in self.outbound)

    @property
    def linked_validators(self) -> int:
        return sum(node.key in self.links for node in self.world.validators)

    def file(self) -> bytes:
        """What it leaves on disk."""
        entries = [*self.book.committee.values(), *self.book.tried, *self.book.new]
        anchors = self.discovery.anchors(self.now_ms)
        saved = Saved(self.book.secret, self.discovery.sequence, entries, anchors, ())
        return encode_saved(saved, CHAIN.genesis_digest)
