"""Transports over real sockets on loopback, on both loops: who comes back."""

import socket

from transports import (
    Loopback,
    is_cut,
    loopback,
    on_both_loops,
    push,
    raw_socket,
    stranger,
    until,
)
from vertices import KEYS

from cherrydag.net.control import ControlKind
from cherrydag.net.faults import EndCode


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
