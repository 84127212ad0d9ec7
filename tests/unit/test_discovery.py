"""Discovery without a network: whom to dial, what is told, asked and served, and what a peer may not do."""

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from eclipse_world import BEGIN_MS, DOMAIN, Node, make_node
from vertices import CHAIN

from cherrydag.errors import PeerFault
from cherrydag.net.address_book import AddressBook
from cherrydag.net.addresses import Address, Place
from cherrydag.net.control import (
    ControlKind,
    decode_announcement,
    decode_records,
    encode_get_records,
    encode_records,
)
from cherrydag.net.discovery import Dial, Discovery, DiscoveryLimits, Drop, Effect, Forget, Seed
from cherrydag.net.faults import EndCode, NetFault
from cherrydag.net.peer_record import AHEAD_MS, LIFE_MS, PeerRecord, encode_record, signing_digest
from cherrydag.net.record_exchange import ExchangeLimits, Own, Say
from cherrydag.signing import generate_keypair, sign_digest

KEY = generate_keypair(b"\x09" * 32)
HERE = Address.of("12.0.0.1", 7000)
EXCHANGE = ExchangeLimits()


def node(number: int) -> Node:
    return make_node(number, f"20.{number // 250}.{number % 250}.1", is_honest=True)


def place(found: Node) -> Place:
    return Place(found.address.text, found.address.port)


def moved(number: int, host: str, later_ms: int = 1000) -> PeerRecord:
    """A later record of the same node, signed."""
    key = generate_keypair(number.to_bytes(32, "little"))
    record = PeerRecord(key.public_key, (Address.of(host, 7),), BEGIN_MS + later_ms)
    return record._replace(signature=sign_digest(signing_digest(record, DOMAIN), key))


class Table:
    """One discovery and its time."""

    def __init__(self, validators: Sequence[Node], *, is_validator: bool = False, **options: Any) -> None:
        keys = [found.key for found in validators] + [KEY.public_key] * is_validator
        chance = Random(1)
        self.book = AddressBook(bytes(32), keys, chance)
        own = Own(KEY.public_key, CHAIN.genesis_digest, lambda digest: sign_digest(digest, KEY))
        places = options.pop("places", {})
        self.discovery = Discovery(own, self.book, keys, places, chance, **options)
        self.now_ms = 0

    @property
    def now(self) -> tuple[int, int]:
        return self.now_ms, BEGIN_MS + self.now_ms

    def tick(self, ms: int = 1000) -> list[Effect]:
        self.now_ms += ms
        return self.discovery.tick(*self.now)

    def opened(self, found: Node, *, is_ours: bool = True) -> list[Effect]:
        return self.discovery.opened(found.key, found.address, *self.now, is_ours=is_ours)

    def closed(self, found: Node, code: str = EndCode.LOST) -> list[Effect]:
        return self.discovery.closed(found.key, code, *self.now)

    def failed(self, found: Node, code: str = EndCode.LOST) -> list[Effect]:
        return self.discovery.dial_failed(found.key, code, *self.now)

    def told(self, found: Node, record: PeerRecord) -> list[Effect]:
        body = encode_record(record)
        return self.discovery.received(found.key, ControlKind.RECORD, body, *self.now)

    def answered(self, found: Node, records: Sequence[PeerRecord]) -> list[Effect]:
        body = encode_records(records)
        return self.discovery.received(found.key, ControlKind.RECORDS, body, *self.now)

    def asked(self, found: Node) -> list[Effect]:
        body = encode_get_records()
        return self.discovery.received(found.key, ControlKind.GET_RECORDS, body, *self.now)


def dialled(effects: Sequence[Effect]) -> list[bytes]:
    return [effect.key for effect in effects if isinstance(effect, Dial)]


def said(effects: Sequence[Effect], kind: ControlKind) -> list[Say]:
    return [effect for effect in effects if isinstance(effect, Say) and effect.kind == kind]


def refused(call: Any, *arguments: Any) -> str:
    with pytest.raises(PeerFault) as caught:
        call(*arguments)
    return caught.value.code


MEMBERS = [node(number) for number in range(4)]
PLACES = {member.key: [place(member)] for member in MEMBERS}

# Whom to dial


def test_a_validator_dials_all_others_once() -> None:
    table = Table(MEMBERS, is_validator=True, places=PLACES)
    assert sorted(dialled(table.tick())) == sorted(member.key for member in MEMBERS)
    assert dialled(table.tick()) == []
    table.opened(MEMBERS[0])
    assert table.closed(MEMBERS[0], EndCode.FULL) == []  # the dialler goes on


def test_another_node_dials_some_validators_and_lets_those_without_room_rest() -> None:
    members = [node(number) for number in range(20)]
    table = Table(members, places={member.key: [place(member)] for member in members})
    first = dialled(table.tick())
    assert len(first) == table.discovery.limits.validators == 16
    full = next(member for member in members if member.key == first[0])
    table.opened(full)
    assert Forget(full.key) in table.closed(full, EndCode.FULL)
    (instead,) = dialled(table.tick())
    assert instead not in first
    assert full.key not in dialled(table.tick(table.discovery.limits.rest_ms - 2000))


def test_a_validators_fresher_record_comes_before_what_is_configured() -> None:
    table = Table(MEMBERS, places=PLACES)
    table.tick()
    table.opened(MEMBERS[1])
    record = moved(0, "30.0.0.1")
    effects = table.told(MEMBERS[1], record)
    assert Dial(MEMBERS[0].key, (Place("30.0.0.1", 7), place(MEMBERS[0]))) in effects
    assert dialled(table.told(MEMBERS[1], MEMBERS[0].record)) == []  # the older one changes nothing


def test_outbound_links_are_in_distinct_networks() -> None:
    table = Table([], limits=DiscoveryLimits(outbound=3))
    for number in range(30):
        found = make_node(number, f"40.1.{number}.1", is_honest=True)
        table.book.add(found.record, Address.of(f"{50 + number}.1.1.1", 0))
    chosen = [key for _ in range(20) for key in dialled(table.tick())]
    assert len(chosen) == 1
    other = make_node(99, "41.1.1.1", is_honest=True)
    table.book.add(other.record, HERE)
    assert [key for _ in range(20) for key in dialled(table.tick())] == [other.key]


def test_half_of_the_links_are_kept_for_whom_validators_told_of() -> None:
    table = Table(MEMBERS, places=PLACES, limits=DiscoveryLimits(outbound=4))
    hearsay = [node(100 + 300 * number) for number in range(10)]
    for found in hearsay:
        table.book.add(found.record, HERE)
    table.opened(MEMBERS[0])
    chosen = [key for _ in range(60) for key in dialled(table.tick()) if key not in PLACES]
    assert len(chosen) == 2
    vouched = [make_node(5000 + number, f"6{number}.1.1.1", is_honest=True) for number in range(3)]
    table.answered(MEMBERS[0], [found.record for found in vouched])
    later = [key for _ in range(60) for key in dialled(table.tick()) if key not in PLACES]
    assert len(later) == 2 and set(later) <= {found.key for found in vouched}


def test_anchors_come_first_and_only_lasting_links_become_some() -> None:
    anchors = [Seed(node(number).key, place(node(number))) for number in (300, 301, 600)]
    table = Table([], anchors=anchors)
    assert dialled(table.tick())[:3] == [key for key, _ in anchors]
    table.opened(node(300))
    table.tick(table.discovery.limits.steady_ms - 1)
    assert table.discovery.anchors(table.now_ms) == []
    table.tick(1)
    assert table.discovery.anchors(table.now_ms) == anchors[:1]


def test_a_seed_is_dialled_while_no_validator_is_linked_and_again_when_none_is() -> None:
    seed = node(300)
    table = Table(MEMBERS, places=PLACES, seeds=[Seed(seed.key, place(seed))])
    for number in range(400, 430):  # a full book is no reason to go without
        table.book.add(node(number).record, HERE)
    assert seed.key in dialled(table.tick())
    assert table.failed(seed) == []  # dialled on
    table.opened(MEMBERS[0])
    for number in range(400, 430):
        table.book.answered(node(number).key, node(number).address, BEGIN_MS)
    assert table.failed(seed) == [Forget(seed.key)]
    assert seed.key not in dialled(table.tick())
    table.closed(MEMBERS[0])
    assert seed.key in dialled(table.tick())


def test_a_feeler_moves_who_answers_to_the_tried_and_hangs_up() -> None:
    table = Table([], limits=DiscoveryLimits(outbound=0))
    found = node(300)
    table.book.add(found.record, HERE)
    assert dialled(table.tick(0)) == []
    assert dialled(table.tick(table.discovery.limits.feeler_ms)) == [found.key]
    effects = table.opened(found)
    assert [type(effect) for effect in effects if not isinstance(effect, Say)] == [Forget, Drop]
    assert [entry.record for entry in table.book.tried] == [found.record]


def test_a_node_that_comes_while_we_feel_for_it_may_stay() -> None:
    table = Table([], limits=DiscoveryLimits(outbound=0))
    found = node(300)
    table.book.add(found.record, HERE)
    table.tick(0)
    assert dialled(table.tick(table.discovery.limits.feeler_ms)) == [found.key]
    assert table.opened(found, is_ours=False) == [Forget(found.key)]


def test_hearsay_alone_does_not_make_seeds_needless() -> None:
    seed = node(300)
    table = Table(MEMBERS, places=PLACES, seeds=[Seed(seed.key, place(seed))])
    table.opened(MEMBERS[0])
    for number in range(400, 430):
        table.book.add(node(number).record, HERE)
    assert seed.key in dialled(table.tick())


def test_a_link_that_another_replaces_is_no_loss() -> None:
    table = Table([])
    found = node(300)
    table.book.add(found.record, HERE)
    assert dialled(table.tick()) == [found.key]
    table.opened(found)
    assert table.closed(found, EndCode.DUPLICATE) == []
    table.opened(found, is_ours=False)
    assert list(table.discovery.outbound) == [found.key]
    assert Forget(found.key) in table.closed(found)


# Our own record


def test_our_record_is_told_on_every_link_and_anew_when_it_changes() -> None:
    table = Table(MEMBERS, places=PLACES)
    assert said(table.opened(MEMBERS[0]), ControlKind.RECORD) == []
    (first,) = said(table.discovery.set_addresses([HERE], BEGIN_MS), ControlKind.RECORD)
    assert decode_announcement(first.body) == table.discovery.record
    assert table.discovery.set_addresses([HERE], BEGIN_MS) == []
    assert said(table.opened(MEMBERS[1]), ControlKind.RECORD) == [first._replace(key=MEMBERS[1].key)]
    assert (
        len(said(table.discovery.set_addresses([HERE._replace(port=1)], BEGIN_MS), ControlKind.RECORD)) == 2
    )
    assert table.discovery.sequence == BEGIN_MS + 1  # the clock did not move
    renewed = table.tick(EXCHANGE.renew_ms + 1)
    assert len(said(renewed, ControlKind.RECORD)) == 2
    assert table.discovery.sequence == BEGIN_MS + EXCHANGE.renew_ms + 1


def test_a_record_of_ours_from_a_clock_that_was_ahead_is_outdone() -> None:
    table = Table(MEMBERS, places=PLACES)
    table.opened(MEMBERS[0])
    table.discovery.set_addresses([HERE], BEGIN_MS)
    ahead = PeerRecord(KEY.public_key, (HERE._replace(port=9),), BEGIN_MS + 5000)
    ahead = ahead._replace(signature=sign_digest(signing_digest(ahead, DOMAIN), KEY))
    table.opened(MEMBERS[1])
    table.discovery._exchange.links[MEMBERS[1].key].waits = True
    effects = table.answered(MEMBERS[1], [ahead])
    assert {decode_announcement(say.body).sequence for say in said(effects, ControlKind.RECORD)} == {
        BEGIN_MS + 5001
    }


# Others' records


def test_news_of_a_validator_go_to_all_others_once_and_not_too_often() -> None:
    table = Table(MEMBERS, places=PLACES)
    for member in MEMBERS[1:]:
        table.opened(member)
    record = moved(0, "30.0.0.1")
    relayed = said(table.told(MEMBERS[1], record), ControlKind.RECORD)
    assert {say.key for say in relayed} == {member.key for member in MEMBERS[2:]}
    assert said(table.told(MEMBERS[2], record), ControlKind.RECORD) == []
    newest = moved(0, "30.0.0.2", 2000)
    assert said(table.told(MEMBERS[2], newest), ControlKind.RECORD) == []  # not so soon
    assert said(table.tick(EXCHANGE.relay_ms - 1), ControlKind.RECORD) == []
    late = said(table.tick(1), ControlKind.RECORD)
    assert {decode_announcement(say.body) for say in late} == {newest}


@pytest.mark.parametrize(
    ("sequence", "taken"),
    [
        (BEGIN_MS - LIFE_MS, False),
        (BEGIN_MS - LIFE_MS + 1, True),
        (BEGIN_MS + AHEAD_MS, True),
        (BEGIN_MS + AHEAD_MS + 1, False),
    ],
)
def test_records_too_old_or_from_the_future_are_not_kept(sequence: int, taken: bool) -> None:
    table = Table(MEMBERS, places=PLACES)
    table.opened(MEMBERS[1])
    table.told(MEMBERS[1], moved(0, "30.0.0.1", sequence - BEGIN_MS))
    assert (table.book.find(MEMBERS[0].key) is not None) == taken


def test_a_peer_tells_unasked_of_itself_and_of_validators_only() -> None:
    table = Table(MEMBERS, places=PLACES)
    peer, other = node(300), node(301)
    table.opened(peer, is_ours=False)
    table.told(peer, peer.record)
    assert table.book.find(peer.key) is not None
    assert refused(table.told, peer, other.record) == NetFault.RECORDS


def test_records_that_are_not_signed_are_a_fault_and_none_of_that_answer_is_kept() -> None:
    table = Table(MEMBERS, places=PLACES)
    table.opened(MEMBERS[1])
    good, bad = node(300).record, node(301).record._replace(flags=1)
    assert refused(table.answered, MEMBERS[1], [good, bad]) == NetFault.RECORD_SIGNATURE
    assert len(table.book) == 0
    assert refused(table.told, MEMBERS[1], MEMBERS[1].record._replace(flags=1)) == NetFault.RECORD_SIGNATURE


def test_what_is_told_unasked_is_bounded_by_a_burst_and_a_rate() -> None:
    limits = DiscoveryLimits(exchange=ExchangeLimits(announce_burst=3))
    table = Table(MEMBERS, places=PLACES, limits=limits)
    peer = node(300)
    table.opened(peer, is_ours=False)
    for _ in range(3):
        table.told(peer, peer.record)
    assert refused(table.told, peer, peer.record) == NetFault.RECORDS
    table.now_ms += 999
    assert refused(table.told, peer, peer.record) == NetFault.RECORDS
    table.now_ms += 1
    table.told(peer, peer.record)


# Asking and serving


def test_one_request_is_in_flight_and_no_answer_comes_without_one() -> None:
    table = Table(MEMBERS)  # nobody's place is known: it is poor
    asked = said(table.opened(MEMBERS[0]), ControlKind.GET_RECORDS)
    assert [say.key for say in asked] == [MEMBERS[0].key]
    for _ in range(100):
        assert said(table.tick(), ControlKind.GET_RECORDS) == []
    table.answered(MEMBERS[0], [])
    assert len(said(table.tick(), ControlKind.GET_RECORDS)) == 1
    table.answered(MEMBERS[0], [])
    assert refused(table.answered, MEMBERS[0], []) == NetFault.RECORDS
    asks = [say for _ in range(60) for say in said(table.tick(), ControlKind.GET_RECORDS)]
    assert len(asks) == 1


def test_a_peer_may_ask_again_after_a_while() -> None:
    table = Table(MEMBERS, places=PLACES)
    peer = node(300)
    table.opened(peer, is_ours=False)
    assert len(said(table.asked(peer), ControlKind.RECORDS)) == 1
    table.now_ms += EXCHANGE.serve_ms - 1
    assert refused(table.asked, peer) == NetFault.RECORDS
    table.now_ms += 1
    table.asked(peer)


def test_what_is_served_are_validators_the_linked_and_the_tried_but_no_hearsay() -> None:
    table = Table(MEMBERS, places=PLACES)
    linked, tried, hearsay, peer = (node(number) for number in (300, 301, 302, 303))
    table.book.add(MEMBERS[0].record, HERE)
    table.opened(linked, is_ours=False)
    table.told(linked, linked.record)
    for found in (tried, hearsay):
        table.book.add(found.record, HERE)
    table.book.answered(tried.key, tried.address, BEGIN_MS)
    table.opened(peer, is_ours=False)
    (answer,) = said(table.asked(peer), ControlKind.RECORDS)
    told = {record.public_key for record in decode_records(answer.body)}
    assert told == {MEMBERS[0].key, linked.key, tried.key}


def test_all_who_ask_meanwhile_are_told_the_same() -> None:
    table = Table(MEMBERS, places=PLACES)
    for number in range(300, 500):
        table.book.add(node(number).record, Address.of(f"{number - 290}.1.1.1", 0))
        table.book.answered(node(number).key, node(number).address, BEGIN_MS)
    answers = []
    for number in range(10):
        peer = node(600 + number)
        table.opened(peer, is_ours=False)
        answers.append(said(table.asked(peer), ControlKind.RECORDS)[0].body)
    assert len(set(answers)) == 1
    table.now_ms += EXCHANGE.sample_ms
    assert said(table.asked(peer), ControlKind.RECORDS)[0].body != answers[0]


@pytest.mark.parametrize("body", [b"", b"x" * 300])
@pytest.mark.parametrize("kind", [ControlKind.RECORD, ControlKind.GET_RECORDS, ControlKind.RECORDS])
def test_no_bytes_of_a_peer_are_more_than_a_fault(kind: ControlKind, body: bytes) -> None:
    table = Table(MEMBERS)
    table.opened(MEMBERS[0])
    assert refused(table.discovery.received, MEMBERS[0].key, kind, body, *table.now) == NetFault.RECORD
