"""Signed peer records and the frames that carry them: canonical, bounded, total."""

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vertices import CHAIN, KEYS, OTHER_CHAIN

from cherrydag.errors import PeerFault, ShapeError
from cherrydag.gossip.message_codec import FRAME_HEAD
from cherrydag.net.addresses import NOWHERE, Address, Scope, group_of, scope_of
from cherrydag.net.control import (
    BYTES_MAX,
    GET_RECORDS_BYTES,
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
    AHEAD_MS,
    LIFE_MS,
    RECORD_BYTES_MAX,
    PeerRecord,
    decode_record,
    encode_record,
    record_domain,
    signing_digest,
    verify_records,
)
from cherrydag.signing import generate_keypair, sign_digest

DOMAIN = record_domain(CHAIN.genesis_digest)
PLACES = tuple(
    Address.of(host, port)
    for host, port in (("8.8.4.4", 7000), ("2600:1::7", 7001), ("10.0.0.1", 7002), ("127.0.0.1", 65_535))
)
AT_MS = 1_700_000_000_000


def record(number: int = 0, **changes: Any) -> PeerRecord:
    """A record that validator `number` of the small chain has signed."""
    key = KEYS[number]
    fields = {"public_key": key.public_key, "addresses": PLACES[:1], "sequence": AT_MS, "flags": 0}
    made = PeerRecord(**fields | changes)
    return made._replace(signature=sign_digest(signing_digest(made, DOMAIN), key))


VECTORS = {
    "one address": record(),
    "all addresses, all flags": record(1, addresses=PLACES, flags=255, sequence=2**64 - 1),
    "the first moment": record(2, addresses=PLACES[1:2], sequence=0),
}


def code(body: bytes) -> str | None:
    """Why these bytes are no record; None if they are, and then the same bytes again."""
    try:
        found = decode_announcement(body)
    except PeerFault as fault:
        assert str(fault)
        return fault.code
    assert encode_record(found) == body
    return None


# Records


def test_bytes_of_records_are_pinned() -> None:
    shown = {name: hashlib.sha256(encode_record(made)).hexdigest()[:16] for name, made in VECTORS.items()}
    assert shown == {
        "one address": "3767b0458639f091",
        "all addresses, all flags": "dd29e8d3ada34484",
        "the first moment": "16f42db2cdb5c218",
    }


def test_every_byte_of_a_record_is_where_the_layout_says() -> None:
    made = VECTORS["one address"]
    assert encode_record(made) == (
        bytes([1, 0]) + AT_MS.to_bytes(8, "little") + made.public_key + bytes([1])
        + bytes(10) + b"\xff\xff" + bytes([8, 8, 4, 4]) + (7000).to_bytes(2, "little") + made.signature
    )  # fmt: skip
    assert len(encode_record(VECTORS["all addresses, all flags"])) == RECORD_BYTES_MAX


@pytest.mark.parametrize("name", VECTORS)
def test_a_record_is_what_was_signed(name: str) -> None:
    body = encode_record(VECTORS[name])
    assert decode_announcement(memoryview(body)) == VECTORS[name]
    assert decode_record(b"xx" + body + b"y", 2) == (VECTORS[name], 2 + len(body))
    assert verify_records([VECTORS[name]], DOMAIN) == [True]


@given(st.binary(max_size=RECORD_BYTES_MAX + 8))
def test_any_bytes_are_a_record_or_refused(body: bytes) -> None:
    assert code(body) in (None, NetFault.RECORD)


@given(st.binary(max_size=RECORD_BYTES_MAX), st.integers(0, 5))
def test_any_bytes_behind_a_head_are_a_record_or_refused(body: bytes, count: int) -> None:
    assert code(bytes([1]) + body[:41].ljust(41, b"k") + bytes([count]) + body[41:]) in (
        None,
        NetFault.RECORD,
    )


def test_every_flipped_byte_is_refused_or_no_longer_signed() -> None:
    for made in VECTORS.values():
        body = encode_record(made)
        for at in range(len(body)):
            mutated = bytearray(body)
            mutated[at] ^= 1
            if code(bytes(mutated)) is None:
                assert verify_records([decode_announcement(mutated)], DOMAIN) == [False], at


def test_a_record_cut_or_extended_is_refused() -> None:
    body = encode_record(VECTORS["all addresses, all flags"])
    assert {code(body[:size]) for size in range(len(body))} == {NetFault.RECORD}
    assert code(body + b"x") == NetFault.RECORD


def test_a_record_of_another_chain_or_key_is_not_signed() -> None:
    made = record()
    stolen = made._replace(public_key=KEYS[1].public_key)
    assert verify_records([made, stolen], DOMAIN) == [True, False]
    assert verify_records([made], record_domain(OTHER_CHAIN.genesis_digest)) == [False]
    assert verify_records([], DOMAIN) == []


@pytest.mark.parametrize(
    "addresses",
    [
        (),
        (*PLACES, Address.of("8.8.8.8", 1)),
        PLACES[:1] * 2,
        (Address.of("8.8.8.8", 0),),
        (NOWHERE._replace(port=1),),
        (Address.of("0.0.0.0", 1),),
        (Address.of("224.0.0.1", 1),),
        (Address.of("ff02::1", 1),),
    ],
)
def test_addresses_where_no_node_can_be_are_refused_both_ways(addresses: tuple[Address, ...]) -> None:
    with pytest.raises(ShapeError):
        encode_record(record()._replace(addresses=addresses))
    packed = b"".join(address.host + address.port.to_bytes(2, "little") for address in addresses)
    body = encode_record(record())
    assert code(body[:42] + bytes([len(addresses)]) + packed + body[-64:]) == NetFault.RECORD


def test_fields_out_of_range_are_our_bug() -> None:
    for wrong in ({"sequence": -1}, {"sequence": 2**64}, {"flags": 256}, {"public_key": b"short"}):
        with pytest.raises(ShapeError):
            encode_record(record()._replace(**wrong))
    assert len(PLACES) == ADDRESSES_MAX


def test_a_record_is_believed_for_its_life_and_a_little_before_its_time() -> None:
    made = record()
    ages = (LIFE_MS - 1, LIFE_MS, -AHEAD_MS, -AHEAD_MS - 1)
    assert [made.is_current(AT_MS + age) for age in ages] == [True, False, True, False]


# Frames


def many(count: int) -> list[PeerRecord]:
    """Records of so many keys, unsigned, as large as they can be."""
    keys = [generate_keypair(number.to_bytes(32, "big")).public_key for number in range(count)]
    return [PeerRecord(key, PLACES, AT_MS) for key in keys]


def test_an_answer_is_bounded_in_records_and_bytes() -> None:
    for count in (0, 1, RECORDS_MAX):
        body = encode_records(many(count))
        assert decode_records(body) == tuple(many(count))
        assert len(body) <= BYTES_MAX[ControlKind.RECORDS]
    assert len(body) == BYTES_MAX[ControlKind.RECORDS]
    with pytest.raises(ShapeError):
        encode_records(many(RECORDS_MAX + 1))
    with pytest.raises(PeerFault):
        decode_records(bytes([RECORDS_MAX + 1]) + body[1:])


def test_no_answer_has_more_than_20_times_the_bytes_of_its_request() -> None:
    request = FRAME_HEAD.size + len(encode_get_records())
    answer = FRAME_HEAD.size + BYTES_MAX[ControlKind.RECORDS]
    assert answer <= 20 * request


def test_a_request_has_one_form() -> None:
    check_get_records(encode_get_records())
    for wrong in (b"", bytes(GET_RECORDS_BYTES - 1), bytes(GET_RECORDS_BYTES + 1), b"\x01" + bytes(447)):
        with pytest.raises(PeerFault) as refused:
            check_get_records(wrong)
        assert refused.value.code == NetFault.RECORD


def test_an_answer_cut_extended_or_with_a_key_twice_is_refused() -> None:
    body = encode_records(many(3))
    twice = encode_records([*many(2), *many(1)])
    for wrong in (*[body[:size] for size in range(len(body))], body + b"x", twice):
        with pytest.raises(PeerFault) as refused:
            decode_records(wrong)
        assert refused.value.code == NetFault.RECORD


@given(st.binary(max_size=600))
def test_any_bytes_are_an_answer_or_refused(body: bytes) -> None:
    try:
        assert encode_records(decode_records(body)) == body
    except PeerFault as fault:
        assert fault.code == NetFault.RECORD


# Addresses


def test_scopes_of_addresses() -> None:
    shown = [scope_of(address) for address in PLACES]
    assert shown == [Scope.WORLD, Scope.WORLD, Scope.NEAR, Scope.HOST]
    assert scope_of(Address.of("fe80::1", 1)) is Scope.NEAR
    assert scope_of(Address.of("::1", 1)) is Scope.HOST


def test_addresses_of_one_owner_are_one_group() -> None:
    def group(host: str, port: int = 1) -> bytes:
        return group_of(Address.of(host, port))

    assert group("8.8.1.1") == group("8.8.255.255", 9) != group("8.9.1.1")
    assert group("2600:1:2::1") == group("2600:1:ffff::1") != group("2600:2::1")
    assert group("127.0.0.1", 1) != group("127.0.0.1", 2)
    assert group("10.0.0.1") != group("10.0.0.2")
