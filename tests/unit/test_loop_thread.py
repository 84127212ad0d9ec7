"""An event loop in a thread of its own."""

import asyncio
import threading

import pytest

from cherrydag.errors import Closed
from cherrydag.runtime.loop_thread import LoopThread


async def name() -> str:
    return threading.current_thread().name


async def fail() -> None:
    raise ValueError("oh")


def test_work_runs_in_the_thread_and_its_result_or_error_comes_back() -> None:
    thread = LoopThread("shop")
    assert thread.run(name()) == "cherrydag-shop"
    assert thread.call(lambda *given: (threading.current_thread().name, given), 1, 2) == (
        "cherrydag-shop",
        (1, 2),
    )
    with pytest.raises(ValueError, match="oh"):
        thread.run(fail())
    thread.close()


def test_work_is_cancelled_when_the_wait_for_it_ends() -> None:
    thread, ended = LoopThread("shop"), threading.Event()

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(TimeoutError):
        thread.run(wait(), 0)
    assert ended.wait(30)
    thread.close()


def test_the_last_work_is_done_before_the_thread_ends_and_nothing_after_it() -> None:
    thread, done = LoopThread("shop"), []

    async def last() -> None:
        done.append(threading.current_thread().name)

    thread.close(last)
    thread.close(last)
    assert done == ["cherrydag-shop"]
    assert thread.is_closed and not thread._thread.is_alive() and thread._loop.is_closed()
    with pytest.raises(Closed, match="the shop is closed"):
        thread.run(name())


def test_the_thread_ends_though_its_last_work_fails() -> None:
    thread = LoopThread("shop")
    with pytest.raises(ValueError, match="oh"):
        thread.close(fail)
    assert not thread._thread.is_alive()


def test_whoever_still_waits_when_it_ends_is_told() -> None:
    thread, began, told = LoopThread("shop"), threading.Event(), []

    async def wait() -> None:
        began.set()
        await asyncio.Event().wait()

    def ask() -> None:
        with pytest.raises(Closed, match="the shop is closed"):
            thread.run(wait())
        told.append(True)

    asker = threading.Thread(target=ask, daemon=True)
    asker.start()
    assert began.wait(30)
    thread.close()
    asker.join(30)
    assert told == [True]
