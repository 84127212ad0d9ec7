"""Transports over real sockets on loopback, on both loops: exchange, and who is who."""

import asyncio
import socket
from itertools import pairwise

import numpy as np
from messages import MESSAGES, encoded
from transports import (
    OPEN_DOOR,
    Seat,
    loopback,
    on_both_loops,
    push,
    stranger,
    until,
)
from vertices import KEYS, OTHER_CHAIN

from cherrydag.gossip.message_codec import decode_message, encode_message
from cherrydag.net.connection import FRAMES_AT_ONCE
from cherrydag.net.faults import EndCode, NetFault
from cherrydag.params import VERTEX_BYTES_MAX

MIB = 1 << 20


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
async def test_a_thousand_small_frames_come_in_order_and_leave_the_loop_its_turns() -> None:
    async with loopback() as net:
        one, other = net.seat(0), net.seat(1)
        await net.connected(one, other)
        counts: list[int] = []

        def watch() -> None:
            counts.append(len(other.frames))
            if len(other.frames) < 3000:
                asyncio.get_running_loop().call_soon(watch)

        watch()
        for number in range(3000):
            assert one.links[other.key].send(push(b"%d" % number))
        await until(lambda: len(other.frames) == 3000, "all frames")
        assert [bytes(body) for _, body in other.frames] == [b"%d" % number for number in range(3000)]
        assert max(later - earlier for earlier, later in pairwise(counts)) <= 2 * FRAMES_AT_ONCE


@on_both_loops
async def test_a_host_that_pauses_a_link_hears_no_more_of_what_is_here_already() -> None:
    async with loopback() as net:
        one, other = net.seat(0), net.seat(1)
        await net.connected(one, other)
        other.heed = lambda link: link.pause_reading() if len(other.frames) in (5, 50) else None
        for number in range(100):
            assert one.links[other.key].send(push(b"%d" % number))
        for stop in (5, 50, 100):
            await until(lambda count=stop: len(other.frames) == count, f"{stop} frames")
            await asyncio.sleep(0.05)
            assert len(other.frames) == stop
            other.links[one.key].resume_reading()
        assert [bytes(body) for _, body in other.frames] == [b"%d" % number for number in range(100)]


@on_both_loops
async def test_a_link_that_its_host_ends_tells_nothing_more() -> None:
    async with loopback() as net:
        one, other = net.seat(0), net.seat(1)
        await net.connected(one, other)
        other.heed = lambda link: link.close("enough", "") if len(other.frames) == 40 else None
        for number in range(200):
            one.links[other.key].send(push(b"%d" % number))
        await until(lambda: other.closed and one.closed, "the end")
        await asyncio.sleep(0.05)
        assert len(other.frames) == 40
        assert other.ends == [("enough", False)]


@on_both_loops
async def test_a_goodbye_behind_many_frames_is_heard_after_them() -> None:
    async with loopback() as net:
        one, other = net.seat(0), net.seat(1)
        await net.connected(one, other)
        for number in range(200):
            assert one.links[other.key].send(push(b"%d" % number))
        one.links[other.key].close("leaving", "", drain_ms=1000)
        await until(lambda: other.closed, "the end")
        assert len(other.frames) == 200
        assert other.ends == [("leaving", True)]


@on_both_loops
async def test_who_is_lost_while_its_host_pauses_is_gone_at_once() -> None:
    async with loopback() as net:
        one, other = net.seat(0), net.seat(1)
        await net.connected(one, other)
        other.heed = lambda link: link.pause_reading()
        for number in range(200):
            assert one.links[other.key].send(push(b"%d" % number))
        await until(lambda: other.frames, "the first frame")
        link, gone = other.links[one.key], []
        told = other.transport.link_gone
        other.transport.link_gone = lambda link: (gone.append(link), told(link))  # type: ignore[method-assign]
        link.abort()
        await until(lambda: other.closed and not other.transport._sockets, "the end")
        assert (len(other.frames), other.ends) == (1, [(EndCode.LOST, False)])
        link.resume_reading()
        await asyncio.sleep(0.01)
        assert (len(other.frames), len(other.closed), gone) == (1, 1, [link])


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
