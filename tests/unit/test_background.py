"""A thread for work on files: its order, its errors, and what a full disk does to it."""

import os
import threading
from collections.abc import Iterator
from queue import SimpleQueue

import pytest

from cherrydag.errors import NoRoom, StorageError
from cherrydag.runtime import background as module
from cherrydag.runtime.background import Background


class FullDisk:
    """Work that finds no room until it is told that there is some. tries: one entry for each attempt."""

    def __init__(self) -> None:
        self.has_room = threading.Event()
        self.tries: SimpleQueue[None] = SimpleQueue()

    def __call__(self) -> str:
        self.tries.put(None)
        if not self.has_room.is_set():
            raise NoRoom("no space left")
        return "written"


@pytest.fixture
def background(monkeypatch: pytest.MonkeyPatch) -> Iterator[Background]:
    monkeypatch.setattr(module, "RETRY_S", 0.001)
    made = Background(lambda: None)
    yield made
    made.close()


def test_what_finds_the_disk_full_is_done_once_there_is_room_and_in_its_order(background: Background) -> None:
    done: list[str] = []
    disk = FullDisk()
    background.submit(disk, done.append)
    background.submit(lambda: "next", done.append)
    for _ in range(3):
        disk.tries.get(timeout=10)
    background.collect()
    assert done == []
    assert str(background.no_room) == "no space left"
    disk.has_room.set()
    while background.outstanding:
        background.collect()
    assert done == ["written", "next"]
    assert background.no_room is None


def test_who_waits_for_a_full_disk_is_told(background: Background) -> None:
    disk = FullDisk()
    background.submit(disk, lambda _: None)
    with pytest.raises(NoRoom, match="no space left"):
        background.drain()
    disk.has_room.set()


def test_closing_does_not_wait_for_room() -> None:
    background, disk = Background(lambda: None), FullDisk()
    background.submit(disk, lambda _: None)
    disk.tries.get(timeout=10)
    background.close()
    with pytest.raises(NoRoom):
        background.collect()


def test_another_error_is_not_tried_again(background: Background) -> None:
    tries: list[None] = []

    def fail() -> None:
        tries.append(None)
        raise StorageError("the disk is broken")

    background.submit(fail, lambda _: None)
    with pytest.raises(StorageError, match="broken"):
        background.drain()
    assert len(tries) == 1


def test_work_that_nobody_waits_for_gives_way() -> None:
    found: list[int] = []
    background = Background(lambda: None, niceness=3)
    background.submit(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id()), found.append)
    background.drain()
    background.close()
    assert found == [min(19, os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) + 3)]
