"""An event loop in a thread of its own, for faces that block."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

from cherrydag.errors import Closed

_Result = TypeVar("_Result")


class LoopThread:
    """Runs coroutines for other threads, until `close`. Threads may share it.

    name: of what runs there, for the thread and for Closed.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._turn, name=f"cherrydag-{name}", daemon=True)
        self._thread.start()
        self._closing = threading.Lock()  # between a look at is_closed and what follows from it
        self.is_closed = False

    def run(self, work: Coroutine[Any, Any, _Result], timeout_s: float | None = None) -> _Result:
        """Block until it is done. It is cancelled if the wait ends before: by TimeoutError after timeout_s,
        or by an interrupt. Raises Closed after `close`, and where that ends the work."""
        with self._closing:
            if self.is_closed:
                work.close()
                raise Closed(f"the {self._name} is closed")
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return _result(future, timeout_s)
        except CancelledError:
            if self.is_closed:
                raise Closed(f"the {self._name} is closed") from None
            raise

    def call(self, function: Callable[..., _Result], *arguments: object) -> _Result:
        """Call a function on the loop, between its other work; block until it returns."""
        return self.run(_called(function, arguments))

    def close(self, last: Callable[[], Coroutine[Any, Any, None]] | None = None) -> None:
        """Run this last and end the thread, whatever it raises; what others still wait for is cancelled.
        Idempotent."""
        with self._closing:
            if self.is_closed:
                return
            self.is_closed = True
        try:
            if last is not None:
                _result(asyncio.run_coroutine_threadsafe(last(), self._loop), None)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def _turn(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(_cancel_others())
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()


def _result(future: Future[_Result], timeout_s: float | None) -> _Result:
    try:
        return future.result(timeout_s)
    except BaseException:
        future.cancel()
        raise


async def _called(function: Callable[..., _Result], arguments: tuple[object, ...]) -> _Result:
    return function(*arguments)


async def _cancel_others() -> None:
    """Whatever still runs has somebody who waits for it."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
