"""Transports over real sockets on loopback, on both loops: what does not end well, and floods."""

import asyncio
import errno
import socket
from contextlib import suppress
from typing import Any

from messages import MESSAGES, frame
from pytest import MonkeyPatch
from transports import (
    OPEN_DOOR,
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
from vertices import KEYS

from cherrydag.gossip.message_codec import FRAME_HEAD, MessageKind, decode_message, encode_message
from cherrydag.net import certificates
from cherrydag.net.admission import AdmissionLimits
from cherrydag.net.connection import FRAMES_AT_ONCE
from cherrydag.net.control import ControlKind, encode_goodbye
from cherrydag.net.faults import EndCode, NetFault
from cherrydag.net.link import WRITE_AHEAD_BYTES
from cherrydag.net.transport import Handlers, TransportLimits
from cherrydag.params import VERTEX_BYTES_MAX

MIB = 1 << 20
HANDSHAKE_MS = OPEN_DOOR.connection.handshake_ms


def closes_at_the_first_frame(seat: Seat) -> list[Any]:
    """From now on; what its host has heard."""
    heard: list[Any] = []

    def close(link: Any, received: Any) -> None:
        heard.append(received)
        link.close(EndCode.SHUTDOWN, "enough")

    ignored = seat.transport._handlers
    seat.transport._handlers = Handlers(ignored.on_open, close, ignored.on_close)
    return heard


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
        heard = closes_at_the_first_frame(one)
        peer = await stranger(1, one)
        peer.writer.writelines([hello_frame(1), *3 * [frame(MessageKind.PUSH, b"once")]])
        assert (await peer.goodbye()).code == EndCode.SHUTDOWN
        assert len(heard) == 1
        await peer.leave()


@on_both_loops
async def test_nothing_is_heard_of_who_has_no_place_though_it_has_said_goodbye_already() -> None:
    async with loopback() as net:
        limits = TransportLimits(admission=AdmissionLimits(prefix_rate=1000, others_max=0))
        full, one = net.seat(0, limits), net.seat(2)
        heard = closes_at_the_first_frame(one)
        goodbye = frame(ControlKind.GOODBYE, encode_goodbye(EndCode.DUPLICATE, "another one is kept"))
        for seat in (full, one):
            peer = await stranger(1, seat)
            before = 3 * [frame(MessageKind.PUSH, b"before it")]
            peer.writer.write(b"".join([hello_frame(1), *before, goodbye]))
            await until(lambda seat=seat: not seat.transport._sockets, "no socket")  # type: ignore[misc]
            await peer.leave()
        assert (full.opened, full.frames, full.closed) == ([], [], [])
        assert len(heard) == 1 and one.ends == [(EndCode.DUPLICATE, True)]


@on_both_loops
async def test_a_host_that_fails_at_a_frame_loses_that_link_and_can_still_stop() -> None:
    async with loopback() as net:
        for frames in (1, 3 * FRAMES_AT_ONCE):  # in the loop's call, and in a turn of the link's
            one = net.seat(0)
            raised: list[Any] = []
            asyncio.get_running_loop().set_exception_handler(lambda _, told, to=raised: to.append(told))
            left = [frames]

            def fail(_: Any, received: Any, left: list[int] = left) -> None:
                left[0] -= 1
                if left[0] <= 0:
                    raise RuntimeError("a fault of the host")

            ignored = one.transport._handlers
            one.transport._handlers = Handlers(ignored.on_open, fail, ignored.on_close)
            peer = await stranger(1, one)
            peer.writer.write(b"".join([hello_frame(1), *(frames + 1) * [frame(MessageKind.PUSH, b"")]]))
            await until(lambda seat=one: seat.closed, "the end")  # type: ignore[misc]
            assert one.ends == [(EndCode.INTERNAL, False)] and not one.links
            assert len(raised) == 1 and isinstance(raised[0]["exception"], RuntimeError)
            await peer.leave()
            await net.stop(one)


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
        limits = OPEN_DOOR.admission
        strangers_max = limits.pending_max - limits.pending_reserved
        flood = [raw_socket(one.transport.port) for _ in range(70)]
        await until(lambda: one.transport.admission.refused == 70 - strangers_max, "a full house")
        one.transport.set_validators({KEYS[number].public_key: number for number in range(2)})
        other.transport.set_validators({KEYS[number].public_key: number for number in range(2)})
        one.transport.dial(other.key, "127.0.0.1", 1)  # nobody is there, but its address is known now
        await net.connected(other, one)
        assert one.links[other.key].end is other.links[one.key].end is None
        assert one.transport.pending == strangers_max  # the house is full still
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
