"""Around a connection: control frames, which one stays, certificates, admission, dialling."""

import ssl
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages import hello
from vertices import KEYS

from cherrydag.errors import PeerFault, ShapeError
from cherrydag.net import certificates
from cherrydag.net.addresses import Place
from cherrydag.net.admission import Admission, AdmissionLimits, Ban, plain, prefix
from cherrydag.net.certificates import authority_certificate, leaf_certificate, peer_key, tls_context
from cherrydag.net.control import (
    GOODBYE_CODE_BYTES_MAX,
    GOODBYE_TEXT_BYTES_MAX,
    HELLO_EXTRA_BYTES_MAX,
    NOWHERE,
    Address,
    decode_goodbye,
    decode_hello,
    decode_token,
    encode_goodbye,
    encode_hello,
    encode_token,
)
from cherrydag.net.dialing import Dialer, DialLimits
from cherrydag.net.faults import NetFault
from cherrydag.net.handshake import agree, check_validator, is_newer_kept
from cherrydag.params import COMMITTEE_MAX

# Hello and goodbye


@given(st.binary(max_size=400))
def test_any_hello_is_refused_or_canonical(body: bytes) -> None:
    try:
        assert encode_hello(decode_hello(body)) == body
    except PeerFault as fault:
        assert fault.code == NetFault.HELLO


def test_every_flipped_byte_of_a_hello_is_refused_or_another_hello() -> None:
    body = encode_hello(hello(extra=b"later"))
    refused = 0
    for at in range(len(body)):
        mutated = bytearray(body)
        mutated[at] ^= 255
        try:
            assert encode_hello(decode_hello(mutated)) == mutated
        except PeerFault:
            refused += 1
    assert refused == 4  # either byte that makes the versions disagree, or the index too high


def test_size_of_a_hello() -> None:
    body = encode_hello(hello())
    extra = bytes(HELLO_EXTRA_BYTES_MAX)
    assert decode_hello(body + extra).extra == extra
    for wrong in (b"", body[:-1], body + extra + b"x"):
        with pytest.raises(PeerFault):
            decode_hello(wrong)
    with pytest.raises(ShapeError):
        encode_hello(hello(extra=extra + b"x"))


def test_a_validators_index_is_within_a_committee_or_none() -> None:
    for index, taken in ((COMMITTEE_MAX - 1, True), (COMMITTEE_MAX, False), (0xFFFE, False)):
        body = encode_hello(hello(validator=index))
        if taken:
            assert decode_hello(body).validator == index
        else:
            with pytest.raises(PeerFault, match="validator"):
                decode_hello(body)
    assert decode_hello(encode_hello(hello(validator=None))).validator is None


def test_addresses_of_both_kinds() -> None:
    for text in ("192.0.2.1", "2001:db8::1"):
        assert Address.of(text, 1).text == text
    assert NOWHERE.text == "::"
    with pytest.raises(ValueError, match="appear"):
        Address.of("nowhere.example", 1)


@given(st.binary(max_size=260))
def test_any_goodbye_is_refused_or_canonical(body: bytes) -> None:
    try:
        assert encode_goodbye(*decode_goodbye(body)) == body
    except PeerFault as fault:
        assert fault.code == NetFault.GOODBYE


def test_a_goodbye_cannot_forge_lines_of_a_log() -> None:
    assert decode_goodbye(encode_goodbye("end_full", "a\r\nb\x1b[31m→")).text == "a??b?[31m?"
    for text in (b"\n", b"\x1b", b"\x7f", b"\xff"):
        with pytest.raises(PeerFault):
            decode_goodbye(b"\x01a" + text)


def test_sizes_of_a_goodbye() -> None:
    assert len(decode_goodbye(encode_goodbye("a", "x" * 1000)).text) == GOODBYE_TEXT_BYTES_MAX
    code = "c" * GOODBYE_CODE_BYTES_MAX
    assert decode_goodbye(encode_goodbye(code, "")).code == code
    for wrong in ("", code + "c", "not\nprintable"):
        with pytest.raises(ShapeError):
            encode_goodbye(wrong, "")
    for body in (b"", b"\x00", b"\x02a", bytes([33]) + b"c" * 33, b"\x01a" + b"x" * 201):
        with pytest.raises(PeerFault):
            decode_goodbye(body)
    assert len(decode_goodbye(b"\x01a" + b"x" * 200).text) == 200


def test_tokens_are_eight_bytes() -> None:
    assert decode_token(encode_token(2**64 - 1)) == 2**64 - 1
    for size in (0, 7, 9):
        with pytest.raises(PeerFault):
            decode_token(bytes(size))


# What goes together


def test_the_newest_common_version_is_spoken() -> None:
    for ours, theirs, version in (
        ((1, 2), (2, 3), 2),
        ((1, 3), (1, 2), 2),
        ((2, 2), (1, 2), 2),
        ((1, 1), (2, 2), 0),
    ):
        own = hello(0, version_min=ours[0], version_max=ours[1])
        peer = hello(1, version_min=theirs[0], version_max=theirs[1])
        for pair in ((own, peer), (peer, own)):
            key = pair[1].public_key
            if version:
                assert agree(*pair, key, None) == version
            else:
                with pytest.raises(PeerFault) as raised:
                    agree(*pair, key, None)
                assert raised.value.code == NetFault.VERSION


def test_a_peer_of_our_epoch_is_the_validator_that_it_says() -> None:
    validators = {KEYS[number].public_key: number for number in range(3)}
    check_validator(hello(0), hello(1), validators)
    check_validator(hello(0), hello(3, validator=None), validators)
    check_validator(hello(0), hello(1, validator=2, epoch=8), validators)
    for lie in (hello(1, validator=2), hello(1, validator=None), hello(3, validator=3)):
        with pytest.raises(PeerFault) as raised:
            check_validator(hello(0), lie, validators)
        assert raised.value.code == NetFault.IDENTITY


@pytest.mark.parametrize("older_of_low", [True, False])
@pytest.mark.parametrize("newer_of_low", [True, False])
def test_both_ends_keep_the_same_connection(older_of_low: bool, newer_of_low: bool) -> None:
    """Two connections between two live processes: whatever order each end sees them in, one stays."""
    low, high = sorted((hello(0), hello(1)), key=lambda said: said.public_key)
    kept = []
    for own, peer in ((low, high), (high, low)):
        ours = [of_low == (own is low) for of_low in (older_of_low, newer_of_low)]
        newer = is_newer_kept(own.public_key, peer, peer, ours[0], ours[1])
        kept.append("newer" if newer else "older")
        if older_of_low != newer_of_low:  # the other order
            assert is_newer_kept(own.public_key, peer, peer, ours[1], ours[0]) is not newer
    assert kept[0] == kept[1]


def test_a_peer_that_has_started_anew_replaces_its_old_connection() -> None:
    for older_is_ours in (True, False):
        for newer_is_ours in (True, False):
            restarted = hello(1, nonce=bytes(16))
            assert is_newer_kept(KEYS[0].public_key, hello(1), restarted, older_is_ours, newer_is_ours)


# Certificates


def shake(client: ssl.SSLContext, server: ssl.SSLContext) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """A TLS handshake in memory: the client's and the server's end."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True))
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ends


def test_tls_proves_either_key() -> None:
    contexts = tls_context(KEYS[0], server=False), tls_context(KEYS[1], server=True)
    for context in contexts:
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    client, server = shake(*contexts)
    assert peer_key(client.getpeercert(binary_form=True)) == KEYS[1].public_key
    assert peer_key(server.getpeercert(binary_form=True)) == KEYS[0].public_key
    assert client.version() == server.version() == "TLSv1.3"
    assert client.selected_alpn_protocol() == "cherrydag/1"


def test_tls_refuses_a_peer_without_a_certificate_or_with_an_older_version() -> None:
    server = tls_context(KEYS[1], server=True)
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.check_hostname, bare.verify_mode = False, ssl.CERT_NONE
    with pytest.raises(ssl.SSLError, match="did not return a certificate"):
        shake(bare, server)
    old = tls_context(KEYS[0], server=False)
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        shake(old, server)


def test_a_certificate_without_its_key_is_of_no_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenSSL would not even load it; nor could it finish a handshake."""
    stolen = leaf_certificate(KEYS[2].public_key)
    monkeypatch.setattr(certificates, "leaf_certificate", lambda _: stolen)
    with pytest.raises(ssl.SSLError, match="key values mismatch"):
        tls_context(KEYS[0], server=False)


def test_the_secret_key_leaves_no_file_open() -> None:
    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = count()
    tls_context(KEYS[0], server=True)
    assert count() == before


@given(st.binary(min_size=32, max_size=32))
def test_the_key_in_a_certificate(key: bytes) -> None:
    assert peer_key(leaf_certificate(key)) == key


def test_a_certificate_in_any_other_form_is_refused() -> None:
    good = leaf_certificate(KEYS[0].public_key)
    at = good.index(KEYS[0].public_key)
    for wrong in (None, b"", good[:-1], good + b"\x00", authority_certificate(), good[:200], bytes(100_000)):
        with pytest.raises(PeerFault) as raised:
            peer_key(wrong)
        assert raised.value.code == NetFault.IDENTITY
    for place in range(len(good) - 64):
        mutated = bytearray(good)
        mutated[place] ^= 1
        if at <= place < at + 32:
            assert peer_key(bytes(mutated)) != KEYS[0].public_key
        else:
            with pytest.raises(PeerFault):
                peer_key(bytes(mutated))


# Admission


def admission(**changes: int) -> Admission:
    return Admission(AdmissionLimits(**changes))


def test_pending_handshakes_are_bounded_and_some_are_kept_for_validators() -> None:
    door = admission(pending_max=8, pending_reserved=3)
    door.set_reserved(["192.0.2.7", "name.example"])
    for pending, stranger, validator in (
        (4, True, True),
        (5, False, True),
        (7, False, True),
        (8, False, False),
    ):
        assert door.admits_socket("198.51.100.1", pending, 0) is stranger
        assert door.admits_socket("192.0.2.7", pending, 0) is validator
    assert door.refused == 4


def test_a_prefix_has_so_many_handshakes_a_second() -> None:
    door = admission(prefix_rate=10)

    def admitted(now_ms: int, host: str = "198.51.100.{}") -> int:
        return sum(door.admits_socket(host.format(number), 0, now_ms) for number in range(30))

    assert admitted(0) == 10
    assert admitted(0, "198.51.101.{}") == 10
    assert [admitted(now_ms) for now_ms in (99, 100, 199, 200, 1200, 99_000)] == [0, 1, 0, 1, 10, 10]


def test_validators_addresses_are_not_held_to_the_rate() -> None:
    door = admission(prefix_rate=1)
    door.set_reserved(["::ffff:192.0.2.7"])
    assert all(door.admits_socket("192.0.2.7", 0, 0) for _ in range(20))
    assert [door.admits_socket("192.0.2.8", 0, 0) for _ in range(2)] == [True, False]


def test_networks_are_counted_as_a_24_or_a_48() -> None:
    assert prefix("192.0.2.1") == prefix("192.0.2.255") != prefix("192.0.3.1")
    assert prefix("2001:db8:1::1") == prefix("2001:db8:1:ffff::1") != prefix("2001:db8:2::1")
    assert plain("::ffff:192.0.2.1") == "192.0.2.1"
    assert plain("fe80::1%eth0") == "fe80::1"
    assert plain("name.example") == "name.example"


def test_remembered_prefixes_are_bounded() -> None:
    door = admission(prefix_rate=1, prefixes_max=3)
    for number in (0, 1, 2):
        assert door.admits_socket(f"10.0.{number}.1", 0, number)
    assert not door.admits_socket("10.0.0.1", 0, 3)
    assert door.admits_socket("10.0.3.1", 0, 3)  # now 10.0.1 was seen least lately
    assert not door.admits_socket("10.0.2.1", 0, 4)
    assert door.admits_socket("10.0.1.1", 0, 4)


def test_places_of_others_are_bounded() -> None:
    door = admission(others_max=2)
    here = "127.0.0.1"
    assert [door.admits_peer(here, [here] * others) for others in (0, 1, 2, 3)] == [True, True, False, False]


def test_one_network_of_the_world_has_few_places_and_a_private_one_all() -> None:
    door = admission(others_max=8, group_max=2)
    same, other = ["8.8.1.1", "8.8.2.1"], ["8.9.1.1", "8.9.2.1"]
    assert door.admits_peer("8.8.3.1", same[:1] + other)
    assert not door.admits_peer("8.8.3.1", same + other[:1])
    assert door.admits_peer("8.7.3.1", same + other)
    assert not door.admits_peer("2600:1:3::1", ["2600:1:1::1", "2600:1:2::1"])
    assert door.admits_peer("2600:2:3::1", ["2600:1:1::1", "2600:1:2::1"])
    assert door.admits_peer("10.0.0.9", [f"10.0.0.{number}" for number in range(7)])


def test_bans_end_and_are_bounded() -> None:
    door = admission(bans_max=3)
    keys = [key.public_key for key in KEYS]
    door.ban(Ban(keys[0], "192.0.2.1", 1000))
    assert [door.is_banned(keys[0], now_ms) for now_ms in (999, 1000)] == [True, False]
    door.ban(Ban(keys[0], "192.0.2.1", 1000))
    assert not door.admits_socket("192.0.2.1", 0, 999)
    assert door.admits_socket("192.0.2.2", 0, 999)
    assert door.admits_socket("192.0.2.1", 0, 1000)
    for number, key in enumerate(keys):
        door.ban(Ban(key, None, 5000 + number))
    assert [door.is_banned(key, 2000) for key in keys] == [False, True, True, True]
    assert [ban.key for ban in door.bans(5001)] == keys[2:]


def test_who_is_unbanned_may_come_back_from_its_address() -> None:
    door = admission()
    key = KEYS[0].public_key
    door.ban(Ban(key, "192.0.2.1", 1000, "it lied"))
    assert door.bans(0) == [Ban(key, "192.0.2.1", 1000, "it lied")]
    assert door.unban(key) and not door.unban(key)
    assert door.admits_socket("192.0.2.1", 0, 0) and not door.is_banned(key, 0)


def test_a_validators_host_is_not_shut_for_what_a_neighbour_did() -> None:
    door = admission()
    door.set_reserved(["192.0.2.1"])
    door.ban(Ban(KEYS[0].public_key, "192.0.2.1", 1000))
    assert door.admits_socket("192.0.2.1", 0, 0)
    assert door.is_banned(KEYS[0].public_key, 0)


# Dialling


def dialer(**changes: int) -> Dialer:
    made = Dialer(Random(1), DialLimits(**changes))
    for number in range(3):
        made.want(KEYS[number].public_key, [Place("192.0.2.1", 4000 + number)])
    return made


def test_every_wanted_peer_is_dialled_once_at_a_time() -> None:
    made = dialer(dials_max=2)
    first = [target.key for target in made.due(0)]
    assert first == sorted(key.public_key for key in KEYS[:3])[:2]
    assert made.due(0) == []
    made.opened(first[0], 0)
    (third,) = made.due(0)
    assert third.key not in first
    made.forget(third.key)
    assert made.due(10**9) == []


def test_pauses_double_up_to_the_longest_and_a_part_is_chance() -> None:
    made = Dialer(Random(7), DialLimits(pause_ms=100, pause_max_ms=1000))
    key = KEYS[0].public_key
    made.want(key, [Place("192.0.2.1", 1)])
    now_ms = 0
    for whole in (100, 200, 400, 800, 1000, 1000, 1000):
        (target,) = made.due(now_ms)
        made.failed(key, now_ms)
        assert whole // 2 <= target.next_ms - now_ms <= whole
        assert made.due(target.next_ms - 1) == []
        now_ms = target.next_ms


def test_nodes_do_not_dial_in_step_and_a_seed_repeats_itself() -> None:
    def pauses(seed: int) -> list[int]:
        made = Dialer(Random(seed), DialLimits())
        made.want(KEYS[0].public_key, [Place("192.0.2.1", 1)])
        (target,) = made.due(0)
        found = []
        for _ in range(5):
            made.failed(target.key, 0)
            found.append(target.next_ms)
        return found

    assert pauses(1) == pauses(1)
    assert Counter(pause for seed in range(20) for pause in pauses(seed)).most_common(1)[0][1] < 10


def test_a_lasting_connection_makes_good_for_failures_and_a_short_one_does_not() -> None:
    for lasted_ms, most_ms in ((9999, 4000), (10_000, 250)):
        made = dialer(steady_ms=10_000)
        key = KEYS[0].public_key
        for _ in range(4):
            made.failed(key, 0)
        made.opened(key, 0)
        made.failed(key, lasted_ms)
        assert made.targets[key].next_ms - lasted_ms <= most_ms
        assert made.targets[key].next_ms - lasted_ms >= most_ms // 2


def test_what_is_in_vain_is_tried_seldom() -> None:
    made = dialer(pause_max_ms=30_000)
    made.failed(KEYS[0].public_key, 0, is_final=True)
    assert made.targets[KEYS[0].public_key].next_ms >= 15_000


def test_a_new_address_is_dialled_at_once_and_the_same_one_is_not() -> None:
    made = dialer()
    key = KEYS[0].public_key
    made.failed(key, 0, is_final=True)
    made.want(key, [Place("192.0.2.1", 4000)])
    assert key not in [target.key for target in made.due(0)]
    made.want(key, [Place("192.0.2.9", 4000)])
    assert [(target.key, target.place.host) for target in made.due(0)] == [(key, "192.0.2.9")]


def test_places_of_a_peer_take_turns_as_dials_fail_and_a_place_that_worked_stays() -> None:
    made = Dialer(Random(1), DialLimits())
    key = KEYS[0].public_key
    made.want(key, [Place("192.0.2.1", 1), Place("192.0.2.2", 2)])
    now_ms, ports = 0, []
    for _ in range(3):
        (target,) = made.due(now_ms)
        ports.append(target.place.port)
        made.failed(key, now_ms)
        now_ms = target.next_ms
    assert ports == [1, 2, 1]
    (target,) = made.due(now_ms)
    made.opened(key, now_ms)
    made.failed(key, now_ms + 60_000)
    assert (ports[-1], target.place.port) == (1, 2)
    made.want(key, [Place("192.0.2.1", 1), Place("192.0.2.2", 2)])
    assert target.place.port == 2


def test_who_is_connected_is_not_dialled() -> None:
    made = dialer()
    for number in range(3):
        made.opened(KEYS[number].public_key, 0)
    made.failed(KEYS[3].public_key, 0)
    assert made.due(10**9) == []
