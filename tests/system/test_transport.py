"""Transports over real sockets on loopback, on both loops: exchange, refusals, floods, restarts."""

import asyncio
import errno
import socket
from contextlib import suppress
from typing import Any

import numpy as np
from messages import MESSAGES, encoded, frame
from pytest import MonkeyPatch
from transports import (
    OPEN_DOOR,
    Loopback,
    Seat,
    hello_frame,
    is_cut,
    loopback,
    on_both_loops,
    push,
    raw_socket,
    stranger,
    until,
)
from vertices import KEYS, OTHER_CHAIN

from cherrydag.gossip.message_codec import FRAME_HEAD, MessageKind, decode_message, encode_message
from cherrydag.net import certificates
from cherrydag.net.admission import AdmissionLimits
from cherrydag.net.control import ControlKind
from cherrydag.net.faults import EndCode, NetFault
from cherrydag.net.link import WRITE_AHEAD_BYTES
from cherrydag.net.transport import Handlers, TransportLimits
from cherrydag.params import VERTEX_BYTES_MAX

MIB = 1 << 20
HANDSHAKE_MS = OPEN_DOOR.connection.handshake_ms


# Exchange


@on_both_loops
async def test_two_nodes_exchange_vertices_of_the_largest_size() -> None:
    async with loopback() as net:
        one, other = net.seat(0), net.seat(1)
        await net.connected(one, other)
        bodies = [
            np.random.default_rng(seed).integers(0, 256, VERTEX_BYTES_MAX, np.uint8) for seed in range(4)
        ]
        for turn in range(2):
            assert one.links[other.key].send(push(bodies[turn].data))
            assert other.links[one.key].send(push(bodies[2 + turn].data))
            await until(lambda count=turn: len(one.frames) == len(other.frames) == count + 1, "whole frames")
        assert [bytes(body) for _, body in other.frames] == [body.tobytes() for body in bodies[:2]]
        assert [bytes(body) for _, body in one.frames] == [body.tobytes() for body in bodies[2:]]


@on_both_loops
async def test_every_message_arrives_as_it_was_sent() -> None:
    async with loopback() as net:
        one, other = net.seat(0), net.seat(1)
        await net.connected(one, other)
        for _ in range(20):
            for message in MESSAGES.values():
                assert one.links[other.key].send(encode_message(message))
        await until(lambda: len(other.frames) == 20 * len(MESSAGES), "all messages")
        received = [decode_message(*frame) for frame in other.frames]
        assert sorted(map(encoded, received)) == sorted(map(encoded, 20 * [*MESSAGES.values()]))


@on_both_loops
async def test_both_ends_count_the_same_bytes_and_keep_them_when_links_are_gone() -> None:
    async with loopback() as net:
        one, other = net.seat(0), net.seat(1)
        await net.connected(one, other)
        one.links[other.key].send(push(bytes(1000)))
        await until(lambda: other.frames, "the frame")
        assert (one.transport.pending, other.transport.pending) == (0, 0)
        sent, received = (seat.links[peer.key].connection for seat, peer in ((one, other), (other, one)))
        assert sent is not None and received is not None
        assert sent.traffic.bytes_out == received.traffic.bytes_in > 1000
        assert received.traffic.bytes_out == sent.traffic.bytes_in < 1000
        assert sent.traffic.frames_out == received.traffic.frames_in == 2
        await net.stop(one)
        await until(lambda: other.closed and not other.transport._sockets, "the end")
        assert one.transport.traffic.bytes_out == other.transport.traffic.bytes_in > 1000


@on_both_loops
async def test_a_host_that_pauses_a_link_gets_its_frames_later() -> None:
    async with loopback() as net:
        one, other = net.seat(0), net.seat(1)
        await net.connected(one, other)
        other.links[one.key].pause_reading()
        assert one.links[other.key].send(push(bytes(3 * MIB)))
        net.pass_ms(1000)
        await asyncio.sleep(0.05)
        assert other.frames == []
        other.links[one.key].resume_reading()
        await until(lambda: other.frames, "the frame")


@on_both_loops
async def test_what_a_host_does_not_read_is_not_held_against_the_peer() -> None:
    async with loopback() as net:
        one, other = net.seat(0), net.seat(1)
        await net.connected(one, other)
        other.links[one.key].pause_reading()
        net.pass_ms(OPEN_DOOR.connection.ping_ms)
        await asyncio.sleep(0.01)  # its ping leaves; the pong is not read
        net.clock.now_ms += 60_000
        other.transport.tick()
        assert other.links[one.key].end is None


@on_both_loops
async def test_a_host_may_push_to_all_while_one_of_them_ends() -> None:
    async with loopback() as net:
        one, slow, other = net.seat(0), net.seat(1), net.seat(2)
        await net.connected(one, slow)
        await net.connected(one, other)
        slow.links[one.key].pause_reading()
        body, sent = bytes(MIB), 0
        while slow.key in one.links:
            for link in one.links.values():
                link.send(push(body))
            sent += 1
            await until(lambda count=sent: len(other.frames) == count, "the other's frame")
        assert one.ends == [(NetFault.SLOW_READER, False)]
        net.pass_ms(OPEN_DOOR.connection.close_ms)


@on_both_loops
async def test_closing_sends_what_waits_if_it_is_given_time() -> None:
    async with loopback() as net:
        one, other = net.seat(0), net.seat(1)
        await net.connected(one, other)
        for _ in range(8):
            assert one.links[other.key].send(push(bytes(MIB // 2 - 5)))
        net.seats.remove(one)
        await one.transport.close(drain_ms=10_000)
        await until(lambda: other.closed, "the goodbye")
        assert len(other.frames) == 8
        assert other.ends == [(EndCode.SHUTDOWN, True)]
        assert one.ends == [(EndCode.SHUTDOWN, False)]


@on_both_loops
async def test_pings_measure_the_round_trip() -> None:
    async with loopback() as net:
        one, other = net.seat(0), net.seat(1)
        await net.connected(one, other)
        connection = one.links[other.key].connection
        assert connection is not None
        net.pass_ms(OPEN_DOOR.connection.ping_ms)
        await until(lambda: connection.rtt_ms is not None, "a pong")
        assert connection.rtt_ms == 0


# Who is who


@on_both_loops
async def test_a_node_of_another_chain_is_refused_and_seldom_dialled() -> None:
    async with loopback() as net:
        one, other = net.seat(0), net.seat(1, chain=OTHER_CHAIN.genesis_digest)
        one.dial(other)
        await until(lambda: one.pause_before(other.key) >= 15_000, "a long pause")
        assert (one.opened, other.opened) == ([], [])
        peer = await stranger(1, one)
        peer.say_hello(1, chain=OTHER_CHAIN.genesis_digest)
        said = await peer.goodbye()
        assert said.code == NetFault.CHAIN and OTHER_CHAIN.genesis_digest.hex() in said.text
        await peer.leave()


@on_both_loops
async def test_who_answers_with_another_key_is_refused() -> None:
    async with loopback() as net:
        one, other = net.seat(0), net.seat(1)
        one.transport.dial(KEYS[2].public_key, "127.0.0.1", other.transport.port)
        await until(lambda: one.pause_before(KEYS[2].public_key) >= 15_000, "a long pause")
        assert one.opened == []
        await until(lambda: len(other.opened) == len(other.closed) == 1, "a goodbye")
        assert other.ends == [(NetFault.WRONG_KEY, True)]


@on_both_loops
async def test_a_hello_with_a_key_that_tls_has_not_proven_is_refused() -> None:
    async with loopback() as net:
        one = net.seat(0)
        peer = await stranger(1, one)
        peer.say_hello(2)
        assert (await peer.goodbye()).code == NetFault.IDENTITY
        await peer.leave()


@on_both_loops
async def test_a_node_that_dials_itself_notices() -> None:
    async with loopback() as net:
        one = net.seat(0)
        one.transport.dial(one.key, "127.0.0.1", one.transport.port)
        assert one.transport._dialer.targets == {}
        one.transport.dial(KEYS[1].public_key, "127.0.0.1", one.transport.port)
        await until(lambda: one.pause_before(KEYS[1].public_key) >= 15_000, "a long pause")
        await until(lambda: not one.transport._sockets, "no socket")
        assert (one.opened, one.transport.pending) == ([], 0)


@on_both_loops
async def test_a_validator_must_be_the_one_that_the_committee_knows() -> None:
    async with loopback() as net:
        one = net.seat(0, validator=0)
        one.transport.set_validators({KEYS[number].public_key: number for number in range(3)})
        for number, claimed, taken in ((1, 1, True), (2, 1, False), (3, 2, False), (3, None, True)):
            peer = await stranger(number, one)
            peer.say_hello(number, validator=claimed)
            if taken:
                await until(lambda key=KEYS[number].public_key: key in one.links, "an open link")
            else:
                assert (await peer.goodbye()).code == NetFault.IDENTITY
            await peer.leave()


@on_both_loops
async def test_of_two_links_between_two_nodes_both_keep_the_same_one() -> None:
    async with loopback() as net:
        one, other = net.seat(0), net.seat(1)
        one.dial(other)
        other.dial(one)
        net.pass_ms(0)
        assert [len(seat.transport._tasks) for seat in (one, other)] == [1, 1]
        await until(lambda: all(is_settled(seat) for seat in (one, other)), "one link")
        low, high = sorted((one, other), key=lambda seat: seat.key)
        assert low.links[high.key].dialled_key == high.key
        assert high.links[low.key].dialled_key is None
        assert all(code == EndCode.DUPLICATE for seat in (one, other) for code, _ in seat.ends)
        assert low.links[high.key].send(push(b"still here"))
        await until(lambda: high.frames, "a frame")
        net.pass_ms(2000)
        assert all(is_settled(seat) for seat in (one, other))  # nobody dials again


def is_settled(seat: Seat) -> bool:
    """One socket, and no other one under way."""
    return len(seat.transport._sockets) == 1 and not seat.transport._tasks


@on_both_loops
async def test_who_has_a_link_already_is_not_dialled() -> None:
    async with loopback() as net:
        one, other = net.seat(0), net.seat(1)
        with socket.create_server(("127.0.0.1", 0)) as unused:
            port = unused.getsockname()[1]
        other.transport.dial(one.key, "127.0.0.1", port)
        net.pass_ms(0)
        await until(lambda: not other.transport._tasks, "a failed dial")
        await net.connected(one, other)
        net.pass_ms(2000)
        assert is_settled(other)
        one.transport.forget(other.key)
        one.dial(other)
        net.pass_ms(0)
        assert is_settled(one)


@on_both_loops
async def test_a_dial_that_lost_to_a_link_is_not_repeated() -> None:
    async with loopback() as net:
        low, high = sorted((net.seat(0), net.seat(1)), key=lambda seat: seat.key)
        await net.connected(low, high)
        kept = high.links[low.key]
        high.dial(low)
        high.transport._dial(high.transport._dialer.targets[low.key])
        await until(lambda: is_settled(high) and is_settled(low), "the end of the second")
        assert high.links[low.key] is kept
        net.pass_ms(2000)
        assert is_settled(high)


# What does not end well


@on_both_loops
async def test_a_reader_that_stops_is_dropped_and_costs_bounded_memory() -> None:
    async with loopback() as net:
        one, other = net.seat(0), net.seat(1)
        await net.connected(one, other)
        other.links[one.key].pause_reading()
        link, body, sent, most = one.links[other.key], bytes(MIB), 0, 0
        while link.send(push(body)):
            sent += 1
            await asyncio.sleep(0)
            assert link.connection is not None and link._transport is not None
            ahead = link._transport.get_write_buffer_size()
            assert ahead < 3 * WRITE_AHEAD_BYTES, "what waits can still be put in order"
            most = max(most, link.connection.queued_bytes + ahead)
            assert sent < 64, "the queue takes all"
        assert most <= OPEN_DOOR.connection.queue_bytes_max + 3 * MIB
        assert one.closed == []  # not from within the send
        for _ in range(3):
            await asyncio.sleep(0)
        assert one.ends == [(NetFault.SLOW_READER, False)]
        assert other.key not in one.links
        net.pass_ms(OPEN_DOOR.connection.close_ms)
        await until(lambda: link not in one.transport._sockets, "no socket")


@on_both_loops
async def test_an_answer_that_nobody_reads_ends_the_link_in_time() -> None:
    async with loopback() as net:
        one = net.seat(0)
        peer = await stranger(1, one)
        peer.say_hello(1)
        await until(lambda: one.links, "an open link")
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        (link,) = one.links.values()
        while link.send(encode_message(MESSAGES["vertices"])._replace(parts=(bytes(4 * MIB),))):
            await asyncio.sleep(0)
        assert link.connection is not None and link.connection.traffic.shed == 1
        await asyncio.sleep(0.05)
        net.pass_ms(OPEN_DOOR.connection.frame_ms + 4 * 4 * 1000)
        assert one.ends == [(NetFault.SLOW_READER, False)]
        net.pass_ms(OPEN_DOOR.connection.close_ms)
        await until(lambda: not one.transport._sockets, "no socket")
        await peer.leave()


@on_both_loops
async def test_a_slow_sender_is_dropped_in_time() -> None:
    async with loopback() as net:
        one = net.seat(0)
        peer = await stranger(1, one)
        peer.say_hello(1)
        peer.writer.write(FRAME_HEAD.pack(1000, MessageKind.PUSH))
        await until(
            lambda: one.links and next(iter(one.links.values())).connection._reader.size, "a begun frame"
        )
        net.pass_ms(OPEN_DOOR.connection.frame_ms - 1)
        assert one.closed == []
        net.pass_ms(100)
        assert (await peer.goodbye()).code == NetFault.SLOW_SENDER
        await peer.leave()


@on_both_loops
async def test_a_frame_that_announces_too_much_is_refused_at_its_head() -> None:
    async with loopback() as net:
        one = net.seat(0)
        for size, kind in ((VERTEX_BYTES_MAX + 1, MessageKind.PUSH), (2**32 - 1, MessageKind.COMMITS)):
            peer = await stranger(1, one)
            peer.say_hello(1)
            peer.writer.write(FRAME_HEAD.pack(size, kind))
            assert (await peer.goodbye()).code == NetFault.FRAME_SIZE
            await peer.leave()
        await until(lambda: not one.links, "the end")


@on_both_loops
async def test_a_frame_that_the_host_refuses_ends_the_link_with_its_code() -> None:
    async with loopback() as net:
        one = net.seat(0)

        def refuse(_: Any, received: Any) -> None:
            decode_message(*received)

        ignored = one.transport._handlers
        one.transport._handlers = Handlers(ignored.on_open, refuse, ignored.on_close)
        peer = await stranger(1, one)
        peer.say_hello(1)
        peer.say(MessageKind.GET_NEWEST, b"short")
        assert (await peer.goodbye()).code == "message_truncated"
        assert one.ends == [("message_truncated", False)]
        await peer.leave()


@on_both_loops
async def test_nothing_is_heard_of_a_peer_that_has_no_place_or_that_the_host_has_closed() -> None:
    async with loopback() as net:
        limits = TransportLimits(admission=AdmissionLimits(prefix_rate=1000, others_max=0))
        full, one = net.seat(0, limits), net.seat(2)
        peer = await stranger(1, full)
        peer.writer.writelines([hello_frame(1), frame(MessageKind.PUSH, b"heard by nobody")])
        assert (await peer.goodbye()).code == EndCode.FULL
        assert (full.opened, full.frames, full.closed) == ([], [], [])
        await peer.leave()
        heard: list[Any] = []

        def close(link: Any, received: Any) -> None:
            heard.append(received)
            link.close(EndCode.SHUTDOWN, "enough")

        ignored = one.transport._handlers
        one.transport._handlers = Handlers(ignored.on_open, close, ignored.on_close)
        peer = await stranger(1, one)
        peer.writer.writelines([hello_frame(1), *3 * [frame(MessageKind.PUSH, b"once")]])
        assert (await peer.goodbye()).code == EndCode.SHUTDOWN
        assert len(heard) == 1
        await peer.leave()


@on_both_loops
async def test_bytes_that_are_no_tls_and_tls_without_a_certificate_come_to_nothing() -> None:
    async with loopback() as net:
        one = net.seat(0)
        with raw_socket(one.transport.port) as raw:
            raw.send(b"GET / HTTP/1.1\r\n\r\n" + bytes(1000))
            await until(lambda: is_cut(raw), "a closed socket")
        await until(lambda: not one.transport.pending, "no handshake")
        assert one.opened == []


@on_both_loops
async def test_a_certificate_in_another_form_is_dropped_after_tls() -> None:
    """The authority is everyone's, so TLS alone lets any certificate pass."""
    key = KEYS[1].public_key
    other_form = certificates._signed(certificates._body(2, "another name", key, []))
    async with loopback() as net:
        one = net.seat(0)
        with MonkeyPatch.context() as patch:
            patch.setattr(certificates, "leaf_certificate", lambda _: other_form)
            peer = await stranger(1, one)
        peer.say_hello(1)
        with suppress(ConnectionError):
            assert await peer.reader.read() == b""
        await until(lambda: not one.transport.pending, "the end")
        assert (one.opened, one.transport._sockets) == ([], {})
        await peer.leave()


# Floods


@on_both_loops
async def test_half_open_handshakes_are_bounded_and_end_in_time() -> None:
    async with loopback() as net:
        one, other = net.seat(0), net.seat(1)
        limits = OPEN_DOOR.admission
        strangers_max = limits.pending_max - limits.pending_reserved
        flood = [raw_socket(one.transport.port) for _ in range(100)]
        await until(lambda: sum(map(is_cut, flood)) == 100 - strangers_max, "the refusal of the rest")
        assert one.transport.pending == strangers_max
        assert one.transport.admission.refused == 100 - strangers_max
        net.pass_ms(HANDSHAKE_MS - 1)
        await asyncio.sleep(0.01)
        assert one.transport.pending == strangers_max
        net.pass_ms(1)
        await until(lambda: all(map(is_cut, flood)), "the end of all")
        assert one.transport.pending == 0
        await net.connected(other, one)
        for raw in flood:
            raw.close()


@on_both_loops
async def test_a_flood_does_not_keep_validators_out() -> None:
    async with loopback() as net:
        one, other = net.seat(0, validator=0), net.seat(1, validator=1)
        flood = [raw_socket(one.transport.port) for _ in range(70)]
        await until(lambda: one.transport.admission.refused, "a full house")
        one.transport.set_validators({KEYS[number].public_key: number for number in range(2)})
        other.transport.set_validators({KEYS[number].public_key: number for number in range(2)})
        one.transport.dial(other.key, "127.0.0.1", 1)  # nobody is there, but its address is known now
        await net.connected(other, one)
        for raw in flood:
            raw.close()


@on_both_loops
async def test_a_peer_that_proves_its_key_and_says_nothing_is_dropped() -> None:
    async with loopback() as net:
        one = net.seat(0)
        peer = await stranger(1, one)
        assert (await peer.heard())[0] == ControlKind.HELLO
        assert one.transport.pending == 1
        net.pass_ms(HANDSHAKE_MS)
        assert (await peer.goodbye()).code == NetFault.SLOW_SENDER
        assert one.transport.pending == 0
        await peer.leave()


@on_both_loops
async def test_one_network_gets_ten_handshakes_a_second() -> None:
    async with loopback() as net:
        one = net.seat(0, TransportLimits())
        flood = [raw_socket(one.transport.port) for _ in range(25)]
        await until(lambda: sum(map(is_cut, flood)) == 15, "the refusal of the rest")
        assert one.transport.pending == 10
        net.pass_ms(1000)
        with raw_socket(one.transport.port):
            await until(lambda: one.transport.pending == 11, "another one")
        for raw in flood:
            raw.close()


@on_both_loops
async def test_places_of_others_are_bounded_and_a_validator_always_has_one() -> None:
    async with loopback() as net:
        limits = TransportLimits(admission=AdmissionLimits(prefix_rate=1000, others_max=1))
        one = net.seat(0, limits, validator=0)
        one.transport.set_validators({KEYS[0].public_key: 0, KEYS[3].public_key: 3})
        first, second, validator = [await stranger(number, one) for number in (1, 2, 3)]
        first.say_hello(1)
        await until(lambda: one.links, "the first")
        second.say_hello(2)
        assert (await second.goodbye()).code == EndCode.FULL
        validator.say_hello(3, validator=3)
        await until(lambda: len(one.links) == 2, "the validator")
        for peer in (first, second, validator):
            await peer.leave()


@on_both_loops
async def test_whom_we_dialled_needs_no_place_among_those_who_dialled_us() -> None:
    async with loopback() as net:
        limits = TransportLimits(admission=AdmissionLimits(prefix_rate=1000, others_max=1))
        one, chosen = net.seat(0, limits), net.seat(3)
        first, second = await stranger(1, one), await stranger(2, one)
        first.say_hello(1)
        await until(lambda: one.links, "the first")
        await net.connected(one, chosen)
        second.say_hello(2)
        assert (await second.goodbye()).code == EndCode.FULL
        assert list(one.links) == [KEYS[1].public_key, chosen.key]
        for peer in (first, second):
            await peer.leave()


@on_both_loops
async def test_a_dial_that_comes_to_nothing_is_told_with_its_code() -> None:
    async with loopback() as net:
        one, other = net.seat(0), net.seat(1)
        failed: list[tuple[bytes, str]] = []
        handlers = one.transport._handlers
        one.transport._handlers = handlers._replace(on_failed=lambda *told: failed.append(told))
        one.transport.dial(KEYS[2].public_key, "127.0.0.1", other.transport.port)
        one.transport.tick()
        await until(lambda: failed, "the failure")
        assert failed == [(KEYS[2].public_key, NetFault.WRONG_KEY)]
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        one.transport.dial(KEYS[3].public_key, "127.0.0.1", port)
        one.transport.tick()
        await until(lambda: len(failed) == 2, "the other failure")
        assert failed[1] == (KEYS[3].public_key, EndCode.LOST)


@on_both_loops
async def test_who_is_banned_is_not_dialled() -> None:
    async with loopback() as net:
        one, other = net.seat(0), net.seat(1)
        one.transport.ban(other.key, "it lied", 100_000)
        one.dial(other)
        one.transport.tick()
        assert one.transport._tasks == {} and one.pause_before(other.key) > 0
        net.pass_ms(100_000)
        await until(lambda: other.key in one.links, "an open link")


@on_both_loops
async def test_when_files_run_out_accepting_pauses_and_goes_on() -> None:
    async with loopback() as net:
        one = net.seat(0)
        listener = one.transport._listener
        assert listener is not None

        class Exhausted:
            def fileno(self) -> int:
                return listener.fileno()

            def accept(self) -> tuple[socket.socket, Any]:
                raise OSError(errno.EMFILE, "too many open files")

        one.transport._listener = Exhausted()  # type: ignore[assignment]
        with raw_socket(listener.getsockname()[1]):
            await until(lambda: one.transport._accept_at_ms is not None, "a pause")
            one.transport._listener = listener
            net.pass_ms(999)
            assert one.transport._accept_at_ms is not None
            net.pass_ms(1)
            await until(lambda: one.transport.pending == 1, "the handshake")


# Coming back


@on_both_loops
async def test_a_peer_that_restarts_is_dialled_again() -> None:
    async with loopback() as net:
        one, other = net.seat(0), net.seat(1)
        await net.connected(one, other)
        port = other.transport.port
        await net.stop(other)
        await until(lambda: one.ends == [(EndCode.SHUTDOWN, True)], "the goodbye")
        for _ in range(3):
            net.pass_ms(1000)
            await until(lambda: not one.transport._tasks, "a failed dial")
        assert one.links == {}
        again = net.seat(1, port=port, nonce=b"another process!")
        net.pass_ms(4000)
        await until(lambda: again.links and one.links, "an open link")
        assert again.links[one.key].send(push(b"back"))
        await until(lambda: one.frames, "a frame")


@on_both_loops
async def test_a_restarted_peers_new_link_replaces_its_old_one() -> None:
    """Whoever dialled: the old process, of which we have not heard yet that it is gone, has no say."""
    async with loopback() as net:
        one = net.seat(0)
        old, new = await stranger(1, one), await stranger(1, one)
        old.say_hello(1)
        await until(lambda: one.links, "the first")
        new.say_hello(1, nonce=b"another process!")
        assert (await old.goodbye()).code == EndCode.DUPLICATE
        await until(lambda: len(one.opened) == 2, "the second")
        assert one.ends == [(EndCode.DUPLICATE, False)]
        assert one.links[KEYS[1].public_key] is one.opened[1]
        for peer in (old, new):
            await peer.leave()


@on_both_loops
async def test_a_banned_peer_is_dropped_and_refused_until_its_time() -> None:
    async with loopback() as net:
        one, other = net.seat(0, validator=0), net.seat(1, validator=1)
        for seat in (one, other):
            seat.transport.set_validators({KEYS[number].public_key: number for number in range(2)})
        await net.connected(other, one)
        one.transport.ban(other.key, "it lied", 100_000)
        await until(lambda: other.closed, "the goodbye")
        assert (one.ends, other.ends) == ([(EndCode.BANNED, False)], [(EndCode.BANNED, True)])
        assert other.pause_before(one.key) >= 15_000
        neighbour = await stranger(2, one)  # from the same address, which validators may share
        assert (await neighbour.heard())[0] == ControlKind.HELLO
        await neighbour.leave()
        net.pass_ms(30_000)
        await until(lambda: len(one.transport._tasks) + len(other.transport._tasks) == 0, "an attempt")
        await until(lambda: other.pause_before(one.key) > 0, "another refusal")
        assert one.links == {}
        net.pass_ms(70_000)
        await until(lambda: one.links, "an open link")


@on_both_loops
async def test_a_stranger_that_is_banned_cannot_come_back_from_its_address() -> None:
    async with loopback() as net:
        one = net.seat(0)
        peer = await stranger(1, one)
        peer.say_hello(1)
        await until(lambda: one.links, "an open link")
        one.transport.ban(KEYS[1].public_key, "it lied", 1000)
        assert (await peer.goodbye()).code == EndCode.BANNED
        await peer.leave()
        with raw_socket(one.transport.port) as raw:
            await until(lambda: is_cut(raw), "a closed socket")
        net.pass_ms(1000)
        back = await stranger(2, one)
        await back.leave()


@on_both_loops
async def test_a_link_that_breaks_is_reported_lost() -> None:
    async with loopback() as net:
        one = net.seat(0)
        peer = await stranger(1, one)
        peer.say_hello(1)
        await until(lambda: one.links, "an open link")
        await peer.leave()
        await until(lambda: one.closed, "the end")
        assert one.ends == [(EndCode.LOST, False)]
        assert one.links == {}


@on_both_loops
async def test_nobody_at_an_address_is_tried_again_with_growing_pauses() -> None:
    async with loopback() as net:
        one = net.seat(0)
        with socket.create_server(("127.0.0.1", 0)) as unused:
            port = unused.getsockname()[1]
        one.transport.dial(KEYS[1].public_key, "127.0.0.1", port)
        one.transport.dial(KEYS[2].public_key, "no such host.invalid", 1)
        pauses = []
        for _ in range(4):
            await attempted(net)
            pauses.append(one.pause_before(KEYS[1].public_key))
            net.pass_ms(pauses[-1])
        assert pauses == sorted(pauses) and pauses[3] >= 4 * 250


async def attempted(net: Loopback) -> None:
    """Every dial under way has failed."""
    (seat,) = net.seats
    await until(lambda: not seat.transport._tasks, "an attempt")
    seat.transport.tick()
    await until(lambda: not seat.transport._tasks, "an attempt")
