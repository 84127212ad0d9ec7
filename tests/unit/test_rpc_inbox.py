"""The messages of a WebSocket that wait for the call in work: their order and their bounds."""

import asyncio

import pytest

from cherrydag.rpc.inbox import Inbox


def has_room(inbox: Inbox) -> bool:
    """Whether a message more would be received now."""
    waiting = inbox.room()
    try:
        waiting.send(None)
    except StopIteration:
        return True
    waiting.close()
    return False


@pytest.mark.parametrize(("count", "is_room"), [(0, True), (2, True), (3, False), (4, False)])
async def test_so_many_messages_wait(count, is_room):
    inbox = Inbox(3, 100)
    for _ in range(count):
        inbox.put(b"x")
    assert has_room(inbox) is is_room


@pytest.mark.parametrize(("size", "is_room"), [(99, True), (100, False), (101, False)])
async def test_so_many_bytes_wait(size, is_room):
    inbox = Inbox(3, 100)
    inbox.put(bytes(size))
    assert has_room(inbox) is is_room
    await inbox.take()
    assert has_room(inbox)


async def test_what_is_taken_makes_room_and_comes_in_its_order():
    inbox = Inbox(2, 100)
    taken: list[bytes] = []

    async def take() -> None:
        while len(taken) < 9:
            taken.append(await inbox.take())

    taking = asyncio.create_task(take())
    for number in range(9):
        await inbox.room()
        inbox.put(bytes([number]))
    await taking
    assert taken == [bytes([number]) for number in range(9)]
