"""One connection without a socket: hello, frames, order of sending, deadlines, ends."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import MESSAGES, encoded, frame, hello
from vertices import KEYS, OTHER_CHAIN

from cherrydag.codec import CodecFault
from cherrydag.gossip.message_codec import (
    ANSWER_BYTES_MAX,
    CONTROL_BYTES_MAX,
    FRAME_HEAD,
    EncodedMessage,
    MessageFault,
    MessageKind,
    decode_message,
    encode_message,
)
from cherrydag.net.connection import FRAMES_AT_ONCE, Connection, Event, Opened
from cherrydag.net.control import (
    BYTES_MAX,
    ControlKind,
    Hello,
    decode_goodbye,
    encode_goodbye,
    encode_hello,
    encode_token,
)
from cherrydag.net.faults import EndCode, NetFault
from cherrydag.net.frame_reader import STAGING_BYTES, ReceivedFrame
from cherrydag.net.pacing import ConnectionLimits
from cherrydag.params import VERTEX_BYTES_MAX

LIMITS = ConnectionLimits(rate_min=1000)
MIB = 1 << 20


def connection(now_ms: int = 0, own: int = 0, peer: int = 1, **changes: Any) -> Connection:
    """A connection of validator `own` whose peer has proven to be `peer`."""
    return Connection(hello(own, **changes), KEYS[peer].public_key, None, now_ms, LIMITS)


def hello_frame(said: Hello) -> bytes:
    return frame(ControlKind.HELLO, encode_hello(said))


def opened(now_ms: int = 0) -> Connection:
    """An open connection, its own hello sent."""
    made = connection(now_ms)
    (event,) = made.feed(hello_frame(hello(1)), now_ms)
    assert isinstance(event, Opened)
    drain(made, now_ms)
    return made


def drain(made: Connection, now_ms: int = 0, limit: int = 1 << 30) -> bytes:
    """All that is to be sent."""
    return b"".join(iter(lambda: b"".join(made.take(limit, now_ms)), b""))


def frames(octets: bytes) -> list[tuple[int, bytes]]:
    """Kinds and bodies of whole frames."""
    found, at = [], 0
    while at < len(octets):
        size, kind = FRAME_HEAD.unpack_from(octets, at)
        at += FRAME_HEAD.size
        found.append((kind, octets[at : at + size]))
        assert len(found[-1][1]) == size
        at += size
    return found


def kinds(octets: bytes) -> list[int]:
    return [kind for kind, _ in frames(octets)]


def message(kind: MessageKind, size: int = 0) -> EncodedMessage:
    """Any frame of a message's kind."""
    return EncodedMessage(kind, size, (FRAME_HEAD.pack(size, kind), bytes(size)))


def code(made: Connection) -> str | None:
    return None if made.end is None else made.end.code


def said_goodbye(made: Connection) -> str:
    """The code in the one frame that is left to be sent."""
    ((kind, body),) = frames(drain(made))
    assert kind == ControlKind.GOODBYE
    assert made.is_flushed
    return decode_goodbye(body).code


# Hello


def test_either_side_says_hello_first_and_both_open() -> None:
    a, b = connection(own=0, peer=1), connection(own=1, peer=0)
    from_a, from_b = drain(a), drain(b)
    assert not a.is_open
    assert a.feed(from_b, 5) == [Opened(hello(1), 2)]
    assert b.feed(from_a, 5) == [Opened(hello(0), 2)]
    assert (a.is_open, b.is_open, a.end, b.end) == (True, True, None, None)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"chain": OTHER_CHAIN.genesis_digest}, NetFault.CHAIN),
        ({"version_min": 3, "version_max": 4}, NetFault.VERSION),
        ({"public_key": KEYS[2].public_key}, NetFault.IDENTITY),
    ],
)
def test_a_hello_that_does_not_fit_ends_it_with_a_clear_goodbye(
    changes: dict[str, Any], expected: str
) -> None:
    made = connection()
    drain(made)
    assert made.feed(hello_frame(hello(1, **changes)), 0) == []
    assert code(made) == expected
    assert said_goodbye(made) == expected
    assert made.hello is None


def test_our_own_process_and_another_one_with_our_key_are_told_apart() -> None:
    for nonce, expected in ((hello().nonce, EndCode.SELF), (bytes(16), EndCode.SAME_KEY)):
        made = connection(own=0, peer=0)
        made.feed(hello_frame(hello(0, nonce=nonce)), 0)
        assert code(made) == expected


def test_who_answers_with_another_key_than_was_dialled_is_refused() -> None:
    for dialled, expected in ((1, None), (2, NetFault.WRONG_KEY)):
        made = Connection(hello(), KEYS[1].public_key, KEYS[dialled].public_key, 0, LIMITS)
        made.feed(hello_frame(hello(1)), 0)
        assert code(made) == expected


def test_nothing_comes_before_the_hello_but_a_goodbye() -> None:
    for kind in range(256):
        made = connection()
        made.feed(FRAME_HEAD.pack(0, kind), 0)
        if kind in (ControlKind.HELLO, ControlKind.GOODBYE):
            assert code(made) in (NetFault.HELLO, NetFault.GOODBYE)
        else:
            assert code(made) == NetFault.KIND


def test_a_second_hello_is_refused() -> None:
    made = opened()
    made.feed(hello_frame(hello(1)), 0)
    assert code(made) == NetFault.KIND


def test_messages_are_sent_only_while_it_is_open() -> None:
    made, push = connection(), message(MessageKind.PUSH)
    assert not made.send(push, 0)
    made.feed(hello_frame(hello(1)), 0)
    assert made.send(push, 0)
    made.close(EndCode.SHUTDOWN, "", 0)
    assert not made.send(push, 0)
    assert kinds(drain(made)) == [ControlKind.GOODBYE]


# Frames in


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000, 1 << 20])
def test_messages_arrive_whole_however_they_are_cut(step: int) -> None:
    made = opened()
    octets = b"".join(map(encoded, MESSAGES.values()))
    events: list[Event] = []
    for at in range(0, len(octets), step):
        events += made.feed(octets[at : at + step], at)
    received = [event for event in events if isinstance(event, ReceivedFrame)]
    assert [decode_message(*event) for event in received] == list(MESSAGES.values())
    assert made.traffic.frames_in == 1 + len(MESSAGES)
    assert made.traffic.bytes_in == len(octets) + len(hello_frame(hello(1)))


@given(
    st.lists(st.integers(0, 400_000), max_size=6), st.lists(st.integers(1, 150_000), min_size=1, max_size=8)
)
@settings(max_examples=40)
def test_frames_of_any_size_in_any_pieces_keep_their_bytes(sizes: list[int], pieces: list[int]) -> None:
    made = opened()
    rng = np.random.default_rng(sum(sizes))
    bodies = [rng.bytes(size) for size in sizes]
    octets = b"".join(frame(MessageKind.PUSH, body) for body in bodies)
    events: list[Event] = []
    at = turn = 0
    while at < len(octets):
        room = made.receive_buffer()
        count = min(len(room), pieces[turn % len(pieces)], len(octets) - at)
        room[:count] = octets[at : at + count]
        events += made.received(count, 0)
        at, turn = at + count, turn + 1
    assert [bytes(event[1]) for event in events] == bodies
    assert made.end is None


@pytest.mark.parametrize("count", [0, 1, FRAMES_AT_ONCE - 1, FRAMES_AT_ONCE, FRAMES_AT_ONCE + 1, 1000])
def test_many_frames_come_in_parts(count: int) -> None:
    """Thousands fit into what is received at once, and each costs its turn."""
    made = opened()
    octets = b"".join(frame(MessageKind.PUSH, b"%d" % number) for number in range(count)) + b"\x02\0"
    room = made.receive_buffer()
    room[: len(octets)] = octets
    parts = [made.received(len(octets), 0)]
    while made.has_more:
        parts.append(made.more(0))
    assert [bytes(event[1]) for part in parts for event in part] == [
        b"%d" % number for number in range(count)
    ]
    assert max(map(len, parts)) <= FRAMES_AT_ONCE
    assert len(parts) == 1 + count // FRAMES_AT_ONCE
    (last,) = made.feed(bytes(2) + bytes([MessageKind.PUSH]) + b"ab", 0)
    assert bytes(last[1]) == b"ab"


def test_nothing_more_comes_of_a_connection_that_has_ended() -> None:
    made = opened()
    octets = b"".join(frame(MessageKind.PUSH, b"x") for _ in range(100))
    room = made.receive_buffer()
    room[: len(octets)] = octets
    assert len(made.received(len(octets), 0)) == FRAMES_AT_ONCE and made.has_more
    made.close("bye", "", 0)
    assert made.more(0) == [] and not made.has_more


def test_a_fault_in_a_later_part_ends_it_behind_the_frames_before() -> None:
    made = opened()
    octets = b"".join(frame(MessageKind.PUSH, b"x") for _ in range(40)) + FRAME_HEAD.pack(5, 255)
    room = made.receive_buffer()
    room[: len(octets)] = octets
    assert len(made.received(len(octets), 0)) == FRAMES_AT_ONCE and made.end is None
    assert len(made.more(0)) == 40 - FRAMES_AT_ONCE
    assert made.end is not None and not made.has_more


@pytest.mark.parametrize("cut", range(1, 9))
def test_a_frame_whose_head_came_with_the_one_before_is_whole(cut: int) -> None:
    made = opened()
    first, second = frame(MessageKind.PUSH, b"first"), frame(MessageKind.GET_COMMITS, b"second")
    events = made.feed(first + second[:cut], 0) + made.feed(second[cut:] + first, 0)
    assert [(kind, bytes(body)) for kind, body in events] == [
        (MessageKind.PUSH, b"first"),
        (MessageKind.GET_COMMITS, b"second"),
        (MessageKind.PUSH, b"first"),
    ]


def test_a_large_frame_is_received_in_place_and_frames_own_their_memory() -> None:
    made, size = opened(), 3 * MIB
    made.feed(FRAME_HEAD.pack(size, MessageKind.PUSH) + b"abc", 0)
    room = made.receive_buffer()
    assert len(room) == size - 3
    room[:] = b"\x07" * len(room)
    (large,) = made.received(len(room), 0)
    assert isinstance(large, ReceivedFrame)
    assert np.shares_memory(np.frombuffer(large.body, np.uint8), np.frombuffer(room, np.uint8))
    assert large.body.readonly and bytes(large.body[:4]) == b"abc\x07"
    (small,) = made.feed(frame(MessageKind.PUSH, b"first"), 0)
    made.feed(frame(MessageKind.PUSH, b"other"), 0)
    assert isinstance(small, ReceivedFrame)
    assert small.body.readonly and bytes(small.body) == b"first"


def largest(made: Connection, kind: int) -> int:
    """The largest size that passes the check of heads, by bisection over all that a head can announce."""
    low, high = 0, 2**32
    while high - low > 1:
        middle = (low + high) // 2
        try:
            made._check_head(kind, middle)
            low = middle
        except Exception:  # noqa: BLE001 - any refusal; the next test asks for which
            high = middle
    return low


@pytest.mark.parametrize(
    ("kind", "limit"),
    [(MessageKind.PUSH, VERTEX_BYTES_MAX), (MessageKind.GET_VERTICES, CONTROL_BYTES_MAX),
     (MessageKind.VERTICES, CONTROL_BYTES_MAX), (MessageKind.COMMITS, CONTROL_BYTES_MAX),
     (ControlKind.GOODBYE, BYTES_MAX[ControlKind.GOODBYE]), (ControlKind.PING, 8), (ControlKind.PONG, 8)],
)  # fmt: skip
def test_lengths_are_checked_before_memory_is_taken(kind: int, limit: int, monkeypatch: Any) -> None:
    """Sizes over the whole range of the field; nothing larger than the limit is ever reserved."""
    reserved = []
    monkeypatch.setattr(np, "empty", lambda size, dtype: reserved.append(size) or np.zeros(size, dtype))
    edges = {limit - 1, limit, limit + 1, 0, 1, 2**31 - 1, 2**31, 2**32 - 1}
    sizes = sorted(edges | {2**bits + delta for bits in range(3, 32) for delta in (-1, 0, 1)})
    for size in sizes:
        made = opened()
        made.feed(FRAME_HEAD.pack(size, kind), 0)
        assert (code(made) == NetFault.FRAME_SIZE) == (size > limit), size
    assert max({*reserved} - {STAGING_BYTES}) == limit
    assert largest(opened(), kind) == limit


def test_before_the_hello_no_frame_is_large() -> None:
    assert largest(connection(), ControlKind.HELLO) == BYTES_MAX[ControlKind.HELLO] < 512
    assert largest(connection(), ControlKind.GOODBYE) == BYTES_MAX[ControlKind.GOODBYE] < 512


def test_an_answer_is_large_only_if_it_is_owed_and_only_once() -> None:
    made = opened()
    assert made.send(encode_message(MESSAGES["get_commits"]), 0)
    assert largest(made, MessageKind.COMMITS) == ANSWER_BYTES_MAX
    assert largest(made, MessageKind.VERTICES) == CONTROL_BYTES_MAX
    made.feed(encoded(MESSAGES["commits"]), 0)
    assert largest(made, MessageKind.COMMITS) == CONTROL_BYTES_MAX
    made.feed(encoded(MESSAGES["commits"]), 0)  # small and unasked: the node above judges it
    assert code(made) is None


def test_unknown_kinds_end_it() -> None:
    known = {*MessageKind, *ControlKind}
    for kind in set(range(256)) - known:
        made = opened()
        made.feed(FRAME_HEAD.pack(0, kind), 0)
        assert code(made) == MessageFault.KIND


def test_what_precedes_a_fault_is_still_delivered_and_what_follows_is_not() -> None:
    made = opened()
    push = encoded(MESSAGES["push"])
    events = made.feed(push + push + FRAME_HEAD.pack(1, 99) + push, 0)
    assert len(events) == 2
    assert code(made) == MessageFault.KIND
    assert made.feed(bytes(2 * STAGING_BYTES), 0) == []


def test_after_the_end_there_is_all_the_room_and_nothing_is_kept() -> None:
    goodbye = frame(ControlKind.GOODBYE, encode_goodbye("end_full", ""))
    for ending in (FRAME_HEAD.pack(1, 99), goodbye):
        made = opened()
        assert made.feed(ending + bytes(STAGING_BYTES - len(ending)), 0) == []
        assert made.end is not None
        assert len(made.receive_buffer()) == STAGING_BYTES


@given(st.lists(st.binary(max_size=80), max_size=8), st.booleans())
@settings(max_examples=150)
def test_any_bytes_end_in_events_or_a_known_code(pieces: list[bytes], is_open: bool) -> None:
    made = opened() if is_open else connection()
    for piece in pieces:
        made.feed(piece, 0)
    if made.end is not None:
        known = {*NetFault, *EndCode, *MessageFault, *CodecFault}
        assert made.end.by_peer or made.end.code in known


@given(st.integers(1, 4), st.binary(max_size=300))
@settings(max_examples=150)
def test_any_control_frame_is_an_event_or_an_end(kind: int, body: bytes) -> None:
    for made in (connection(), opened()):
        made.feed(frame(kind, body), 0)
        drain(made)


# Goodbye


def test_a_peers_goodbye_ends_it_without_an_answer() -> None:
    made = opened()
    made.send(message(MessageKind.PUSH), 0)
    made.feed(frame(ControlKind.GOODBYE, encode_goodbye("end_full", "64 peers are here")), 0)
    assert made.end == ("end_full", "64 peers are here", True)
    assert made.is_flushed and made.is_overdue(0)
    begun = opened()
    begun.send(message(MessageKind.PUSH, 100), 0)
    begun.take(10, 0)
    begun.feed(frame(ControlKind.GOODBYE, encode_goodbye("end_full", "")), 0)
    assert begun.is_flushed
    assert made.feed(bytes(2 * STAGING_BYTES), 0) == []


def test_closing_drops_what_waits_but_not_the_frame_that_has_begun() -> None:
    made = opened()
    made.send(message(MessageKind.PUSH, 100), 0)
    made.send(message(MessageKind.PUSH, 50), 0)
    begun = b"".join(made.take(10, 0))
    made.close(EndCode.SHUTDOWN, "the node stops", 0)
    assert not made.is_flushed
    assert [(kind, kind == MessageKind.PUSH and len(body)) for kind, body in frames(begun + drain(made))] == [
        (MessageKind.PUSH, 100),
        (ControlKind.GOODBYE, False),
    ]
    assert made.is_flushed


def test_draining_sends_what_waits_before_the_goodbye() -> None:
    made = opened()
    for kind in (MessageKind.VERTICES, MessageKind.PUSH):
        made.send(message(kind, 5), 0)
    made.close(EndCode.SHUTDOWN, "", 100, drain_ms=10_000)
    assert kinds(drain(made)) == [MessageKind.PUSH, MessageKind.VERTICES, ControlKind.GOODBYE]
    assert [made.is_overdue(now_ms) for now_ms in (10_099, 10_100)] == [False, True]


def test_after_the_end_there_is_a_bounded_time_to_leave() -> None:
    made = opened()
    made.close(EndCode.SHUTDOWN, "", 100)
    due = 100 + LIMITS.close_ms
    assert [made.is_overdue(now_ms) for now_ms in (due - 1, due, due + 1)] == [False, True, True]


def test_the_first_end_stays() -> None:
    made = opened()
    made.close(EndCode.FULL, "", 0)
    made.close(EndCode.SHUTDOWN, "", 0)
    made.lost("broken")
    assert code(made) == EndCode.FULL
    lost = opened()
    lost.lost("broken")
    assert lost.end == (EndCode.LOST, "broken", False)


# Order and bounds of sending


def test_pushes_and_requests_go_before_answers_and_control_before_both() -> None:
    made = opened()
    sent = (MessageKind.VERTICES, MessageKind.PUSH, MessageKind.COMMITS, MessageKind.GET_NEWEST)
    for kind in sent:
        made.send(message(kind, 3), 0)
    made.feed(frame(ControlKind.PING, encode_token(9)), 0)
    assert kinds(drain(made, limit=4)) == [ControlKind.PONG, sent[1], sent[3], sent[0], sent[2]]


def test_a_frame_that_has_begun_is_finished_first() -> None:
    made = opened()
    made.send(message(MessageKind.VERTICES, 100), 0)
    begun = b"".join(made.take(20, 0))
    made.send(message(MessageKind.PUSH, 3), 0)
    assert kinds(begun + drain(made)) == [MessageKind.VERTICES, MessageKind.PUSH]


@given(
    st.lists(st.tuples(st.sampled_from(MessageKind), st.integers(0, 9000)), max_size=8),
    st.integers(50, 9000),
)
@settings(max_examples=100)
def test_what_is_taken_is_every_frame_once_and_never_more_than_asked(
    items: list[tuple[MessageKind, int]], limit: int
) -> None:
    made = opened()
    rng = np.random.default_rng(limit)
    bodies = [rng.bytes(size) for _, size in items]
    for (kind, size), body in zip(items, bodies, strict=True):
        parts = (FRAME_HEAD.pack(size, kind), body[: size // 3], memoryview(body)[size // 3 :])
        assert made.send(EncodedMessage(kind, size, parts), 0)
    out = []
    while taken := made.take(limit, 0):
        assert 1 <= sum(map(len, taken)) <= limit
        out.append(b"".join(taken))
    sent = frames(b"".join(out))
    assert sorted(sent) == sorted((kind, body) for (kind, _), body in zip(items, bodies, strict=True))
    assert made.queued_bytes == 0


def test_an_empty_body_is_nothing_more_to_be_sent() -> None:
    made = opened()
    made.send(message(MessageKind.PUSH, 0), 0)
    assert b"".join(made.take(FRAME_HEAD.size, 0)) == FRAME_HEAD.pack(0, MessageKind.PUSH)
    assert made.take(1, 0) == []


def test_a_large_part_is_not_copied() -> None:
    made, payload = opened(), np.arange(100_000, dtype=np.uint8)
    parts = (FRAME_HEAD.pack(100_000, MessageKind.PUSH), memoryview(payload))
    made.send(EncodedMessage(MessageKind.PUSH, 100_000, parts), 0)  # type: ignore[arg-type]
    first = made.take(60_000, 0)
    assert [len(part) for part in first] == [5, 59_995]
    assert np.shares_memory(np.frombuffer(first[1], np.uint8), payload)


def test_a_reader_too_slow_for_pushes_is_dropped_at_the_bound() -> None:
    limit = LIMITS.queue_bytes_max
    for before, dropped in ((limit - 1, False), (limit, True), (limit + 1, True)):
        made = opened()
        assert made.send(message(MessageKind.PUSH, before - 5), 0)
        assert made.queued_bytes == before
        assert made.send(message(MessageKind.PUSH, MIB), 0) is not dropped
        assert code(made) == (NetFault.SLOW_READER if dropped else None)
        assert made.queued_bytes == (len(drain(made)) if dropped else before + MIB + 5)


def test_answers_are_shed_at_the_bound_and_pushes_still_go() -> None:
    limit = LIMITS.queue_bytes_max
    for before, shed in ((limit - 1, False), (limit, True), (limit + 1, True)):
        made = opened()
        assert made.send(message(MessageKind.COMMITS, before - 5), 0)
        assert made.send(message(MessageKind.VERTICES, 10), 0) is not shed
        assert made.traffic.shed == shed
        assert made.send(message(MessageKind.PUSH, 10), 0)
        assert code(made) is None


def test_one_queue_never_holds_more_than_its_bound_and_a_frame() -> None:
    made, size = opened(), VERTEX_BYTES_MAX
    while made.send(message(MessageKind.PUSH, size), 0):
        assert made.queued_bytes <= LIMITS.queue_bytes_max + size + 5
    assert code(made) == NetFault.SLOW_READER


# Deadlines, at one millisecond before, at it, and after


def ends_at(made: Connection, due_ms: int, expected: str) -> None:
    for now_ms in (due_ms - 1, due_ms):
        assert made.end is None
        made.tick(now_ms)
    assert code(made) == expected


def test_deadline_of_the_hello() -> None:
    made = connection(now_ms=50)
    made.feed(hello_frame(hello(1))[:-1], 2000)
    ends_at(made, 50 + LIMITS.handshake_ms, NetFault.SLOW_SENDER)


@pytest.mark.parametrize("size", [0, 10, 100_000, MIB])
def test_deadline_of_a_frame_grows_with_its_size_at_the_least_rate(size: int) -> None:
    made = opened()
    octets = frame(MessageKind.PUSH, bytes(size))
    made.feed(octets[:3], 1000)
    made.feed(octets[3:-1], 1500)
    known = len(octets) if size else 5  # of a head that is not whole the size is not known
    ends_at(made, 1000 + LIMITS.frame_ms + known, NetFault.SLOW_SENDER)


def test_one_byte_at_a_time_does_not_move_the_deadline() -> None:
    made = opened()
    octets = frame(MessageKind.PUSH, bytes(100))
    for number, octet in enumerate(octets[:-1]):
        made.feed(bytes([octet]), 50 * number)
    ends_at(made, LIMITS.frame_ms + len(octets), NetFault.SLOW_SENDER)


def test_each_frame_has_its_own_time() -> None:
    made = opened()
    octets = frame(MessageKind.PUSH, bytes(100))
    made.feed(octets[:50], 0)
    made.feed(octets[50:] + octets[:50], 4000)
    ends_at(made, 4000 + LIMITS.frame_ms + len(octets), NetFault.SLOW_SENDER)


def test_between_frames_there_is_no_deadline_but_the_pings() -> None:
    made = opened()
    made.feed(frame(MessageKind.PUSH, bytes(100)), 0)
    made.tick(LIMITS.frame_ms + LIMITS.ping_ms)
    assert code(made) is None


def test_a_queue_that_nothing_leaves_ends_it() -> None:
    made = opened()
    made.send(message(MessageKind.PUSH, 995), 2000)
    made.send(message(MessageKind.PUSH, 995), 3000)
    ends_at(made, 2000 + LIMITS.frame_ms + 1000, NetFault.SLOW_READER)


def test_a_frame_taken_in_drops_has_the_same_deadline() -> None:
    made = opened()
    made.send(message(MessageKind.VERTICES, 995), 2000)
    for now_ms in range(2000, 7000, 100):
        made.take(1, now_ms)
    ends_at(made, 2000 + LIMITS.frame_ms + 1000, NetFault.SLOW_READER)


def test_the_next_frame_has_its_own_time() -> None:
    made = opened()
    made.send(message(MessageKind.PUSH, 995), 2000)
    made.send(message(MessageKind.PUSH, 1995), 2000)
    made.take(1000, 6000)
    ends_at(made, 6000 + LIMITS.frame_ms + 2000, NetFault.SLOW_READER)


def pinged(made: Connection, now_ms: int) -> bytes:
    """Take the ping that is due now; its body."""
    made.tick(now_ms)
    ((kind, body),) = frames(drain(made, now_ms))
    assert kind == ControlKind.PING
    return body


def test_pings_measure_the_round_trip_one_at_a_time() -> None:
    made, due = opened(), LIMITS.ping_ms
    made.tick(due - 1)
    assert drain(made) == b"" and made.rtt_ms is None
    body = pinged(made, due)
    made.tick(due + LIMITS.ping_ms)
    assert drain(made) == b""
    made.feed(frame(ControlKind.PONG, body), due + 42)
    assert made.rtt_ms == 42
    assert pinged(made, due + 42 + LIMITS.ping_ms) != body


def test_a_peer_that_is_silent_after_a_ping_is_dropped() -> None:
    made = opened()
    pinged(made, LIMITS.ping_ms)
    ends_at(made, LIMITS.ping_ms + LIMITS.silent_ms, NetFault.SILENT)


def test_a_peer_that_only_takes_is_silent_all_the_same() -> None:
    made = opened()
    pinged(made, LIMITS.ping_ms)
    for now_ms in range(6000, 20_000, 1000):
        made.send(message(MessageKind.PUSH, 10), now_ms)
        drain(made, now_ms)
    ends_at(made, LIMITS.ping_ms + LIMITS.silent_ms, NetFault.SILENT)


def test_any_byte_is_a_sign_of_life() -> None:
    made = opened()
    pinged(made, 5000)
    made.feed(frame(MessageKind.PUSH, b""), 12_000)
    ends_at(made, 12_000 + LIMITS.silent_ms, NetFault.SILENT)


def test_a_ping_that_waits_behind_a_large_frame_does_not_count_as_silence() -> None:
    made = opened()
    made.send(message(MessageKind.VERTICES, 100_000), 0)
    made.take(10, 0)
    made.tick(LIMITS.ping_ms)
    for now_ms in range(5000, 60_000, 1000):
        made.tick(now_ms)
    drain(made, 60_000)
    ends_at(made, 60_000 + LIMITS.silent_ms, NetFault.SILENT)


def test_a_ping_is_answered_with_its_token() -> None:
    made = opened()
    for token in (0, 2**64 - 1):
        made.feed(frame(ControlKind.PING, encode_token(token)), 0)
        assert frames(drain(made)) == [(ControlKind.PONG, encode_token(token))]


def test_a_ping_before_the_last_ones_pong_is_refused() -> None:
    made = opened()
    made.feed(frame(ControlKind.PING, encode_token(1)) * 2, 0)
    assert code(made) == NetFault.PING


@pytest.mark.parametrize("body", [encode_token(7), b"", bytes(7)])
@pytest.mark.parametrize("is_pinged", [True, False])
def test_a_pong_to_no_ping_is_refused(body: bytes, is_pinged: bool) -> None:
    made = opened()
    if is_pinged:
        assert pinged(made, LIMITS.ping_ms) != body
    made.feed(frame(ControlKind.PONG, body), LIMITS.ping_ms)
    assert code(made) == NetFault.PING


def test_a_pong_before_its_ping_has_left_is_refused() -> None:
    made = opened()
    made.tick(LIMITS.ping_ms)
    made.feed(frame(ControlKind.PONG, encode_token(1)), LIMITS.ping_ms)
    assert code(made) == NetFault.PING


def test_a_pause_of_ours_is_not_held_against_the_peer() -> None:
    made = opened()
    made.feed(frame(MessageKind.PUSH, bytes(100))[:50], 0)
    pinged(made, LIMITS.ping_ms)
    made.pause()
    made.tick(100_000)
    assert code(made) is None
    made.resume(100_000)
    ends_at(made, 100_000 + LIMITS.frame_ms + 105, NetFault.SLOW_SENDER)


def test_two_connections_talk_through_any_pieces() -> None:
    """Both ends, every message both ways, seven bytes at a time."""
    ends = connection(own=0, peer=1), connection(own=1, peer=0)
    got: dict[Connection, list[Any]] = {end: [] for end in ends}
    sent: dict[Connection, bool] = dict.fromkeys(ends, False)

    def turn(source: Connection, target: Connection, now_ms: int) -> bool:
        if source.is_open and not sent[source]:
            sent[source] = all(source.send(encode_message(value), now_ms) for value in MESSAGES.values())
        octets = b"".join(source.take(7, now_ms))
        got[target] += received(target.feed(octets, now_ms)) if octets else []
        return bool(octets)

    now_ms = 0
    while any([turn(ends[0], ends[1], now_ms), turn(ends[1], ends[0], now_ms)]):
        now_ms += 1
    for end in ends:
        assert sorted(map(encoded, got[end])) == sorted(map(encoded, MESSAGES.values()))
        assert end.traffic.frames_in == end.traffic.frames_out == 1 + len(MESSAGES)
    assert ends[0].traffic.bytes_in == ends[1].traffic.bytes_out


def received(events: Iterable[Event]) -> list[Any]:
    return [decode_message(*event) for event in events if isinstance(event, ReceivedFrame)]
